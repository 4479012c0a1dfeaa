"""How folders and names of images and masks correspond: splits in paths, what names share, what they end in."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath

from d3s2.data.discovery.records import FoundSide
from d3s2.data.discovery.roles import role_in

SPLIT = re.compile(r"(?<![a-z])(train(?:ing|val)?|val(?:id(?:ation)?)?|test(?:ing)?|dev)(\d*)", re.IGNORECASE)
COLOURED = re.compile(r"colou?r", re.IGNORECASE)
MOST_TEMPLATES = 4
"""Folders of images, and of masks, that are tried with one another."""
WORD_BEFORE_NUMBER = re.compile(r"[A-Za-z]+(?=\d)")
"""`img0001`, whose mask may be `label0001`."""
CUTS = re.compile(r"[^_.\-]*[_.\-]")
"""Names are cut behind these signs."""


@dataclass(frozen=True)
class Match:
    """The best correspondence that was found.

    Args:
        images, masks: where both lie.
        pairs: (split, name) of each complete pair, the split '' where folders hold none.
        num_images, num_masks: files that belong to the two sides, in all, by split.
    """

    images: FoundSide
    masks: FoundSide
    pairs: frozenset[tuple[str, str]]
    num_images: Counter[str]
    num_masks: Counter[str]

    def incomplete(self, split: str) -> int:
        """Files without their partner."""
        whole = sum(one == split for one, _ in self.pairs)
        return self.num_images[split] + self.num_masks[split] - 2 * whole


def match(images: Sequence[PurePosixPath], masks: Sequence[PurePosixPath]) -> Match | None:
    """How most of the files pair; None where nothing does."""
    best: Match | None = None
    for image_folder, mask_folder in product(_templates(images), _templates(masks)):
        here, there = [*_placed(images, image_folder)], [*_placed(masks, mask_folder)]
        found = _named_alike(here, there, image_folder, mask_folder)
        if found is None:
            continue
        if best is None or len(found.pairs) > len(best.pairs):
            best = found
        if 10 * len(found.pairs) >= 9 * min(len(images), len(masks)):
            break  # nothing that is tried later can be much better
    return best


def _named_alike(
    images: "Sequence[Placed]", masks: "Sequence[Placed]", image_folder: str, mask_folder: str
) -> Match | None:
    """The patterns by which most names of two folders are alike."""
    found: list[tuple[int, bool, int, str, str, str, str]] = []
    for before, after in _affixes([name for _, name, _ in images]):
        keys = {(split, stripped) for split, name, _ in images if (stripped := _strip(name, before, after)) is not None}
        variants: Counter[tuple[str, str]] = Counter()
        for split, name, _ in masks:
            variants.update(_variants(split, name, keys))
        for (mask_before, mask_after), count in variants.items():
            length = len(before + after + mask_before + mask_after)
            plain = not COLOURED.search(mask_before + mask_after)  # index masks, where both kinds are there
            found.append((count, plain, -length, before, after, mask_before, mask_after))
    if not found:
        return None
    most = max(count for count, *_ in found)
    near = [one for one in found if 10 * one[0] >= 9 * most]
    *_, before, after, mask_before, mask_after = max(near, key=lambda one: (one[1], one[0], *one[2:]))
    return _match(images, masks, (image_folder, before, after), (mask_folder, mask_before, mask_after))


Placed = tuple[str, str, str]
"""Split, path without extension below the folder, extension."""


def _match(
    images: Sequence[Placed], masks: Sequence[Placed], here: tuple[str, str, str], there: tuple[str, str, str]
) -> Match:
    sides = []
    for placed, (folder, before, after) in ((images, here), (masks, there)):
        own = {(split, key): ext for split, name, ext in placed if (key := _strip(name, before, after)) is not None}
        sides.append((folder, f"{before}*{after}", own))
    (image_folder, image_pattern, left), (mask_folder, mask_pattern, right) = sides
    pairs = frozenset(left.keys() & right.keys())
    skip = mask_pattern if image_folder == mask_folder and image_pattern == "*" and mask_pattern != "*" else None
    found_images = FoundSide(image_folder, image_pattern, _extensions(left, pairs), skip)
    found_masks = FoundSide(mask_folder, mask_pattern, _extensions(right, pairs))
    return Match(found_images, found_masks, pairs, _count(left), _count(right))


def _count(side: Iterable[tuple[str, str]]) -> Counter[str]:
    return Counter(split for split, _ in side)


def _extensions(side: dict[tuple[str, str], str], pairs: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted({extension for key, extension in side.items() if key in pairs}))


def _templates(files: Sequence[PurePosixPath]) -> list[str]:
    """Folders that files lie in or below, those of splits first, then by their files; last the one above them all."""
    templates: Counter[str] = Counter()
    for parent, count in Counter(file.parent for file in files).items():
        templates[_generalised(parent)] += count
    usual = sorted(templates, key=lambda one: ("{split}" not in one, -templates[one], one))[:MOST_TEMPLATES]
    return [*dict.fromkeys([*usual, os.path.commonpath([*templates]) or "."])]


def _generalised(folder: PurePosixPath) -> str:
    """A folder up to what tells a split or a role; what lies deeper are subfolders of a kind."""
    parts = list(folder.parts)
    split_at = next((at for at, part in enumerate(parts) if SPLIT.search(part)), None)
    if split_at is not None:
        parts[split_at] = SPLIT.sub("{split}", parts[split_at], count=1)
    anchors = [at for at, part in enumerate(folder.parts) if role_in(part) or at == split_at]
    kept = parts[: max(anchors) + 1] if anchors else parts
    return "/".join(kept) or "."


def _placed(files: Sequence[PurePosixPath], template: str) -> Iterator[Placed]:
    """The files that lie below a template."""
    parts = () if template == "." else PurePosixPath(template).parts
    shape = [
        re.compile(re.escape(part).replace(r"\{split\}", f"(?P<split>{SPLIT.pattern})"), re.IGNORECASE)
        for part in parts
    ]
    for file in files:
        if len(file.parts) <= len(parts):
            continue
        fits = [one.fullmatch(part) for one, part in zip(shape, file.parts, strict=False)]
        if all(fits):
            split = next((fit["split"] for fit in fits if fit and "split" in fit.groupdict()), "")
            below = PurePosixPath(*file.parts[len(parts) :])
            yield split, below.with_suffix("").as_posix(), below.suffix.lower().removeprefix(".")


def lies_in(file: PurePosixPath, template: str) -> bool:
    """Whether a file lies below a template of folders."""
    return next(_placed([file], template), None) is not None


def _affixes(names: Sequence[str]) -> list[tuple[str, str]]:
    """What the names of images may begin and end with, beside nothing: what all of them share, up to a cut."""
    stems = [name.rpartition("/")[2] for name in names]
    before = os.path.commonprefix(stems)  # noqa: RUF071
    word = WORD_BEFORE_NUMBER.match(stems[0]) if stems else None
    shared = word.group() if word and all(stem.startswith(word.group()) for stem in stems) else ""
    before = "".join(CUTS.findall(before))
    after = os.path.commonprefix([stem[::-1] for stem in stems])  # noqa: RUF071
    after = "".join(CUTS.findall(after))[::-1]
    return [(one, other) for one in dict.fromkeys(("", before, shared)) for other in dict.fromkeys(("", after))]


def _strip(name: str, before: str, after: str) -> str | None:
    """The part of a name that both sides share, with its subfolder."""
    folder, slash, stem = name.rpartition("/")
    if len(stem) <= len(before) + len(after) or not (stem.startswith(before) and stem.endswith(after)):
        return None
    return folder + slash + stem[len(before) : len(stem) - len(after)]


def _variants(split: str, name: str, keys: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What a mask's name may have before and behind the name of an image."""
    folder, slash, stem = name.rpartition("/")
    word = WORD_BEFORE_NUMBER.match(stem)
    cuts = [0, *([word.end()] if word else []), *(found.end() for found in re.finditer(r"[_.\-]", stem))]
    ends = [len(stem), *(found.start() for found in re.finditer(r"[_.\-]", stem))]
    for start in cuts:
        for end in ends:
            if start < end and (split, folder + slash + stem[start:end]) in keys:
                yield stem[:start], stem[end:]
