"""init: looks at a folder of unknown data, and writes a data set file, a run file and a picture of pairs."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from d3s2.base.config import build, read_yaml
from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_bytes
from d3s2.base.progress import SILENT, Progress
from d3s2.data import open_split
from d3s2.data.discovery import Findings, data_set_file, list_files, look, masks_text, picture_of_pairs
from d3s2.pipeline import RunConfig
from d3s2.planning.first_run import first_run, run_file

DATASET, RUN, PICTURE = "dataset.yaml", "run.yaml", "pairs.png"
SHOWN = 12
"""Classes that are listed for a person."""


@dataclass(frozen=True)
class Started:
    """What was found, and the files that were written."""

    found: Findings
    files: tuple[Path, ...]

    def as_record(self) -> dict[str, Any]:
        """For JSON: keys are texts."""
        record = asdict(self.found)
        record["contents"] = {
            "encoding": self.found.contents.encoding,
            "bits": self.found.contents.bits,
            "values": {str(value): held for value, (held, _) in self.found.contents.values.items()},
            "colours": {str(list(colour)): held for colour, (held, _) in self.found.contents.colours.items()},
            "sizes": {f"{height}x{width}": count for (height, width), count in self.found.contents.sizes.items()},
        }
        record["splits"] = {name: one.num_pairs for name, one in self.found.splits.items()}
        return {**record, "root": str(self.found.root), "files": [str(path) for path in self.files]}

    def as_text(self) -> str:
        """For a person."""
        found, contents = self.found, self.found.contents
        sizes = sorted(contents.sizes.items(), key=lambda one: -one[1])
        kind = f"{contents.bits} bit values" if contents.encoding == "index" else "colours"
        held = contents.values if contents.encoding == "index" else contents.colours
        lines = [f"{found.root}", f"  layout   {found.layout}"]
        for name in sorted(found.splits, key=lambda name: (name != found.train, name == found.test)):
            one = found.splits[name]
            use = {found.train: " (distilled)", found.test: " (students are scored on it)"}.get(name, "")
            gap = f", {one.num_incomplete:,} files without a partner" if one.num_incomplete else ""
            lines.append(f"  split    {name}: {one.num_pairs:,} pairs{gap}{use}")
        shown = ", ".join(f"{height} x {width}" for (height, width), _ in sizes[:3])
        more = f" and {len(sizes) - 3} sizes more" if len(sizes) > 3 else ""
        lines.append(f"  sizes    {shown}{more} (height x width, px)")
        lines.append(f"  masks    {kind}, {len(held)} of them; {len(found.names)} classes")
        for value, (masks, share) in list(held.items())[:SHOWN]:
            lines.append(f"             {value!s:<18} in {masks_text(masks):>13}, {share:7.2%} of the pixels")
        lines += [f"             ... and {len(held) - SHOWN} more"] if len(held) > SHOWN else []
        lines += ["What the folder cannot tell:", *(f"  - {one}" for one in found.unknown)] if found.unknown else []
        return "\n".join([*lines, "Written:", *(f"  {path}" for path in self.files)])


def start(
    root: Path, out: Path, device: torch.device, *, overwrite: bool = False, progress: Progress = SILENT
) -> Started:
    """Looks at `root` and writes to `out`; what is written has been read back first.

    Args:
        root: the folder of unknown data; nothing in it is changed.
        out: where the files go; made where it is not there.
        device: what the run's settings are for.
        overwrite: whether files of these names may be replaced.
        progress: where reading is told.

    Raises:
        DataError: no pairs are found, or they cannot be used.
        StoreError: a file is there already, or cannot be written.
    """
    own = [out / name for name in (DATASET, RUN, PICTURE)]
    _refuse(() if overwrite else own)
    found = look(root, [out / PICTURE], progress)
    out = out.resolve()  # the run file is for calls from anywhere
    texts = _texts(found, out, device)
    _refuse(() if overwrite else [out / name for name in texts])
    with tempfile.TemporaryDirectory(prefix="d3s2-") as scratch:
        for name, text in _texts(found, Path(scratch), device).items():
            write_bytes(Path(scratch) / name, text)
        picture = _tried(found, Path(scratch))
    for name, content in {**texts, PICTURE: picture}.items():
        write_bytes(out / name, content)
    return Started(found, tuple(out / name for name in (*texts, PICTURE)))


def _texts(found: Findings, place: Path, device: torch.device) -> dict[str, bytes]:
    """Every file but the picture, as it is to lie in `place`."""
    texts: dict[str, str] = {}
    dataset = str(found.dataset)
    if found.dataset == "folders":
        dataset = str(place / DATASET)
        texts |= {DATASET: data_set_file(found, place / DATASET), **list_files(found)}
    texts[RUN] = run_file(found, first_run(found, device), dataset, place / RUN)
    return {name: text.encode() for name, text in texts.items()}


def _tried(found: Findings, place: Path) -> bytes:
    """Reads what was written as a run would, and draws a few pairs."""
    data = build(RunConfig, read_yaml(place / RUN), RUN).data
    opened = {split: open_split(data, split).source for split in found.splits}
    return picture_of_pairs(opened[data.train])


def _refuse(paths: Any) -> None:
    there = next((path for path in paths if path.exists()), None)
    if there is not None:
        raise StoreError(
            f"{there}: is already there; choose another folder by --out, or let `d3s2 init` replace it by --overwrite."
        )
