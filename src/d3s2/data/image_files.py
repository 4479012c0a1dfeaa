"""Reading and writing of single image and mask files, with errors that name the file."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy.io.matlab import MatReadError

from d3s2.base.errors import DataError

png_decode: Callable[[bytes], NDArray[np.uint8]] | None = None
with suppress(ImportError):  # the extra `fast` brings it; Pillow reads the same files
    from imagecodecs import png_decode

GREY_8BIT = b"\x08\x00\x00\x00\x00"
"""The end of a PNG header: 8 bits, grey, not interlaced."""
INDEX_MODES = ("L", "P", "I;16", "I", "1")

MATLAB_NAMES = ("S", "groundtruth")
"""What the label matrix is called in the files of COCO-Stuff-10k and of CCP."""


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image; raises DataError naming the file."""
    with _opened(path) as picture, _decoding(path):
        return np.array(picture.convert("RGB"))


def read_mask(path: Path) -> NDArray[np.uint16]:
    """The raw values (0..65535) of an index mask, a picture or MATLAB's; raises DataError for a colour image."""
    if path.suffix.lower() == ".mat":
        return _read_matlab(path)
    with _opened(path) as picture:
        _require_index(path, picture)
        return _loaded(path, picture).astype(np.uint16)


def read_8bit_mask(path: Path) -> Image.Image | None:
    """An index mask as the picture that Pillow decoded, without a copy; None where values do not have 8 bits."""
    if path.suffix.lower() == ".mat":
        return None
    picture = _read_grey_png(path)
    if picture is not None:
        return picture
    with _opened(path) as picture:
        _require_index(path, picture)
        if picture.mode not in ("L", "P"):
            return None
        with _decoding(path):
            picture.load()
        return picture


def _read_grey_png(path: Path) -> Image.Image | None:
    """The usual index mask through libpng, a third faster than Pillow; None where it is none, for Pillow to say why."""
    if png_decode is None:
        return None
    try:
        content = path.read_bytes()
        header = content[:29]
        pixels = int.from_bytes(header[16:20]) * int.from_bytes(header[20:24])
        if header[12:16] != b"IHDR" or header[24:] != GREY_8BIT or pixels > (Image.MAX_IMAGE_PIXELS or pixels):
            return None
        return Image.fromarray(png_decode(content))
    except (OSError, ValueError, RuntimeError):
        return None


def _require_index(path: Path, picture: Image.Image) -> None:
    if picture.mode not in INDEX_MODES:
        raise DataError(
            f"{path}: is a {picture.mode} image, expected an index mask with one value a pixel; "
            "for colour-coded masks give a palette and masks.encoding: colour."
        )


def _read_matlab(path: Path) -> NDArray[np.uint16]:
    """The label matrix of a MATLAB file."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file.")
    try:
        content = scipy.io.loadmat(path)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
        raise DataError(f"{path}: is not a MATLAB file that can be read ({error}); is it damaged?") from None
    maps = {name: array for name, array in content.items() if isinstance(array, np.ndarray) and array.ndim == 2}
    named = [maps[name] for name in MATLAB_NAMES if name in maps] or list(maps.values())
    if len(named) != 1 or named[0].dtype.kind not in "iuf":
        raise DataError(
            f"{path}: holds {', '.join(content) or 'nothing'}, expected one matrix of labels called "
            f"{' or '.join(MATLAB_NAMES)}."
        )
    with np.errstate(invalid="ignore"):
        labels = named[0].astype(np.uint16)
    if not np.array_equal(labels, named[0]):
        raise DataError(f"{path}: holds values that are no labels, expected whole numbers from 0 to 65535.")
    return labels


def png_bytes(array: NDArray[np.uint8]) -> bytes:
    """An image (h w 3) or mask (h w) as PNG; the same bytes from the same pixels."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a picture; a bomb, a missing or a broken file becomes a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: refused as a decompression bomb ({error}).") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is not an image that can be read; is the file damaged?") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
    with picture:
        yield picture


def _loaded(path: Path, picture: Image.Image) -> NDArray[Any]:
    with _decoding(path):
        return np.array(picture)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is damaged and cannot be decoded ({error}).") from None
