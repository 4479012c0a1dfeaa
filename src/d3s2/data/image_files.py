"""Reading and writing of single image and mask files, with errors that name the file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from d3s2.base.errors import DataError

INDEX_MODES = ("L", "P", "I;16", "I", "1")


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB image; raises DataError naming the file."""
    with _opened(path) as picture:
        return _loaded(path, picture.convert("RGB") if picture.mode != "RGB" else picture)


def read_mask(path: Path) -> NDArray[np.uint16]:
    """The raw values (0..65535) of an index mask; raises DataError for a colour image."""
    with _opened(path) as picture:
        if picture.mode not in INDEX_MODES:
            raise DataError(
                f"{path}: is a {picture.mode} image, expected an index mask with one value a pixel; "
                "for colour-coded masks give a palette and masks.encoding: colour."
            )
        return _loaded(path, picture).astype(np.uint16)


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


def _loaded(path: Path, picture: Image.Image) -> NDArray[np.uint8]:
    try:
        return np.array(picture)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is damaged and cannot be decoded ({error}).") from None
