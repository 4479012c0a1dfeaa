"""LabelSpace: the one place for raw id, train id, ignored values, colour and name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from d3s2.base.errors import DataError
from d3s2.base.pixels import Colour
from d3s2.base.train_ids import IGNORE, MAX_CLASSES
from d3s2.data.files.lines import stray_sign

LARGEST_RAW = 65535


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set and how its mask files encode them.

    Train ids are 0..num_classes-1 in the order of `names`; IGNORE (255) is none of them.

    Args:
        name: what messages call the space, for example 'ADE20K'.
        names: class names, in the order of train ids.
        raw_ids: value in an index mask -> train id. Several raw ids may map to one class.
            Default: the value is the train id.
        ignored: raw values that map to IGNORE. 255 is always one unless `raw_ids` names it.
        palette: one RGB colour (0..255) a class, for colour-coded masks, conditions and pictures.
            Default: a generated one with distinct colours.
        ignored_colours: RGB colours that mean IGNORE in a colour-coded mask.

    Raises:
        DataError: the space contradicts itself.
    """

    name: str
    names: tuple[str, ...]
    raw_ids: Mapping[int, int] | None = None
    ignored: tuple[int, ...] = ()
    palette: tuple[Colour, ...] | None = None
    ignored_colours: tuple[Colour, ...] = ()
    _decoded: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise DataError(
                f"{self.name}: has {self.num_classes} classes, expected 1 to {MAX_CLASSES}; merge or drop classes."
            )
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise DataError(f"{self.name}: class name '{repeated[0]}' is given twice; names must differ.")
        self._check_names()
        decoded = dict(self.raw_ids) if self.raw_ids is not None else {i: i for i in range(self.num_classes)}
        self._check_raw_ids(decoded)
        for value in (*self.ignored, *([] if IGNORE in decoded else [IGNORE])):
            decoded[value] = IGNORE
        object.__setattr__(self, "_decoded", decoded)
        if self.palette is not None and len(self.palette) != self.num_classes:
            raise DataError(
                f"{self.name}: the palette has {len(self.palette)} colours for {self.num_classes} classes; "
                "give one each."
            )
        for colour in (*(self.palette or ()), *self.ignored_colours):
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                raise DataError(f"{self.name}: colour {list(colour)} is not three numbers from 0 to 255.")

    def _check_names(self) -> None:
        """Names go into prompts, into files with one name a line, and into pages."""
        for name in (self.name, *self.names):
            sign = stray_sign(name)
            if sign is not None:
                raise DataError(
                    f"{self.name!r}: the name {name!r} holds the control character U+{ord(sign):04X}, such as a line "
                    "break; take it out."
                )
        blank = [position for position, name in enumerate(self.names) if not name.strip()]
        if blank:
            raise DataError(f"{self.name}: class {blank[0]} (counted from 0) has a blank name; give it one.")

    def _check_raw_ids(self, decoded: Mapping[int, int]) -> None:
        for raw, train in decoded.items():
            if not 0 <= raw <= LARGEST_RAW:
                raise DataError(
                    f"{self.name}: raw id {raw} is outside 0..{LARGEST_RAW}, the values that a mask file can hold."
                )
            if not 0 <= train < self.num_classes:
                raise DataError(
                    f"{self.name}: raw id {raw} maps to train id {train}, outside 0..{self.num_classes - 1}."
                )
        missing = sorted(set(range(self.num_classes)) - set(decoded.values()))
        if missing:
            raise DataError(
                f"{self.name}: class '{self.names[missing[0]]}' (train id {missing[0]}) has no raw id; give it one."
            )
        outside = [value for value in self.ignored if not 0 <= value <= LARGEST_RAW]
        if outside:
            raise DataError(
                f"{self.name}: ignored value {outside[0]} is outside 0..{LARGEST_RAW}, the values that a mask file can "
                "hold."
            )
        both = sorted(set(self.ignored) & set(decoded))
        if both:
            raise DataError(f"{self.name}: raw id {both[0]} is both a class and ignored; keep one of the two.")

    @property
    def num_classes(self) -> int:
        """How many classes there are, IGNORE not counted."""
        return len(self.names)

    @cached_property
    def colours(self) -> UInt8[np.ndarray, "c 3"]:
        """One RGB colour a class: the palette, or a generated one."""
        palette = self.palette or generated_palette(self.num_classes)
        return np.array(palette, dtype=np.uint8)

    @cached_property
    def _lookup(self) -> NDArray[np.int16]:
        """Raw value -> train id, IGNORE, or -1 for a value outside the space."""
        table = np.full(LARGEST_RAW + 1, -1, dtype=np.int16)
        for raw, train in self._decoded.items():
            table[raw] = train
        return table

    @cached_property
    def train_of_byte(self) -> tuple[int, ...]:
        """Train id of each value 0..255, IGNORE, or -1 for a value outside the space."""
        return tuple(self._lookup[:256].tolist())

    def decode_index(self, raw: NDArray[Any], where: str) -> UInt8[np.ndarray, "h w"]:
        """Raw values of an index mask -> train ids; raises DataError naming `where` and the value."""
        train = self._lookup[raw]
        if train.min(initial=0) < 0:
            value = int(raw[train < 0].min())
            known = sorted(raw for raw, train in self._decoded.items() if train != IGNORE)
            whole = known == list(range(known[0], known[-1] + 1))
            span = f"{known[0]}..{known[-1]}" if whole else f"ids ({len(known)} from {known[0]} to {known[-1]})"
            hint = (
                "is this mask already shifted?" if value in (known[0] - 1, known[-1] + 1) else "is it the right mask?"
            )
            raise DataError(f"{where}: label {value} is outside {self.name}'s {span}; {hint}")
        return train.astype(np.uint8)

    def decode_colours(self, rgb: UInt8[np.ndarray, "h w 3"], where: str) -> UInt8[np.ndarray, "h w"]:
        """An RGB mask -> train ids; raises DataError for a colour outside the palette."""
        self.require_distinct_colours("read colour-coded masks")
        packed = _packed(rgb)
        known, train = self._colour_table
        position = np.searchsorted(known, packed).clip(max=len(known) - 1)
        unknown = known[position] != packed
        if unknown.any():
            y, x = np.argwhere(unknown)[0]
            colour = tuple(int(value) for value in rgb[y, x])
            raise DataError(
                f"{where}: colour {colour} at row {y}, column {x} is not in {self.name}'s palette of "
                f"{self.num_classes} colours; add it to the palette or to ignore_colours, and make sure that masks "
                "are stored without loss (not JPEG)."
            )
        return train[position]

    @cached_property
    def _colour_table(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        colours = [*map(tuple, self.colours.tolist()), *self.ignored_colours]
        train = [*range(self.num_classes), *[IGNORE] * len(self.ignored_colours)]
        packed = _packed(np.array(colours, dtype=np.uint8))
        order = np.argsort(packed)
        return packed[order], np.array(train, dtype=np.uint8)[order]

    def encode_colours(self, mask: UInt8[np.ndarray, "*b h w"]) -> UInt8[np.ndarray, "*b h w 3"]:
        """Train ids of one mask or several -> RGB; IGNORE is black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: self.num_classes] = self.colours
        return table[mask]

    def require_distinct_colours(self, purpose: str) -> None:
        """Raises DataError when two classes share a colour, which makes `purpose` impossible."""
        seen: dict[Colour, str] = dict.fromkeys(self.ignored_colours, "ignored")
        for name, colour in zip(self.names, map(tuple, self.colours.tolist()), strict=True):
            if colour in seen:
                raise DataError(
                    f"{self.name}: classes '{seen[colour]}' and '{name}' have one colour {colour}, so it cannot be "
                    f"used to {purpose}; give each class a colour of its own."
                )
            seen[colour] = name

    def as_record(self) -> dict[str, Any]:
        """What a manifest keeps of the space: train ids are positions in `names`."""
        return {"name": self.name, "names": list(self.names), "ignore": IGNORE, "palette": self.colours.tolist()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "LabelSpace":
        """The space that `as_record` described; masks that d3s2 wrote hold train ids."""
        colours: Sequence[Sequence[int]] = record["palette"]
        palette = tuple((int(r), int(g), int(b)) for r, g, b in colours)
        return cls(name=record["name"], names=tuple(record["names"]), palette=palette)


def generated_palette(num_classes: int) -> tuple[Colour, ...]:
    """Distinct colours for any number of classes: the bits of the id spread over the channels.

    Source: the colour map of the Pascal VOC development kit, started at 1 so that nothing is black.
    """

    def channel(index: int, offset: int) -> int:
        return sum(((index >> (3 * bit + offset)) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(1, num_classes + 1))


def _packed(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
