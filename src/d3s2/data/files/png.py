"""What a PNG file says of itself: its header, and whether the checksums over its bytes hold.

Pillow skips the checksums of the image data, and takes a data stream that ends early for a picture whose last rows
are 0; of a mask either means other labels.

Source: Portable Network Graphics (PNG) Specification, third edition, sections 5 (chunks), 8 (interlacing) and 10
(compression).
"""

import zlib
from dataclasses import dataclass

from d3s2.base.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 13
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> values a pixel."""
GREY, PALETTE = 0, 3
BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced picture: first column, first row, step of columns, step of rows."""
PART_BYTES = 1 << 17
"""Decompressed at a time where nobody needs the data: memory that is in the cache already makes it a third faster."""
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


@dataclass(frozen=True)
class PngFile:
    """A PNG file whose chunks are whole, with checksums that hold.

    Args:
        width, height: of the picture, in pixels.
        bits: a value.
        colour_type: a key of CHANNELS.
        interlaced: seven coarse-to-fine passes instead of rows from top to bottom.
        kinds: of the chunks that are there.
        data: the content of its IDAT chunks, a compressed stream.
    """

    width: int
    height: int
    bits: int
    colour_type: int
    interlaced: bool
    kinds: frozenset[bytes]
    data: tuple[memoryview, ...]

    @property
    def is_plain_grey(self) -> bool:
        """Whether it holds one byte a pixel, row by row, and nothing that makes another picture of it."""
        return (self.bits, self.colour_type, self.interlaced) == (8, GREY, False) and b"tRNS" not in self.kinds

    @property
    def stream_bytes(self) -> int:
        """Length of the decompressed stream: each row is preceded by a byte that names its filter."""
        passes = PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            columns, rows = -(-(self.width - left) // across), -(-(self.height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * self.bits * CHANNELS[self.colour_type] + 7) // 8)
        return total


def checked_png(content: bytes, where: str, max_pixels: int) -> PngFile:
    """Header and chunks of a PNG file.

    Args:
        content: the file, which starts with the signature.
        where: what messages call it.
        max_pixels: pictures with more are refused.

    Raises:
        DataError: a chunk is cut off, its checksum does not hold, or the header is none.
    """
    view = memoryview(content)
    kinds: list[bytes] = []
    data: list[memoryview] = []
    position = len(SIGNATURE)
    while not kinds or kinds[-1] != b"IEND":
        length, kind = int.from_bytes(view[position : position + 4]), content[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(content):
            raise DataError(f"{where}: is damaged: the file ends within a chunk, at byte {len(content)}; get it anew.")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise DataError(
                f"{where}: is damaged: the checksum of its chunk at byte {position} does not hold; get it anew."
            )
        if (not kinds and (kind, length) != (b"IHDR", HEADER_BYTES)) or (kind == b"IHDR" and kinds):
            raise DataError(f"{where}: is damaged: expected one PNG header, at the start; get it anew.")
        if not kind[:1].islower() and kind not in CRITICAL:
            raise DataError(f"{where}: holds a chunk {kind!r} that PNG readers do not know; store it again as PNG.")
        kinds.append(kind)
        if kind == b"IDAT":
            data.append(view[position + 8 : end - 4])
        position = end
    return _with_header(content[len(SIGNATURE) + 8 :][:HEADER_BYTES], kinds, data, where, max_pixels)


def _with_header(header: bytes, kinds: list[bytes], data: list[memoryview], where: str, max_pixels: int) -> PngFile:
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    bits, colour_type, compression, filters, interlacing = header[8:]
    if not (width and height and bits in BIT_DEPTHS.get(colour_type, ()) and interlacing < 2) or compression or filters:
        raise DataError(f"{where}: is damaged: its PNG header is none ({header.hex()}); get it anew.")
    if width * height > max_pixels:
        raise DataError(bomb(where, width, height, max_pixels))
    before = kinds[: kinds.index(b"IDAT")] if b"IDAT" in kinds else []
    if not before or (colour_type == PALETTE and b"PLTE" not in before) or kinds.count(b"PLTE") > 1:
        raise DataError(f"{where}: is damaged: its image data or its palette are not where they belong; get it anew.")
    if b"acTL" in kinds:
        raise DataError(f"{where}: is an animated PNG, expected one picture; store it again as PNG.")
    return PngFile(width, height, bits, colour_type, interlacing == 1, frozenset(kinds), tuple(data))


def require_whole_stream(png: PngFile, where: str) -> None:
    """Raises DataError where the image data do not hold every row, or their own checksum does not hold."""
    inflate, rest, size = zlib.decompressobj(), b"".join(png.data), 0
    part_bytes = max(PART_BYTES, png.stream_bytes // 32)
    try:
        while not inflate.eof and size <= png.stream_bytes:
            part = inflate.decompress(rest, part_bytes)
            rest, size = inflate.unconsumed_tail, size + len(part)
            if not part and not rest:
                break
    except zlib.error as error:
        raise DataError(f"{where}: is damaged and cannot be decoded ({error}); get it anew.") from None
    if size < png.stream_bytes or not (inflate.eof or size > png.stream_bytes):
        raise DataError(
            f"{where}: is damaged and cannot be decoded (its data end after {size:,} of {png.stream_bytes:,} bytes, or "
            "without a checksum); get it anew."
        )


def bomb(where: str, width: int, height: int, max_pixels: int) -> str:
    """The sentence for a picture that is too large to be decoded."""
    return (
        f"{where}: refused as a decompression bomb ({width} x {height} px, at most {max_pixels:,} are read); cut it "
        "into tiles."
    )
