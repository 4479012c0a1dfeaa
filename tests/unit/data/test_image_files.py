"""Reading of single files: every number format, and a sentence for every kind of bad file."""

import os
import zlib
from io import BytesIO
from pathlib import Path
from struct import pack

import numpy as np
import pytest
import scipy.io
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.files import image_files
from d3s2.data.files.image_files import png_bytes, read_8bit_mask, read_colour_mask, read_image, read_mask
from d3s2.data.files.png import checked_png

RAW = np.arange(12, dtype=np.uint8).reshape(3, 4)


def refused(read, path: Path) -> str:
    with pytest.raises(DataError) as error:
        read(path)
    return str(error.value)


def test_16_bit_masks_keep_their_values(tmp_path: Path):
    raw = RAW.astype(np.uint16) * 5000
    Image.fromarray(raw).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == raw).all()
    assert read_8bit_mask(tmp_path / "m.png") is None


def test_1_bit_masks_hold_0_and_1(tmp_path: Path):
    Image.fromarray(RAW > 5).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == (RAW > 5)).all()
    assert read_8bit_mask(tmp_path / "m.png") is None


def test_matlab_masks_are_read_by_the_name_of_their_matrix(tmp_path: Path):
    scipy.io.savemat(tmp_path / "s.mat", {"regionMapStuff": RAW + 100, "S": RAW, "captions": "text"})
    scipy.io.savemat(tmp_path / "g.mat", {"groundtruth": RAW.astype(np.float64)})
    assert (read_mask(tmp_path / "s.mat") == RAW).all()
    assert (read_mask(tmp_path / "g.mat") == RAW).all()


def test_a_matlab_file_without_labels_is_named(tmp_path: Path):
    path = tmp_path / "m.mat"
    scipy.io.savemat(path, {"a": RAW, "b": RAW})
    assert refused(read_mask, path).endswith(
        "holds a (uint8), b (uint8), expected one matrix of labels called S or groundtruth."
    )
    scipy.io.savemat(path, {"S": RAW - 0.5})
    assert (
        refused(read_mask, path) == f"{path}: holds values that are no labels, expected whole numbers from 0 to 65535."
    )
    path.write_bytes(b"no matlab" * 40)
    assert refused(read_mask, path).startswith(f"{path}: is not a MATLAB file of versions 5 to 7; is it damaged?")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400))
    assert refused(read_mask, path) == f"{path}: is a MATLAB file of version 7.3, expected 5 to 7; save it with -v7."
    assert (
        refused(read_mask, tmp_path / "none.mat")
        == f"{tmp_path / 'none.mat'}: there is no such file, expected a mask; check the path."
    )


@pytest.mark.parametrize("read", [read_image, read_mask, read_8bit_mask])
def test_missing_foreign_and_truncated_files_are_named(tmp_path: Path, read):
    path = tmp_path / "m.png"
    assert refused(read, path).startswith(f"{path}: there is no such file, expected a")
    path.write_text("no picture")
    assert refused(read, path) == f"{path}: is not an image that can be read; is the file damaged?"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path.write_bytes(png_bytes(noise)[:-900])
    assert refused(read, path).startswith(f"{path}: is damaged: the file ends within a chunk, at byte ")


@pytest.mark.parametrize("size_px", [(1, 1), (3, 5), (64, 48), (37, 211)])
def test_the_quick_way_reads_what_pillow_reads(tmp_path: Path, size_px: tuple[int, int]):
    raw = np.random.default_rng(size_px).integers(0, 256, size_px, dtype=np.uint8)
    smooth = np.sort(raw, axis=1)
    path = tmp_path / "m.png"
    for array in (raw, smooth):
        for picture in (Image.fromarray(array), Image.fromarray(array).convert("P")):
            for options in ({}, {"optimize": True}, {"compress_level": 0}):
                picture.save(path, **options)
                read = read_8bit_mask(path)
                assert read is not None
                assert (np.asarray(read) == read_mask(path)).all()
                assert read.histogram() == Image.open(path).histogram()


def test_a_colour_image_is_no_index_mask(tmp_path: Path):
    path = tmp_path / "m.png"
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(path)
    for read in (read_mask, read_8bit_mask):
        assert refused(read, path) == (
            f"{path}: is a RGB image, expected an index mask with one value a pixel; for colour-coded masks give a "
            "palette and masks.encoding: colour."
        )


def test_a_decompression_bomb_is_refused(tmp_path: Path):
    path = tmp_path / "m.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert refused(read_mask, path).startswith(f"{path}: refused as a decompression bomb (")


def test_a_file_of_more_than_a_gib_is_refused_unread(tmp_path: Path):
    with (tmp_path / "m.png").open("wb") as stream:
        stream.truncate((1 << 30) + 1)  # holds nothing, takes no room
    for read in (read_mask, read_image, read_8bit_mask, read_colour_mask):
        assert "has 1,073,741,825 bytes, expected" in refused(read, tmp_path / "m.png")


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks, with the checksums that belong to them."""
    body = [pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


SHAPE = (32, 48)
GREY = np.random.default_rng(5).integers(0, 7, SHAPE, dtype=np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in GREY)
STREAM = zlib.compress(ROWS)
IEND = (b"IEND", b"")


def header(width: int = SHAPE[1], height: int = SHAPE[0], bits: int = 8, colour: int = 0, interlaced: int = 0):
    return (b"IHDR", pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def grey_png(stream: bytes = STREAM, *before: tuple[bytes, bytes]) -> bytes:
    return png(header(), *before, (b"IDAT", stream), IEND)


@pytest.fixture(params=["libpng", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both decoders, of which users may have the one only."""
    if request.param == "pillow":
        monkeypatch.setattr(image_files, "png_decode", None)
    elif image_files.png_decode is None:
        pytest.skip("imagecodecs is not installed")
    return request.param


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("value", [7, 3, 300])
def test_a_grey_png_with_a_transparent_value_is_read(tmp_path: Path, value: int):
    path = tmp_path / "m.png"
    path.write_bytes(grey_png(STREAM, (b"tRNS", pack(">H", value))))
    picture = read_8bit_mask(path)
    assert picture is not None
    assert (picture.mode, (np.asarray(picture) == GREY).all()) == ("L", True)
    assert (read_mask(path) == GREY).all()
    assert (read_image(path) == GREY[..., None]).all()


def test_a_palette_with_transparency_gives_its_colours(tmp_path: Path):
    path = tmp_path / "m.png"
    picture = Image.fromarray(GREY).convert("P")
    picture.save(path, transparency=bytes([0, 9, 8, 255]))
    assert (read_mask(path) == GREY).all()
    assert (read_image(path) == GREY[..., None]).all()


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("read", [read_mask, read_8bit_mask, read_image])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (grey_png(STREAM, (b"tRNS", b"\1")), "is damaged and cannot be decoded (Truncated tRNS chunk)."),
        (grey_png(STREAM, (b"acTL", pack(">II", 1, 0))), "is an animated PNG, expected one picture"),
        (grey_png(STREAM, (b"acTL", b"\0")), "is an animated PNG, expected one picture"),
        (grey_png(STREAM, header()), "is damaged: expected one PNG header, at the start"),
        (grey_png(STREAM, (b"ABCD", b"")), "holds a chunk b'ABCD' that PNG readers do not know"),
        (png(header(0), (b"IDAT", STREAM), IEND), "is damaged: its PNG header is none (00000000"),
        (png(header(bits=3), (b"IDAT", STREAM), IEND), "is damaged: its PNG header is none ("),
        (png(header(1 << 31, 1 << 31), (b"IDAT", STREAM), IEND), "refused as a decompression bomb (2147483648 x"),
        (png(header(20_000, 20_000), (b"IDAT", STREAM), IEND), "refused as a decompression bomb (20000 x 20000 px"),
        (png(header(), IEND), "is damaged: its image data or its palette are not where they"),
        (png(header(colour=3), (b"IDAT", STREAM), IEND), "is damaged: its image data or its palette are not"),
        (
            png(header(colour=3), (b"IDAT", STREAM), (b"PLTE", bytes(21)), IEND),
            "is damaged: its image data or its palette are not where they",
        ),
        (grey_png()[:-1], "is damaged: the file ends within a chunk, at byte"),
        (grey_png()[:33] + b"\xff\xff\xff\xff" + grey_png()[37:], "is damaged: the file ends within a chunk"),
    ],
)
def test_a_png_that_is_none_is_named(tmp_path: Path, read, content: bytes, message: str):
    path = tmp_path / "m.png"
    path.write_bytes(content)
    assert refused(read, path).startswith(f"{path}: {message}")


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    "stream",
    [
        STREAM[:-4],  # without its checksum
        STREAM[:-4] + b"abcd",  # with another one
        zlib.compress(ROWS[: 49 * 20]),  # of 20 rows
        STREAM[: len(STREAM) // 2],
        b"",
    ],
)
def test_a_mask_whose_data_end_early_is_named(tmp_path: Path, stream: bytes):
    """Pillow alone makes the rows that are not there 0, and looks for no checksum at the end."""
    path = tmp_path / "m.png"
    path.write_bytes(grey_png(stream))
    for read in (read_mask, read_8bit_mask, read_colour_mask):
        assert refused(read, path).startswith(f"{path}: is damaged and cannot be decoded (")


@pytest.mark.usefixtures("decoder")
def test_64_zeroed_bytes_inside_a_mask_are_noticed_wherever_they_are(tmp_path: Path):
    path, noise = tmp_path / "m.png", np.random.default_rng(0).integers(0, 150, (24, 24), dtype=np.uint8)
    for picture in (Image.fromarray(noise), Image.fromarray(noise).convert("P"), Image.fromarray(noise * np.uint16(9))):
        picture.save(path)
        content = path.read_bytes()
        for start in range(33, len(content) - 64, 16):
            path.write_bytes(content[:start] + bytes(64) + content[start + 64 :])
            for read in (read_mask, read_8bit_mask, read_colour_mask, read_image):
                assert ": is damaged" in refused(read, path)


PASS_OF_PIXEL = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
"""Of an interlaced picture, repeated every 8 x 8 pixels; the standard's own table."""


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("bits", "colour", "pixel_bits"), [(1, 0, 1), (16, 0, 16), (2, 3, 2), (8, 2, 24), (16, 6, 64)])
@pytest.mark.parametrize("size_px", [(1, 1), (3, 5), (9, 16)])
def test_the_length_of_a_pngs_data_follows_from_its_header(
    size_px: tuple[int, int], bits: int, colour: int, pixel_bits: int, interlaced: int
):
    height, width = size_px
    expected = 0
    for number in "1234567" if interlaced else "1":
        for y in range(height):
            columns = [x for x in range(width) if not interlaced or PASS_OF_PIXEL[y % 8][x % 8] == number]
            expected += 1 + -(-len(columns) * pixel_bits // 8) if columns else 0
    content = png(header(width, height, bits, colour, interlaced), (b"PLTE", b""), (b"IDAT", b""), IEND)
    assert checked_png(content, "here", 10**6).stream_bytes == expected


def test_a_32_bit_mask_is_not_wrapped(tmp_path: Path):
    path = tmp_path / "m.tif"
    Image.fromarray(GREY.astype(np.int32)).save(path)
    assert (read_mask(path) == GREY).all()
    Image.fromarray(GREY.astype(np.int32) + 65536).save(path)
    assert refused(read_mask, path) == f"{path}: holds values from 65536 to 65542, expected 0 to 65535."


@pytest.mark.parametrize("read", [read_mask, read_8bit_mask, read_colour_mask])
@pytest.mark.parametrize(("suffix", "options"), [(".jpg", {}), (".tif", {"compression": "jpeg"})])
def test_jpeg_under_another_name_is_no_mask(tmp_path: Path, read, suffix: str, options: dict):
    Image.fromarray(GREY).save(tmp_path / f"m{suffix}", **options)
    path = (tmp_path / f"m{suffix}").rename(tmp_path / "m.png")
    assert refused(read, path) == f"{path}: is stored as JPEG, which changes label values; make it again as PNG."


@pytest.mark.parametrize("read", [read_image, read_mask, read_8bit_mask])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, read):
    os.mkfifo(tmp_path / "pipe.png")
    assert refused(read, tmp_path / "pipe.png").startswith(f"{tmp_path / 'pipe.png'}: is a pipe, expected a regular")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert refused(read, tmp_path / "zero.png").startswith(f"{tmp_path / 'zero.png'}: is a device, expected a regular")


def test_programs_are_not_run_to_read_a_picture(tmp_path: Path):
    """Pillow would call ghostscript for this one."""
    path = tmp_path / "m.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert refused(read_image, path) == f"{path}: is not an image that can be read; is the file damaged?"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("number", "bBhHiIlLfd?")
@pytest.mark.parametrize("name", ["S", "labels", "a_name_of_more_than_four_letters"])
def test_matlab_files_are_read_whatever_their_numbers(tmp_path: Path, name: str, number: str, compressed: bool):
    labels = (RAW % 2 if number == "?" else RAW).astype(number)
    content = {"captions": "a road", "names": np.array(["a", "b"], dtype=object), name: labels, "box": {"x": 1.5}}
    scipy.io.savemat(tmp_path / "m.mat", content, do_compression=compressed)
    read = read_mask(tmp_path / "m.mat")
    assert (read == labels).all()
    assert (read.dtype, read.flags.c_contiguous) == (np.uint16, True)


def test_a_matlab_file_of_the_other_byte_order_is_read(tmp_path: Path):
    def element(kind: int, content: bytes) -> bytes:
        return pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    flags, dimensions = element(6, pack(">II", 11, 0)), element(5, pack(">ii", *RAW.shape))
    small_name = pack(">HH", 1, 1) + b"S\0\0\0"  # an element within its own tag: length, type, content
    numbers = element(4, RAW.T.astype(">u2").tobytes())
    matrix = flags + dimensions + small_name + numbers
    path = tmp_path / "m.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + element(14, matrix))
    assert (read_mask(path) == RAW).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds nothing, expected one matrix of labels called S or groundtruth."),
        ({"captions": "text"}, "holds captions (char), expected one matrix"),
        ({"S": np.array([["a", 1]], dtype=object)}, "holds S (cell), expected one matrix"),
        ({"S": {"a": RAW}}, "holds S (struct), expected one matrix"),
        ({"S": RAW, "groundtruth": RAW}, "holds S (uint8), groundtruth (uint8), expected one matrix"),
        ({"S": np.zeros((0, 3))}, "holds 0 x 3 labels, expected 1 to "),
        ({"S": RAW + 1j}, "holds S (complex double), expected one matrix"),
        ({"S": RAW * np.nan}, "holds values that are no labels"),
    ],
)
def test_a_matlab_file_without_its_matrix_is_named(tmp_path: Path, content: dict, message: str):
    path = tmp_path / "m.mat"
    scipy.io.savemat(path, content)
    assert refused(read_mask, path).startswith(f"{path}: {message}")


def test_labels_of_400_megapixels_are_refused_before_they_are_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, saved = tmp_path / "m.mat", BytesIO()
    scipy.io.savemat(saved, {"S": np.zeros((2, 2))})
    start, matrix = saved.getvalue()[:128], saved.getvalue()[128:]
    path.write_bytes(start + matrix.replace(pack("<II", 2, 2), pack("<II", 20_000, 20_000)))
    assert refused(read_mask, path) == f"{path}: holds 20000 x 20000 labels, expected 1 to 89,478,485 of them."
    packed = zlib.compress(matrix + bytes(9_000_000))
    path.write_bytes(start + pack("<II", 15, len(packed)) + packed)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1_000_000)
    assert refused(read_mask, path).startswith(f"{path}: refused as a decompression bomb (more than 8,000,000 bytes")


def test_a_matlab_file_that_is_damaged_is_named(tmp_path: Path):
    path = tmp_path / "m.mat"
    scipy.io.savemat(path, {"S": GREY}, do_compression=True)
    content = path.read_bytes()
    for start in range(128, len(content) - 16, 16):
        path.write_bytes(content[:start] + bytes(16) + content[start + 16 :])
        refused(read_mask, path)
        path.write_bytes(content[:start])
        refused(read_mask, path)


def test_an_interlaced_mask_is_read(tmp_path: Path):
    passes = []
    for number in "1234567":
        for y in range(SHAPE[0]):
            row = bytes(GREY[y, x] for x in range(SHAPE[1]) if PASS_OF_PIXEL[y % 8][x % 8] == number)
            passes.append(b"\0" + row if row else b"")
    path, stream = tmp_path / "m.png", b"".join(passes)
    path.write_bytes(png(header(interlaced=1), (b"IDAT", zlib.compress(stream)), IEND))
    assert (read_mask(path) == GREY).all()
    assert (np.asarray(read_8bit_mask(path)) == GREY).all()
    path.write_bytes(png(header(interlaced=1), (b"IDAT", zlib.compress(stream[:-1])), IEND))
    for read in (read_mask, read_8bit_mask):
        assert refused(read, path).startswith(f"{path}: is damaged and cannot be decoded (its data end after 1,")
