"""Thousands of damaged files for each reader of a user's data set, and how each one ends.

    python tests/mutated_data_files.py --count 10000 --out benchmarks/mutated_data_files_DATE.json

An input ends as `named` (a D3S2Error), `same` (what the undamaged file holds) or `different` (other pixels, colours or
names); anything else that is raised is a `trace`. Formats without checksums cannot tell other bytes from damage; of the
others, `different` is a failure unless the mutation computed the checksums anew.
"""

import argparse
import json
import platform
import resource
import subprocess
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from d3s2.base.errors import D3S2Error
from d3s2.data.catalogue import open_dataset
from d3s2.data.files.image_files import read_8bit_mask, read_colour_mask, read_image, read_mask
from d3s2.data.folder import read_palette
from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.hf import _names_beside
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import pair_files

Mutation = Callable[[bytearray, np.random.Generator], bytes]
SIZES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000, 400_000_000)
TOKENS = [
    "²",
    "١",
    "\0",
    "\ufeff",
    "..",
    "/../",
    "//",
    ",",
    '"',
    "\n",
    "\r",
    "\u2028",
    "\x85",
    "9" * 5_000,
    "{",
    "[",
    ": ",
]
TOKENS += [
    "x" * 5_000,
    "'",
    "#",
    "-1",
    "1e9",
    "nan",
    "null",
    "/",
    "\\",
    "\t",
    "🚲",
    "&a",
    "*a",
    "!!python/name:os.system",
]


@dataclass(frozen=True)
class Reader:
    """One reader and an undamaged file for it.

    Args:
        name: of the reader and the kind of file.
        content: the undamaged file.
        read: from the path of the file to something that `==` or numpy compares.
        file: the file's name.
        text: mutations of text are tried too.
        checked: the format has checksums, so that other content must be named.
        share: of the inputs, in parts; less for slow readers.
    """

    name: str
    content: bytes
    read: Callable[[Path], Any]
    file: str
    text: bool = False
    checked: bool = False
    share: float = 1.0


@dataclass
class Tally:
    """How the inputs of one reader ended."""

    ends: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


# Pictures that compress to a few hundred bytes, so that a mutation hits headers as well as data.
RNG = np.random.default_rng(20)
MASK = np.sort(RNG.integers(0, 9, (24, 40), dtype=np.uint8), axis=0)
PHOTO = np.repeat(np.repeat(RNG.integers(0, 255, (6, 10, 3), dtype=np.uint8), 4, axis=0), 4, axis=1)
YAML = """
name: mine
classes: [road, car, sky]
images: {folder: images, pattern: "*", extensions: [png]}
masks: {folder: masks, encoding: index, first_value: 0, ignore_values: [9], raw_ids: {0: road, 1: car, 2: sky}}
palette: {road: [1, 2, 3], car: [2, 3, 4], sky: [5, 6, 7]}
splits: {train: {list_file: train.txt}, val: {folder: val}}
"""


def saved(array: np.ndarray, format: str, mode: str | None = None, **options: Any) -> bytes:  # noqa: A002
    picture = Image.fromarray(array)
    stream = BytesIO()
    (picture if mode is None else picture.convert(mode)).save(stream, format, **options)
    return stream.getvalue()


def matlab(**options: Any) -> bytes:
    stream = BytesIO()
    scipy.io.savemat(stream, {"S": MASK, "captions": "a road"}, **options)
    return stream.getvalue()


def parquet(folder: Path) -> bytes:
    """The bytes of a parquet file of one pair."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    pictures = {"image": [Image.fromarray(PHOTO)], "mask": [Image.fromarray(MASK)]}
    datasets.Dataset.from_dict(pictures, features=features).to_parquet(folder / "seed.parquet")
    return (folder / "seed.parquet").read_bytes()


def pair_of_hub(path: Path) -> Any:
    dataset = open_dataset("hf", "train", path.parent, {"classes": [f"class {c}" for c in range(9)]})
    return dataset.image(dataset.ids[0]), dataset.mask(dataset.ids[0])


def decoded(path: Path) -> Any:
    picture = read_8bit_mask(path)
    return None if picture is None else np.asarray(picture)


def pairs_of_list(path: Path) -> Any:
    masks = MaskFiles(Side(("masks",), suffixes=(".png",)), LabelSpace("two", ("a", "b")))
    split = SplitFiles(lists=(path.name,))
    plan = FolderPlan("mine", Side(("images",)), {"index": masks}, {"train": split})
    return pair_files(plan, "train", path.parent).dataset().entries


def pairs_of_yaml(path: Path) -> Any:
    dataset = open_dataset(str(path), "train")
    return dataset.ids, dataset.space, [dataset.mask(item_id) for item_id in dataset.ids]


def classes_of_list(path: Path) -> Any:
    (path.parent / "by_list.yaml").write_text(YAML.replace("[road, car, sky]", path.name))
    return open_dataset(str(path.parent / "by_list.yaml"), "train").space


def readers(folder: Path) -> list[Reader]:
    """Every reader with its undamaged file; what the files refer to is written into `folder`."""
    for name in ("a", "town/b"):
        for side, array in (("images", PHOTO), ("masks", MASK % 3)):
            (folder / side / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / side / f"{name}.png")
    (folder / "train.txt").write_text("a\ntown/b\n")
    wide = MASK.astype(np.uint16) * 5_000
    grey, palette = saved(MASK, "PNG"), saved(MASK, "PNG", "P", transparency=bytes([0, 9]))
    return [
        Reader("image png", saved(PHOTO, "PNG"), read_image, "m.png", checked=True),
        Reader("image png with a palette", palette, read_image, "m.png", checked=True),
        Reader("image jpg", saved(PHOTO, "JPEG"), read_image, "m.jpg"),
        Reader("image bmp", saved(PHOTO, "BMP"), read_image, "m.bmp"),
        Reader("image tiff lzw", saved(PHOTO, "TIFF", compression="tiff_lzw"), read_image, "m.tif"),
        Reader("image webp", saved(PHOTO, "WEBP"), read_image, "m.webp"),
        Reader("image ppm", saved(PHOTO, "PPM"), read_image, "m.ppm"),
        Reader("mask png", grey, read_mask, "m.png", checked=True),
        Reader("mask png of the census", grey, decoded, "m.png", checked=True),
        Reader("mask png with a palette", palette, read_mask, "m.png", checked=True),
        Reader("mask png with a palette of the census", palette, decoded, "m.png", checked=True),
        Reader("mask png 16 bit", saved(wide, "PNG"), read_mask, "m.png", checked=True),
        Reader("mask png 1 bit", saved(MASK > 4, "PNG"), read_mask, "m.png", checked=True),
        Reader("mask png in colours", saved(PHOTO, "PNG"), read_colour_mask, "m.png", checked=True),
        Reader("mask bmp", saved(MASK, "BMP"), read_mask, "m.bmp"),
        Reader("mask tiff", saved(MASK, "TIFF"), read_mask, "m.tif"),
        Reader("mask tiff deflate", saved(MASK, "TIFF", compression="tiff_adobe_deflate"), read_mask, "m.tif"),
        Reader("mask gif", saved(MASK, "GIF"), read_mask, "m.gif"),
        Reader("mask mat", matlab(), read_mask, "m.mat"),
        Reader("mask mat compressed", matlab(do_compression=True), read_mask, "m.mat", checked=True),
        Reader("palette", b"name,r,g,b\nroad,1,2,3\ncar,10,20,30\n", read_palette, "palette.csv", True),
        Reader("palette without a header", "straße,1,2,3\ncar,10,20,30\n".encode(), read_palette, "palette.csv", True),
        Reader("class list", b"road\ncar\nsky\n", classes_of_list, "classes.txt", True),
        Reader("list file", b"images/a.png masks/a.png\ntown/b\n", pairs_of_list, "pairs.txt", True),
        Reader("list file of names", b"a\ntown/b.png\n", pairs_of_list, "pairs.txt", True),
        Reader("data set file", YAML.encode(), pairs_of_yaml, "mine.yaml", True),
        Reader(
            "label map",
            b'{"0": "road", "1": "car"}',
            lambda path: _names_beside(path.parent, "x"),
            "id2label.json",
            True,
        ),
        Reader("parquet", parquet(folder), pair_of_hub, "hub/train-00000-of-00001.parquet", share=0.1),
    ]


def position(content: bytearray, rng: np.random.Generator) -> int:
    """Half of the time near the start, where headers are."""
    return int(rng.integers(0, len(content) if rng.random() < 0.5 else min(len(content), 64)))


def truncated(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content[: int(rng.integers(0, len(content)))])


def flipped(content: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 9))):
        content[position(content, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(content)


def overwritten(content: bytearray, rng: np.random.Generator) -> bytes:
    start, length = position(content, rng), int(rng.integers(1, 65))
    content[start : start + length] = rng.bytes(len(content[start : start + length]))
    return bytes(content)


def zeroed(content: bytearray, rng: np.random.Generator) -> bytes:
    start, length = position(content, rng), int(rng.choice([4, 16, 64]))
    content[start : start + length] = bytes(len(content[start : start + length]))
    return bytes(content)


def resized(content: bytearray, rng: np.random.Generator) -> bytes:
    """A number of 2 or 4 bytes replaced by another size, in either order of bytes."""
    start, length = position(content, rng), int(rng.choice([2, 4]))
    size = int(rng.choice(SIZES)) % (1 << (8 * length))
    content[start : start + length] = size.to_bytes(length, str(rng.choice(["little", "big"])))
    return bytes(content)


def moved(content: bytearray, rng: np.random.Generator) -> bytes:
    """A part taken out, put in twice, or put elsewhere."""
    start, length, to = position(content, rng), int(rng.integers(1, 200)), position(content, rng)
    part = content[start : start + length]
    if rng.random() < 0.6:
        del content[start : start + length]
    if rng.random() < 0.6:
        content[to:to] = part
    return bytes(content)


def with_chunks(content: bytearray, rng: np.random.Generator) -> bytes:
    """A chunk of a PNG given another length, kind or place, or left out; its checksum stays as it was."""
    if not content.startswith(b"\x89PNG"):
        return resized(content, rng)
    starts = chunk_starts(content)
    start = int(rng.choice(starts))
    what = rng.integers(0, 4)
    if what == 0:
        content[start : start + 4] = int(rng.choice(SIZES)).to_bytes(4)
    elif what == 1:
        content[start + 4 : start + 8] = rng.choice([b"IDAT", b"tRNS", b"acTL", b"PLTE", b"IEND", b"fcTL", b"ABCD"])
    else:
        end = start + 12 + int.from_bytes(content[start : start + 4])
        chunk = content[start:end]
        del content[start:end]
        if what == 2:
            to = int(rng.choice(starts))
            content[to:to] = chunk
    return bytes(content)


def consistent(content: bytearray, rng: np.random.Generator) -> bytes:
    """Another mutation of a PNG, after which the checksums of its chunks hold: what a faulty program may write."""
    if not content.startswith(b"\x89PNG"):
        return flipped(content, rng)
    content = bytearray(BYTES[int(rng.integers(0, len(BYTES)))](content, rng))
    for start in chunk_starts(content):
        end = start + 8 + int.from_bytes(content[start : start + 4])
        content[end : end + 4] = zlib.crc32(content[start + 4 : end]).to_bytes(4)
    return bytes(content)


def chunk_starts(content: bytearray) -> list[int]:
    starts, start = [8], 8
    while (start := start + 12 + int.from_bytes(content[start : start + 4])) < len(content):
        starts.append(start)
    return starts


def with_token(content: bytearray, rng: np.random.Generator) -> bytes:
    """A text with one to three strange strings in it, in UTF-8."""
    text = content.decode()
    for _ in range(int(rng.integers(1, 4))):
        start, end = sorted(rng.integers(0, len(text) + 1, 2).tolist())
        text = text[:start] + TOKENS[int(rng.integers(0, len(TOKENS)))] + text[end if rng.random() < 0.3 else start :]
    return text.encode()


def in_latin_1(content: bytearray, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content)))
    content[start:start] = "straße ".encode(str(rng.choice(["latin-1", "utf-16", "utf-8-sig", "cp437"])))
    return bytes(content)


def with_lines(content: bytearray, rng: np.random.Generator) -> bytes:
    """Lines shuffled, repeated or joined."""
    lines = content.split(b"\n")
    chosen = rng.integers(0, len(lines), int(rng.integers(1, 2 * len(lines) + 1)))
    return bytes(rng.choice([b"\n", b"\r", b"\r\n", b"", b" "])).join(bytes(lines[index]) for index in chosen)


BYTES: tuple[Mutation, ...] = (truncated, flipped, overwritten, zeroed, resized, moved, with_chunks)
OF_PICTURES = (*BYTES, consistent)
OF_TEXT = (*BYTES[:4], moved, with_token, with_token, with_token, in_latin_1, with_lines)


def tally(reader: Reader, folder: Path, count: int, seed: int) -> Tally:
    """Reads `count` damaged files; the same seed gives the same files."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.content)
    expected = reader.read(path)
    found = Tally()
    mutations = OF_TEXT if reader.text else OF_PICTURES
    for number in range(count):
        rng = np.random.default_rng([seed, number, zlib.crc32(reader.name.encode())])
        mutation = mutations[int(rng.integers(0, len(mutations)))]
        content = mutation(bytearray(reader.content), rng)
        path.write_bytes(content)
        start = time.perf_counter()
        end, why = outcome(reader, path, expected)
        found.slowest_s = max(found.slowest_s, time.perf_counter() - start)
        if end == "different" and reader.checked and mutation is not consistent:
            end = "silently different"
        found.ends[end] += 1
        if end in ("trace", "silently different"):
            found.failures.append(f"{reader.name}, {mutation.__name__}, number {number}: {end} {why}")
    path.unlink()
    return found


def outcome(reader: Reader, path: Path, expected: Any) -> tuple[str, str]:
    """How one file ends, and of a trace the last line of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as for users, whom a warning does not stop
        try:
            value = reader.read(path)
        except D3S2Error as error:
            str(error).encode()
            return "named", ""
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return "trace", f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
    return ("same" if alike(value, expected) else "different"), ""


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other) if type(one) is type(other) else False


def main() -> None:
    """Reads the call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = readers(folder)
        parts = sum(reader.share for reader in every)
        tallies = {r.name: tally(r, folder, round(asked.count * r.share / parts) + 1, asked.seed) for r in every}
    record = {
        "command": f"python tests/mutated_data_files.py --count {asked.count} --seed {asked.seed} --out {asked.out}",
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": {"processor": processor(), "python": platform.python_version()},
        "inputs": sum(found.ends.total() for found in tallies.values()),
        "ends": dict(sum((found.ends for found in tallies.values()), Counter())),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "readers": {
            name: {**found.ends, "slowest_s": round(found.slowest_s, 3), "failures": found.failures}
            for name, found in tallies.items()
        },
    }
    asked.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({key: record[key] for key in ("inputs", "ends", "peak_mib")}))  # noqa: T201


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
