"""Every item of a distilled set as one record of the page: facts that sort and filter it, and its small pictures."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite

import numpy as np

from d3s2.base.progress import SILENT, Progress, track
from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace
from d3s2.report.gallery import GalleryRow
from d3s2.report.pictures import ENCODINGS, Encoding, image_uri, mask_uri, misread_pixels, misread_uri, reduced
from d3s2.report.tables import Table

VIEWS = {"mask": "mask", "real": "real", "unguided": "unguided", "guided": "guided", "opinion": "teacher"}
"""Fields of a GalleryRow in the order of the slider, with what its stops are called."""

MAX_BYTES = 7_000_000
"""Of all records as JSON; figures, tables and the gallery of a page have to stay below 10 MB with them."""

TRIED = 10  # items that tell what an encoding takes
MOST_MISREAD = 20  # rows of the table


@dataclass(frozen=True)
class PageItem:
    """What a run knows of one item.

    Args:
        item_id: of the item; `source_id` of its mask in the data set.
        pictures: its pictures; the opinion is needed, what else there is not is None.
        chosen_for: the class that its mask was chosen for.
        candidate: position of the kept candidate, from 0.
        energies_before: by name, of the unguided sample; `energies` of the finished one.
        nearest_id: the real image that is most like it, at `distance` grey levels, and `ratio` as in Neighbour.
    """

    item_id: str
    source_id: str
    pictures: GalleryRow
    chosen_for: str | None = None
    candidate: int = 0
    energies_before: Mapping[str, float] = field(default_factory=dict)
    energies: Mapping[str, float] = field(default_factory=dict)
    nearest_id: str | None = None
    distance: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class ItemRecord:
    """One item as the page's script reads it; fields that are not described here are those of PageItem.

    Args:
        disagreement: share of the scored pixels in which the teacher sees another class, 0..1; None where none count.
        pairs: (class of the mask, class that the teacher sees, pixels), for those that occur together.
        pictures: by view, and 'misread', as data URIs.
    """

    item_id: str
    source_id: str
    chosen_for: str | None
    candidate: int
    energies_before: dict[str, float]
    energies: dict[str, float]
    nearest_id: str | None
    distance: float | None
    ratio: float | None
    disagreement: float | None
    pairs: tuple[tuple[int, int, int], ...]
    pictures: dict[str, str]


@dataclass(frozen=True)
class PackedItems:
    """All items of a set, in the order of choice.

    Args:
        records: one an item.
        space: the classes.
        size_px: (height, width) of the pictures as they are on disk.
        encoding: how they are stored here.
    """

    records: tuple[ItemRecord, ...]
    space: LabelSpace
    size_px: tuple[int, int]
    encoding: Encoding

    @property
    def views(self) -> tuple[str, ...]:
        """The pictures that at least one item has, in the order of VIEWS."""
        return tuple(view for view in VIEWS if any(view in record.pictures for record in self.records))

    @property
    def as_json(self) -> str:
        """What the script reads; no text in it can end the element of a page that holds it."""
        content = {
            "classes": [
                {"name": name, "colour": "#" + bytes(colour).hex()}
                for name, colour in zip(self.space.names, self.space.colours.tolist(), strict=True)
            ],
            "views": [{"key": view, "caption": VIEWS[view]} for view in self.views],
            "size_px": self.size_px,
            "items": [asdict(record) for record in self.records],
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")

    @property
    def how_stored(self) -> str:
        """A sentence on the size and the quality of the pictures."""
        full, shown = self.size_px, self.encoding.shown_px(self.size_px)
        quality = self.encoding.quality
        kind = "without loss" if quality is None else f"as WebP of quality {quality}"
        if shown == full:
            return f"Images are stored {kind}, at their {full[0]} x {full[1]} px."
        return f"Images are stored {kind} and brought from {full[0]} x {full[1]} to {shown[0]} x {shown[1]} px."


def pack(
    count: int,
    read: Callable[[int], PageItem],
    space: LabelSpace,
    max_bytes: int = MAX_BYTES,
    progress: Progress = SILENT,
) -> PackedItems:
    """Encodes items one after the other, so that no more than a few are in memory as pixels.

    Pictures are as large as the budget allows by a few items spread over the set; a set that is too large even for the
    smallest encoding gets that one, and more bytes.

    Args:
        count: of items, one at least.
        read: position -> the item; all items are of one size.
        space: the classes.
        max_bytes: of all records together.
        progress: where it tells of itself.
    """
    tried = [read(int(at)) for at in np.unique(np.linspace(0, count - 1, TRIED).round().astype(int))]
    size_px = tried[0].pictures.mask.shape
    encodings = [one for one in ENCODINGS if one.quality is not None or one.shown_px(size_px) == size_px]
    fits = bisect_left(encodings, True, key=lambda one: _bytes(tried, space, one) * count <= max_bytes)
    encoding = encodings[min(fits, len(encodings) - 1)]
    positions = track(progress, "items of the page", range(count), count)
    return PackedItems(tuple(_record(read(at), space, encoding) for at in positions), space, size_px, encoding)


def misread_table(packed: PackedItems) -> Table:
    """The classes that the teacher most often sees as another one, over all items; most pixels first."""
    seen: Counter[tuple[int, int]] = Counter()
    items: Counter[tuple[int, int]] = Counter()
    for record in packed.records:
        for true, read_as, pixels in record.pairs:
            seen[true, read_as] += pixels
            items[true, read_as] += 1
    of_class = Counter[int]()
    for (true, _), pixels in seen.items():
        of_class[true] += pixels
    wrong = sorted((pair for pair in seen if pair[0] != pair[1]), key=lambda pair: (-seen[pair], pair))
    names, everything = packed.space.names, max(1, seen.total())
    rows = tuple(
        (
            names[true],
            names[read_as],
            f"{100 * seen[true, read_as] / of_class[true]:.1f} %",
            f"{100 * seen[true, read_as] / everything:.2f} %",
            f"{items[true, read_as]:,}",
        )
        for true, read_as in wrong[:MOST_MISREAD]
    )
    headers = ("class", "read as", "of the class", "of all pixels", "items")
    return Table(headers, rows, (False, False, True, True, True))


def _bytes(items: Sequence[PageItem], space: LabelSpace, encoding: Encoding) -> float:
    """What an item takes on average."""
    return sum(len(json.dumps(asdict(_record(item, space, encoding)))) for item in items) / len(items)


def _record(item: PageItem, space: LabelSpace, encoding: Encoding) -> ItemRecord:
    shown, opinion = item.pictures, item.pictures.opinion
    assert opinion is not None
    pairs = _pairs(shown.mask, opinion)
    scored = sum(pixels for _, _, pixels in pairs)
    misread = sum(pixels for true, seen, pixels in pairs if true != seen)
    found = {view: getattr(shown, view) for view in VIEWS}
    pictures = {
        view: mask_uri(content, space, encoding) if content.ndim == 2 else image_uri(content, encoding)
        for view, content in found.items()
        if content is not None
    }
    marks = misread_pixels(reduced(shown.mask, encoding), reduced(opinion, encoding))
    return ItemRecord(
        item_id=item.item_id,
        source_id=item.source_id,
        chosen_for=item.chosen_for,
        candidate=item.candidate,
        energies_before=_finite(item.energies_before),
        energies=_finite(item.energies),
        nearest_id=item.nearest_id,
        distance=item.distance,
        ratio=item.ratio,
        disagreement=round(misread / scored, 6) if scored else None,
        pairs=pairs,
        pictures=pictures | {"misread": misread_uri(marks)},
    )


def _pairs(mask: np.ndarray, opinion: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    scored = mask != IGNORE
    counts = np.bincount(256 * mask[scored].astype(np.int64) + opinion[scored])
    return tuple((code // 256, code % 256, int(counts[code])) for code in np.flatnonzero(counts).tolist())


def _finite(energies: Mapping[str, float]) -> dict[str, float]:
    """JSON knows no infinity; what is none is left out, and sorts last."""
    return {name: value for name, value in energies.items() if isfinite(value)}
