"""The label matrix of a MATLAB file, as COCO-Stuff 10k and CCP store their masks.

SciPy's reader crashes the process on some damaged files. Of these files one matrix of numbers is wanted, so that they
are read here, and every length is compared with what is there.

Source: MAT-File Format, The MathWorks, level 5 (versions 5 to 7): a header of 128 bytes, then elements of type, length
and content. A compressed element holds another one; a matrix holds the elements flags, dimensions, name and numbers.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from d3s2.base.errors import DataError

NAMES = ("S", "groundtruth")
"""What the label matrix is called in the files of COCO-Stuff 10k and of CCP."""
LARGEST_LABEL = 65535
HEADER_BYTES = 128
VERSION_7_3 = 2  # these are HDF5
MAX_BYTES_A_PIXEL = 8  # a matrix of doubles; what else is in the files is small

MATRIX, COMPRESSED = 14, 15
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element -> numpy's name of its numbers."""
CLASSES = (
    "nothing", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16", "uint16",
    "int32", "uint32", "int64", "uint64",
)  # fmt: skip
FIRST_NUMBER = CLASSES.index("double")
COMPLEX = 0x0800  # of a matrix's flags

Order = Literal["little", "big"]
SIGNS: dict[Order, str] = {"little": "<", "big": ">"}


@dataclass(frozen=True)
class Matrix:
    """A variable.

    Args:
        name: of it.
        kind: MATLAB's name of its class.
        shape: its dimensions.
        number_type: numpy's name of its numbers; empty where it is no table of real numbers.
        numbers: their bytes, column by column.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    number_type: str
    numbers: bytes


def read_labels(content: bytes, where: str, max_pixels: int) -> NDArray[np.uint16]:
    """The labels (0..65535) in a MATLAB file.

    Args:
        content: the file.
        where: what messages call it.
        max_pixels: larger matrices are refused, before they are decompressed.

    Raises:
        DataError: the file is damaged or too large, or holds no matrix of labels.
    """
    found = _matrices(content, where, MAX_BYTES_A_PIXEL * max_pixels)
    named = [each for each in found if each.name in NAMES] or [each for each in found if each.number_type and each.name]
    if len(named) != 1 or not named[0].number_type:
        held = ", ".join(f"{matrix.name} ({matrix.kind})" for matrix in found) or "nothing"
        raise DataError(f"{where}: holds {held}, expected one matrix of labels called {' or '.join(NAMES)}.")
    matrix = named[0]
    height, width = matrix.shape
    if height < 1 or width < 1 or height * width > max_pixels:
        raise DataError(f"{where}: holds {height} x {width} labels, expected 1 to {max_pixels:,} of them.")
    if len(matrix.numbers) != height * width * np.dtype(matrix.number_type).itemsize:
        raise DataError(f"{where}: is damaged: holds {len(matrix.numbers):,} bytes for {height} x {width} labels.")
    numbers = np.frombuffer(matrix.numbers, dtype=matrix.number_type).reshape(height, width, order="F")
    with np.errstate(invalid="ignore"):
        labels = np.ascontiguousarray(numbers.astype(np.uint16))
    if not np.array_equal(labels, numbers):
        raise DataError(f"{where}: holds values that are no labels, expected whole numbers from 0 to {LARGEST_LABEL}.")
    return labels


def _matrices(content: bytes, where: str, max_bytes: int) -> list[Matrix]:
    if content[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{where}: is not a MATLAB file of versions 5 to 7; is it damaged?")
    if VERSION_7_3 in content[124:126]:
        raise DataError(f"{where}: is a MATLAB file of version 7.3, expected 5 to 7; save it with -v7.")
    order: Order = "little" if content[126:128] == b"IM" else "big"
    found, size = [], 0
    for kind, part in _elements(content[HEADER_BYTES:], order, where, padded=False):
        if kind == COMPRESSED:
            inside = _inflated(part, where, max_bytes - size)
            size += len(inside)
            kind, part = next(_elements(inside, order, where), (0, b""))
        if kind != MATRIX:
            raise DataError(f"{where}: is damaged: expected matrices, found an element of type {kind}; get it anew.")
        found.append(_matrix(part, order, where))
    return found


def _elements(content: bytes, order: Order, where: str, padded: bool = True) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element; those of up to four bytes may lie in their own tag."""
    position = 0
    while position < len(content):
        kind, length = (int.from_bytes(content[position + at :][:4], order) for at in (0, 4))
        start = position + 8
        if kind >> 16:
            kind, length, start = kind & 0xFFFF, min(kind >> 16, 4), position + 4
        end = start + length
        if end > len(content) or position + 8 > len(content):
            raise DataError(f"{where}: is damaged: the file ends within a matrix; get it anew.")
        yield kind, content[start:end]
        position = max(position + 8, end + (-end % 8 if padded else 0))


def _matrix(content: bytes, order: Order, where: str) -> Matrix:
    elements = _elements(content, order, where)
    flags, dimensions, name = (next(elements, (0, b""))[1] for _ in range(3))
    flag = int.from_bytes(flags[:4], order)
    number_class, is_complex = flag & 0xFF, bool(flag & COMPLEX)
    shape = tuple(np.frombuffer(dimensions[: len(dimensions) // 4 * 4], dtype=f"{SIGNS[order]}i4").tolist())
    number_type, numbers = "", b""
    if FIRST_NUMBER <= number_class < len(CLASSES) and len(shape) == 2 and not is_complex:
        kind, numbers = next(elements, (0, b""))
        number_type = SIGNS[order] + NUMBER_TYPES[kind] if kind in NUMBER_TYPES else ""
    known = CLASSES[number_class] if number_class < len(CLASSES) else f"class {number_class}"
    readable = name.decode("latin-1").encode("ascii", "backslashreplace").decode()
    return Matrix(readable, f"complex {known}" if is_complex else known, shape, number_type, numbers)


def _inflated(data: bytes, where: str, max_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        part = stream.decompress(data, max(1, max_bytes))
    except zlib.error as error:
        raise DataError(f"{where}: is damaged and cannot be decompressed ({error}); get it anew.") from None
    if stream.unconsumed_tail:
        raise DataError(f"{where}: refused as a decompression bomb (more than {max_bytes:,} bytes once decompressed).")
    if not stream.eof:
        raise DataError(f"{where}: is damaged: its compressed data end early; get it anew.")
    return part
