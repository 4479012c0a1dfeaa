"""Reading of single files: every number format, and a sentence for every kind of bad file."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.image_files import png_bytes, read_8bit_mask, read_image, read_mask

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
    assert refused(read_mask, path).endswith("a, b, expected one matrix of labels called S or groundtruth.")
    scipy.io.savemat(path, {"S": RAW - 0.5})
    assert (
        refused(read_mask, path) == f"{path}: holds values that are no labels, expected whole numbers from 0 to 65535."
    )
    path.write_bytes(b"no matlab" * 40)
    assert refused(read_mask, path).startswith(f"{path}: is not a MATLAB file that can be read (")
    assert refused(read_mask, tmp_path / "none.mat") == f"{tmp_path / 'none.mat'}: there is no such file."


@pytest.mark.parametrize("read", [read_image, read_mask, read_8bit_mask])
def test_missing_foreign_and_truncated_files_are_named(tmp_path: Path, read):
    path = tmp_path / "m.png"
    assert refused(read, path) == f"{path}: there is no such file."
    path.write_text("no picture")
    assert refused(read, path) == f"{path}: is not an image that can be read; is the file damaged?"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path.write_bytes(png_bytes(noise)[:-900])
    assert refused(read, path).startswith(f"{path}: is damaged and cannot be decoded (")


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_give_a_sentence_or_a_picture(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    content = bytearray(png_bytes(rng.integers(0, 256, (32, 32), dtype=np.uint8)))
    for position in rng.integers(0, len(content), 5):
        content[position] ^= int(rng.integers(1, 256))
    path = tmp_path / "m.png"
    path.write_bytes(content)
    for read in (read_image, read_mask, read_8bit_mask):
        with suppress(DataError):
            read(path)


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
