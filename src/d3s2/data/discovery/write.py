"""A data set file, with comments, for what was found; and its list files."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d3s2.base.train_ids import IGNORE
from d3s2.data.discovery.contents import class_values
from d3s2.data.discovery.records import Findings, FoundSide

HEAD = """# Written by `d3s2 init`, from what lies in the folder. Read it, correct what only you know, and check it with
#   d3s2 doctor --dataset {path}
"""


def data_set_file(found: Findings, path: Path) -> str:
    """The text of a data set file that is to lie at `path`; of a known data set there is none.

    Lines begin with the same keys as the page on data sets describes.
    """
    return HEAD.format(path=in_comment(path)) + "\n".join(_lines(found)) + "\n"


def list_files(found: Findings) -> dict[str, str]:
    """Name and text of each list file that has to be written beside it."""
    return {f"{name}.txt": "\n".join(one.names) + "\n" for name, one in found.splits.items() if one.names is not None}


def written(value: Any) -> str:
    """A value as YAML on one line: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def in_comment(path: Path) -> str:
    """A path as a word of a call that stands in a comment: on one line, whatever signs it holds."""
    return shlex.quote("".join(sign if sign.isprintable() else "?" for sign in str(path)))


def _lines(found: Findings) -> Iterator[str]:
    assert found.images is not None
    assert found.masks is not None
    yield f"name: {written(found.root.name or 'mine')}"
    yield f"root: {written(str(found.root))}"
    yield from _class_lines(found)
    yield f"images: {_side(found.images)}"
    yield from _mask_lines(found, found.masks)
    yield "splits:"
    for name, one in found.splits.items():
        entry = {} if one.folder in (None, name) else {"folder": one.folder}
        if one.names is not None or one.list_file:
            entry["list_file"] = one.list_file or f"{name}.txt"
        note = f"{one.num_pairs:,} pairs"
        if one.num_incomplete:
            note += f"; {one.num_incomplete:,} files have no partner, so that a list names the complete pairs"
        yield f"  {written(name)}: {written(entry)}   # {note}"


def _class_lines(found: Findings) -> Iterator[str]:
    if found.palette_from:
        yield f"palette: {written(found.palette_from)}   # names and colours"
        return
    if found.classes_from:
        yield f"classes: {written(found.classes_from)}"
        return
    if found.names_from:
        yield f"# Names are those of {in_comment(Path(found.names_from))}."
    else:
        yield "# TODO: what are the classes called? Names are made up. Prompts of text-to-image models say them, too."
    if found.contents.encoding == "colour":
        yield "palette:"
        for name, colour in zip(found.names, found.contents.colours, strict=True):
            held, share = found.contents.colours[colour]
            yield f"  {written(name)}: {written(list(colour))}   # in {masks_text(held)}, {share:.2%} of the pixels"
        return
    yield "classes:"
    for name, value in zip(found.names, class_values(found.contents), strict=True):
        held, share = found.contents.values[value]
        yield f"  - {written(name)}   # value {value}: in {masks_text(held)}, {share:.2%} of the pixels"


def masks_text(number: int) -> str:
    """'1 mask', '2 masks'."""
    return f"{number:,} mask{'' if number == 1 else 's'}"


def _mask_lines(found: Findings, masks: FoundSide) -> Iterator[str]:
    yield "masks:"
    yield from (f"  {key}: {written(value)}" for key, value in _entries(masks).items())
    yield f"  encoding: {found.contents.encoding}"
    if found.contents.encoding == "colour":
        yield "  # TODO: a colour that means 'not labelled' goes from the palette to ignore_colours, as [[0, 0, 0]]."
        yield "  ignore_colours: []"
        return
    values = class_values(found.contents)
    if found.first_value is not None:
        yield f"  first_value: {found.first_value}"
        if found.first_value > 0:
            yield f"  ignore_values: [0]   # {found.classes_from} has no name for it"
        return
    if values == list(range(values[0], values[0] + len(values))):
        yield f"  first_value: {values[0]}"
    else:
        pairs = ", ".join(f"{value}: {written(name)}" for value, name in zip(values, found.names, strict=True))
        yield f"  raw_ids: {{{pairs}}}"
    ignored = f"{IGNORE} is ignored in any case. " if IGNORE not in values else ""
    yield f"  # TODO: {ignored}Does another value mean 'not labelled'? Take its class away, and write it here."
    yield "  ignore_values: []"


def _side(side: FoundSide) -> str:
    return "{" + ", ".join(f"{key}: {written(value)}" for key, value in _entries(side).items()) + "}"


def _entries(side: FoundSide) -> dict[str, Any]:
    entries: dict[str, Any] = {"folder": side.folder, "pattern": side.pattern, "extensions": list(side.extensions)}
    return entries | ({"skip": side.skip} if side.skip else {})
