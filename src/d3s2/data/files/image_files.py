"""Reading and writing of single image and mask files, with errors that name the file.

Every file is read whole first: a regular file of bounded size. A PNG's checksums are compared before it is decoded,
since a decoder may give other pixels of damaged data without a word; pictures beyond MAX_PIXELS are not decoded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from d3s2.base.errors import DataError
from d3s2.data.files import matlab
from d3s2.data.files.places import FilePath, content_of
from d3s2.data.files.png import SIGNATURE, bomb, checked_png, require_whole_stream

png_decode: Callable[[bytes], NDArray[np.uint8]] | None = None
with suppress(ImportError):  # the extra `fast` brings it; Pillow reads the same files
    from imagecodecs import png_decode

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
"""Pillow's names of what is decoded, the usual first; its other formats run programs or belong to no data set."""
LOSSY_FORMATS = ("JPEG", "MPO")
INDEX_MODES = ("L", "P", "I;16", "I;16B", "I", "1")
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
LARGEST_VALUE = 65535
JPEG_QUALITY = 90
"""At which sizes of sets are told as JPEG."""


def read_image(path: FilePath) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image; raises DataError naming the file."""
    return decode_image(_content(path, "an image"), str(path))


def read_mask(path: FilePath) -> NDArray[np.uint16]:
    """The raw values (0..65535) of an index mask, a picture or MATLAB's; raises DataError for a colour image."""
    content = _content(path, "a mask")
    if path.suffix.lower() == ".mat":
        return matlab.read_labels(content, str(path), MAX_PIXELS)
    return decode_mask(content, str(path))


def read_colour_mask(path: FilePath) -> UInt8[np.ndarray, "h w 3"]:
    """A colour-coded mask; raises DataError naming the file."""
    where = str(path)
    with _opened(_content(path, "a mask"), where, labels=True) as picture, _decoding(where):
        return _rgb(picture)


def read_8bit_mask(path: FilePath) -> Image.Image | None:
    """An index mask as the picture that was decoded, without a copy; None where values do not have 8 bits."""
    if path.suffix.lower() == ".mat":
        return None
    content, where = _content(path, "a mask"), str(path)
    if png_decode is not None and _is_plain_grey(content, where):
        with _decoding(where):  # libpng is a third faster than Pillow, and compares the data's own checksum itself
            return Image.fromarray(png_decode(content))
    with _opened(content, where, labels=True) as picture:
        _require_index(where, picture)
        if picture.mode not in ("L", "P"):
            return None
        with _decoding(where):
            picture.load()
        return picture


def decode_image(content: bytes, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB image in the bytes of a file; raises DataError that says `where`."""
    with _opened(content, where) as picture, _decoding(where):
        return _rgb(picture)


def decode_mask(content: bytes, where: str) -> NDArray[np.uint16]:
    """The raw values (0..65535) of an index mask in the bytes of a file; raises DataError that says `where`."""
    with _opened(content, where, labels=True) as picture:
        _require_index(where, picture)
        with _decoding(where):
            values = np.array(picture)
    if values.dtype.itemsize > 2 and (values.min(initial=0) < 0 or values.max(initial=0) > LARGEST_VALUE):
        raise DataError(f"{where}: holds values from {values.min()} to {values.max()}, expected 0 to {LARGEST_VALUE}.")
    return values.astype(np.uint16)


def png_bytes(array: NDArray[np.uint8]) -> bytes:
    """An image (h w 3) or mask (h w) as PNG; the same bytes from the same pixels."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def jpeg_bytes(image: UInt8[np.ndarray, "h w 3"], quality: int = JPEG_QUALITY) -> bytes:
    """An image as JPEG of a quality, 1 to 95, colours at half the resolution (4:2:0), as most photographs are kept."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return buffer.getvalue()


def _content(path: FilePath, what: str) -> bytes:
    return content_of(path, what)


def _is_plain_grey(content: bytes, where: str) -> bool:
    return content.startswith(SIGNATURE) and checked_png(content, where, MAX_PIXELS).is_plain_grey


def _require_index(where: str, picture: Image.Image) -> None:
    if picture.mode not in INDEX_MODES:
        raise DataError(
            f"{where}: is a {picture.mode} image, expected an index mask with one value a pixel; "
            "for colour-coded masks give a palette and masks.encoding: colour."
        )


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    picture.load()
    picture.info.pop("transparency", None)  # an RGB image has none, and Pillow would put it into RGB's terms
    return np.array(picture.convert("RGB"))


@contextmanager
def _opened(content: bytes, where: str, labels: bool = False) -> Iterator[Image.Image]:
    """Opens a picture; a bomb or a damaged file becomes a DataError.

    Args:
        content: the bytes of its file.
        where: what messages call it.
        labels: pixels are labels, so that lossy compression and data that end early are refused.
    """
    if content.startswith(SIGNATURE):
        png = checked_png(content, where, MAX_PIXELS)
        if labels:
            require_whole_stream(png, where)
    try:
        picture = Image.open(BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: refused as a decompression bomb ({error}).") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: is not an image that can be read; is the file damaged?") from None
    except Exception as error:
        raise DataError(_damaged(where, error)) from None
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise DataError(bomb(where, picture.width, picture.height, MAX_PIXELS))
        if labels and (picture.format in LOSSY_FORMATS or "jpeg" in str(picture.info.get("compression"))):
            raise DataError(f"{where}: is stored as JPEG, which changes label values; make it again as PNG.")
        yield picture


@contextmanager
def _decoding(where: str) -> Iterator[None]:
    """Makes a DataError of what decoders raise on damaged bytes, which is errors of every kind."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(_damaged(where, error)) from None


def _damaged(where: str, error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    return f"{where}: is damaged and cannot be decoded ({why})."
