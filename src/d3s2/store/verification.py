"""verify: whether a distilled set is what its manifest says, file by file."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d3s2.base.errors import D3S2Error, StoreError
from d3s2.base.formats.files import sha256_file
from d3s2.base.progress import SILENT, Progress, track
from d3s2.base.train_ids import IGNORE
from d3s2.store.items import CARD, IMAGES, ITEMS, LABELS, MANIFEST, SHA256, SOFT, Item, noise_seed, own_file
from d3s2.store.manifest import DIGESTS, OWN_DIGEST, PROVENANCE, digest_of
from d3s2.store.reader import DistilledSet


@dataclass(frozen=True)
class Verification:
    """What was checked and what is wrong.

    Args:
        num_items: items in the table.
        num_files: files that belong to them.
        num_problems: how many problems there are; `problems` holds the first of them, a sentence each.
        extra_files: files in images/, labels/ and soft/ that belong to no item; other tools would read them.
    """

    folder: Path
    num_items: int
    num_files: int
    num_problems: int
    problems: tuple[str, ...]
    extra_files: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong and nothing is there too much."""
        return not self.num_problems and not self.extra_files


def verify(folder: Path, limit: int = 100, progress: Progress = SILENT) -> Verification:
    """Checks every file, digest, label value, size and provenance field of a distilled set.

    Args:
        folder: a finished set.
        limit: most problems that are listed; all are counted.

    Raises:
        StoreError: the folder holds no finished set, or its table cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> made = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> from d3s2.store import verify
        >>> found = verify(Path("runs/small"))
        >>> found.sound, found.num_items
        (True, 4)
    """
    distilled = DistilledSet(folder)
    problems = list(_manifest_problems(distilled))
    for item in track(progress, "verify", distilled.items, len(distilled.items)):
        problems.extend(_item_problems(distilled, item))
    return Verification(
        folder=distilled.folder,
        num_items=len(distilled.items),
        num_files=sum(len(item.files) for item in distilled.items),
        num_problems=len(problems),
        problems=tuple(problems[:limit]),
        extra_files=_extra_files(distilled),
    )


def _manifest_problems(distilled: DistilledSet) -> Iterator[str]:
    manifest, items = distilled.manifest, distilled.items
    of_its_own = DIGESTS if manifest["format_version"] > 1 else ()
    for key in (*PROVENANCE, "digest", "label_space", "num_items", "bytes", "items_sha256", *of_its_own):
        if key not in manifest:
            yield f"{MANIFEST}: '{key}' is missing, expected the provenance of the set."
    if manifest.get(OWN_DIGEST) not in (None, digest_of(manifest)):
        yield f"{MANIFEST}: was changed after it was written (the digest of what it says differs)."
    if manifest.get("num_items") != len(items):
        yield f"{ITEMS}: holds {len(items)} items, the manifest says {manifest.get('num_items')}."
    if manifest.get("items_sha256") != sha256_file(distilled.folder / ITEMS):
        yield f"{ITEMS}: is not the file that the manifest was written for (its SHA-256 differs)."
    ignored_px = sum(item.ignored_px for item in items)
    if manifest.get("ignored_px", ignored_px) != ignored_px:
        yield f"{ITEMS}: {ignored_px:,} pixels are ignored, the manifest says {manifest['ignored_px']:,}."
    yield from _size_problems(distilled)
    yield from _card_problems(distilled)
    yield from _seed_problems(distilled)


def _size_problems(distilled: DistilledSet) -> Iterator[str]:
    size = 0
    for file in (file for item in distilled.items for file, _ in item.files):
        path = distilled.folder / file
        if not path.is_file():
            return  # it is named as missing
        size += path.stat().st_size
    if distilled.manifest.get("bytes", size) != size:
        yield f"{MANIFEST}: says {distilled.manifest['bytes']:,} bytes, the files of the items have {size:,}."


def _card_problems(distilled: DistilledSet) -> Iterator[str]:
    digest, card = distilled.manifest.get("card_sha256"), distilled.folder / CARD
    if digest is None:
        return
    if not card.is_file():
        yield f"{CARD}: is missing."
    elif card.is_symlink() or sha256_file(card) != digest:
        yield f"{CARD}: was changed after it was written (its SHA-256 differs)."


def _seed_problems(distilled: DistilledSet) -> Iterator[str]:
    """Whether the noise of each item was drawn from the run's seed, where the manifest names one."""
    run_seed = (distilled.manifest.get("config") or {}).get("seed")
    if not isinstance(run_seed, int):
        return
    for item in distilled.items:
        if item.seed != noise_seed(run_seed, item.source_id, item.candidate):
            yield f"{item.item_id}: its seed is not what seed {run_seed} of the run gives for its mask."
            return  # with another seed of the run all differ


def _item_problems(distilled: DistilledSet, item: Item) -> Iterator[str]:
    if not item.source_id:
        yield f"{item.item_id}: names no source mask."
    for when in ("energies_before", "energies_after"):
        for name, value in getattr(item, when).items():
            if not math.isfinite(value):
                yield f"{item.item_id}: {when} of '{name}' is {value}, expected a finite number."
    if item.teacher_accuracy is not None and not 0 <= item.teacher_accuracy <= 1:
        yield f"{item.item_id}: teacher_accuracy is {item.teacher_accuracy}, expected 0 to 1."
    damaged = list(_file_problems(distilled.folder, item))
    yield from damaged
    if not damaged:
        # Other digests than those written would make every further sentence a repetition.
        yield from _content_problems(distilled, item)


def _file_problems(folder: Path, item: Item) -> Iterator[str]:
    for file, digest in item.files:
        try:
            own_file(folder, file)
        except StoreError as error:
            yield str(error)
            continue
        if not (folder / file).is_file():
            yield f"{file}: is missing."
        elif not SHA256.fullmatch(digest):
            yield f"{file}: its digest in {ITEMS} is no SHA-256."
        elif sha256_file(folder / file) != digest:
            yield f"{file}: was changed after it was written (its SHA-256 differs)."


def _content_problems(distilled: DistilledSet, item: Item) -> Iterator[str]:
    try:
        image, label = distilled.image(item.item_id), distilled.mask(item.item_id)
        soft = distilled.soft(item.item_id)
    except D3S2Error as error:
        yield str(error)
        return
    if image.shape[:2] != label.shape:
        yield (
            f"{item.image_file}: is {image.shape[0]} x {image.shape[1]} px and its label {label.shape[0]} x "
            f"{label.shape[1]} px (height x width); a pair must have one size."
        )
    ignored_px = int(np.count_nonzero(label == IGNORE))
    if ignored_px != item.ignored_px:
        yield f"{item.label_file}: {ignored_px} pixels are ignored, {ITEMS} says {item.ignored_px}."
    if soft is not None:
        grid = tuple(math.ceil(side / soft.cell_px) for side in label.shape)
        if soft.num_classes != distilled.space.num_classes or soft.classes.shape[1:] != grid:
            yield f"{item.soft_file}: does not fit its label ({soft.num_classes} classes on {soft.classes.shape[1:]})."


def _extra_files(distilled: DistilledSet) -> tuple[str, ...]:
    extra: list[str] = []
    for name, column in ((IMAGES, "image_file"), (LABELS, "label_file"), (SOFT, "soft_file")):
        known = set(distilled.items.table[column].to_pylist())
        extra.extend(file for file in _files_below(distilled.folder, name) if file not in known)
    return tuple(sorted(extra))


def _files_below(folder: Path, name: str) -> Iterator[str]:
    for place, _, files in os.walk(folder / name):
        paths = (Path(place, file) for file in files)
        yield from (path.relative_to(folder).as_posix() for path in paths if path.is_file())
