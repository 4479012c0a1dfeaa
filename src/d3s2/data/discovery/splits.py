"""Which pairs are for training and which for testing: split folders, list files, or lists that are written."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from d3s2.base.errors import D3S2Error, DataError
from d3s2.data.discovery.patterns import SPLIT, Match
from d3s2.data.discovery.records import FoundSplit
from d3s2.data.files.lines import filled_lines

TRAIN, TEST = "train", "test"
EVERY = 5
"""Where nothing says otherwise, every fifth pair in name order is for testing."""
MAX_LIST_BYTES = 64 << 20
LINES_TRIED = 200


def found_splits(root: Path, match: Match) -> tuple[dict[str, FoundSplit], str, str]:
    """The splits by name, and which of them are for training and for testing.

    Raises:
        DataError: there is one pair only.
    """
    if len(match.pairs) < 2:
        raise DataError(f"{root}: holds one pair only, expected at least two: one to learn from, one to test on.")
    listed = _by_list_files(root, match)
    splits = listed if len(listed) > 1 else _by_folders(match)
    train, test = _chosen(splits)
    if train is None or test is None:
        folder = next(iter(splits.values())).folder if len(splits) == 1 else None
        return _written(match, folder), TRAIN, TEST
    return splits, train, test


def _by_folders(match: Match) -> dict[str, FoundSplit]:
    """A split a folder; one with files without their partner gets a list of its complete pairs."""
    splits = {}
    for split in sorted({one for one, _ in match.pairs}):
        names = tuple(sorted(name for one, name in match.pairs if one == split))
        incomplete = match.incomplete(split)
        folder = split or None
        splits[split or "all"] = FoundSplit(folder, None, names if incomplete else None, len(names), incomplete)
    return splits


def _by_list_files(root: Path, match: Match) -> dict[str, FoundSplit]:
    """A split a text file whose lines name pairs; of folders with splits none is looked for."""
    if any(split for split, _ in match.pairs):
        return {}
    names = {name for _, name in match.pairs}
    stems = {name.rpartition("/")[2]: name for name in names}
    splits: dict[str, FoundSplit] = {}
    for path in sorted({*root.glob("*.txt"), *root.glob("*/*.txt"), *root.glob("*/*/*.txt")}):
        word = SPLIT.search(path.stem)
        lines = [*_lines(path)] if word else []
        if not word or not lines:
            continue
        shared = [_pair_of(line, names, stems, match.images.pattern) for line in lines]
        whole = tuple(dict.fromkeys(one for one in shared if one is not None))
        if 10 * sum(one is not None for one in shared[:LINES_TRIED]) < 9 * min(len(shared), LINES_TRIED):
            continue
        missing = len(lines) - len(whole)
        list_file = path.relative_to(root).as_posix()
        splits.setdefault(
            word.group().lower(),
            FoundSplit(None, None if missing else list_file, whole if missing else None, len(whole), missing),
        )
    return splits


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size <= MAX_LIST_BYTES:
            yield from (line for _, line in filled_lines(path, "a list of pairs", DataError))
    except (D3S2Error, OSError):
        return  # a text of something else


def _pair_of(line: str, names: set[str], stems: Mapping[str, str], pattern: str) -> str | None:
    """The pair that a line names: by its name, or by the path of its image with or without that of its mask."""
    if line in names:
        return line
    first = line.split()[0]
    stem = Path(first).name
    before, after = pattern.split("*")
    for one in (stem, Path(stem).stem):
        key = one.removeprefix(before).removesuffix(after)
        if key in stems:
            return stems[key]
    return None


def _chosen(splits: Mapping[str, FoundSplit]) -> tuple[str | None, str | None]:
    def first(*words: str) -> str | None:
        ranked = (name for word in words for name in splits if name.lower().startswith(word))
        return next(ranked, None)

    train = next((name for name in splits if name.lower() in ("train", "training")), None) or first("train")
    test = first("test", "val", "dev")
    return train, test


def _written(match: Match, folder: str | None) -> dict[str, FoundSplit]:
    """Every fifth pair for testing."""
    names = sorted(name for _, name in match.pairs)
    tests = set(names[EVERY - 1 :: EVERY]) or {names[-1]}
    train = tuple(name for name in names if name not in tests)
    test = tuple(name for name in names if name in tests)
    incomplete = sum(match.num_images.values()) + sum(match.num_masks.values()) - 2 * len(match.pairs)
    return {
        TRAIN: FoundSplit(folder, None, train, len(train), incomplete),
        TEST: FoundSplit(folder, None, test, len(test)),
    }
