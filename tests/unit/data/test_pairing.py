"""Which mask belongs to which image, and the sentence for every way in which that fails."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import DataError, UsageError
from d3s2.data.folder_plan import FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import pair_files

SPACE = LabelSpace("two", ("a", "b"))


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6), value, dtype=np.uint8)).save(path)


def plan(images: Side | None = None, masks: Side | None = None, split: SplitFiles | None = None) -> FolderPlan:
    return FolderPlan(
        name="mine",
        images=images or Side(("images",)),
        masks={"index": MaskFiles(masks or Side(("masks",), suffixes=(".png",)), SPACE)},
        splits={"train": split or SplitFiles()},
    )


def refused(root: Path, some_plan: FolderPlan) -> str:
    with pytest.raises(DataError) as error:
        pair_files(some_plan, "train", root).dataset()
    return str(error.value)


def make(root: Path, *names: str) -> None:
    for name in names:
        draw(root / "images" / f"{name}.jpg")
        draw(root / "masks" / f"{name}.png")


def test_pairs_come_in_name_order_and_subfolders_join_the_id(tmp_path: Path):
    make(tmp_path, "b", "a", "town/c")
    (tmp_path / "images" / "Thumbs.db").write_text("")
    assert pair_files(plan(), "train", tmp_path).dataset().ids == ("a", "b", "town__c")


def test_a_pattern_takes_the_shared_part_of_two_names(tmp_path: Path):
    draw(tmp_path / "left" / "ulm" / "u_1_left.png")
    for suffix in ("train_ids", "colour"):
        draw(tmp_path / "gt" / "ulm" / f"u_1_{suffix}.png")
    images, masks = Side(("left",), "*_left"), Side(("gt",), "*_train_ids", (".png",))
    entry = pair_files(plan(images, masks), "train", tmp_path).entries[0]
    assert (entry.item_id, entry.mask.name) == ("ulm__u_1", "u_1_train_ids.png")


def test_images_and_masks_can_share_a_folder(tmp_path: Path):
    draw(tmp_path / "x.png")
    draw(tmp_path / "x_mask.png")
    images, masks = Side((".",), skip="*_mask"), Side((".",), "*_mask", (".png",))
    assert pair_files(plan(images, masks), "train", tmp_path).dataset().ids == ("x",)


@pytest.mark.parametrize(
    "line",
    ["b", "b.jpg", "images/b.jpg", "/data/mine/images/b.jpg", "images/b.jpg masks/b.png", "/images/b.jpg /masks/b.png"],
)
def test_a_line_of_a_list_file_may_be_a_name_a_path_or_two_paths(tmp_path: Path, line: str):
    make(tmp_path, "a", "b")
    (tmp_path / "train.txt").write_text(f"{line}\n\n")
    listed = plan(split=SplitFiles(lists=("train.txt",)))
    assert pair_files(listed, "train", tmp_path).dataset().ids == ("b",)


def test_a_list_file_keeps_its_order(tmp_path: Path):
    make(tmp_path, "a", "b", "c d")
    (tmp_path / "train.txt").write_text("c d\na\n")
    listed = plan(split=SplitFiles(lists=("train.txt",)))
    assert pair_files(listed, "train", tmp_path).dataset().ids == ("c d", "a")


def test_a_missing_root_folder_or_list_file_is_named(tmp_path: Path):
    nowhere = tmp_path / "nowhere"
    assert (
        refused(nowhere, plan())
        == f"mine: there is no folder {nowhere}; give the folder of the data set as its root (data.root=FOLDER, or "
        "--root FOLDER of `d3s2 doctor`)."
    )
    assert refused(tmp_path, plan()) == (
        f"mine/train: there is no folder of images, expected {tmp_path / 'images'}; check the root and what was "
        "unpacked."
    )
    draw(tmp_path / "images" / "a.jpg")
    assert refused(tmp_path, plan()) == (
        f"mine/train: there is no folder of masks, expected {tmp_path / 'masks'}; check the root and what was unpacked."
    )
    draw(tmp_path / "masks" / "a.png")
    listed = plan(split=SplitFiles(lists=("train.txt",)))
    assert refused(tmp_path, listed) == f"mine/train: there is no list file, expected {tmp_path / 'train.txt'}."
    (tmp_path / "train.txt").write_text("\n")
    assert refused(tmp_path, listed) == f"{tmp_path / 'train.txt'}: is empty, expected one name or path a line."


def test_folders_without_a_file_of_the_kind_are_named(tmp_path: Path):
    (tmp_path / "images").mkdir()
    assert refused(tmp_path, plan(Side(("images",), suffixes=(".jpg",)))) == (
        f"mine/train: found not a single image in {tmp_path / 'images'}, expected files like * with .jpg; check the "
        "folder, the pattern and the extensions."
    )
    draw(tmp_path / "images" / "a.jpg")
    draw(tmp_path / "masks" / "a.jpg")
    assert refused(tmp_path, plan()) == (
        f"mine/train: masks such as {tmp_path / 'masks' / 'a.jpg'} are stored as JPEG, which changes label values; "
        "expected a format without loss, make them again as PNG."
    )


def test_missing_partners_are_named_and_counted(tmp_path: Path):
    make(tmp_path, "a")
    draw(tmp_path / "images" / "b.jpg")
    draw(tmp_path / "masks" / "c.png")
    assert refused(tmp_path, plan()) == (
        f"mine/train: image {tmp_path / 'images' / 'b.jpg'} has no mask, expected {tmp_path / 'masks' / 'b.png'}. "
        "In all 2 pairs are incomplete and 1 complete; add the missing files, or name the pairs to use in a list file."
    )
    pairing = pair_files(plan(), "train", tmp_path)
    assert pairing.problems[1].startswith(f"mask {tmp_path / 'masks' / 'c.png'} has no image, expected ")
    assert pairing.whole_pairs().ids == ("a",)


def test_lines_of_a_list_file_that_name_nothing_are_named(tmp_path: Path):
    make(tmp_path, "a")
    draw(tmp_path / "images" / "b.jpg")
    listing = tmp_path / "train.txt"
    listing.write_text("a\nz\nb\nimages/b.jpg masks/b.png\n")
    image, mask = tmp_path / "images" / "b.jpg", tmp_path / "masks" / "b.png"
    problems = pair_files(plan(split=SplitFiles(lists=("train.txt",))), "train", tmp_path).problems
    assert problems == (
        f"{listing}, line 2: 'z' names no image in {tmp_path / 'images'}.",
        f"image {image} ({listing}, line 3) has no mask, expected {mask}.",
        f"{listing}, line 4: there is no file {mask}.",
    )


def test_two_files_of_one_pair_are_refused(tmp_path: Path):
    make(tmp_path, "a")
    draw(tmp_path / "images" / "a.png")
    assert refused(tmp_path, plan()) == (
        f"mine/train: {tmp_path / 'images' / 'a.jpg'} and {tmp_path / 'images' / 'a.png'} both belong to 'a'; keep "
        "one, or name extensions."
    )


def test_an_unknown_split_or_kind_of_masks_lists_the_known(tmp_path: Path):
    with pytest.raises(UsageError, match=r"Unknown split of mine 'trian': known are train\. Did you mean 'train'\?"):
        pair_files(plan(), "trian", tmp_path)
    make(tmp_path, "a")
    with pytest.raises(UsageError, match="Unknown kind of masks of mine 'raw': known are index"):
        pair_files(plan(), "train", tmp_path, masks="raw")


@pytest.mark.parametrize(
    "line", ["images/../images/a.jpg", "../mine/images/a.jpg", "images/a.jpg ../masks/a.png", "images/a.jpg\0"]
)
def test_a_line_that_leads_out_of_a_folder_is_named(tmp_path: Path, line: str):
    make(tmp_path, "a")
    draw(tmp_path.parent / "masks" / "a.png")
    (tmp_path / "train.txt").write_text(f"{line}\n")
    text = refused(tmp_path, plan(split=SplitFiles(lists=("train.txt",))))
    assert text.startswith(f"mine/train: {tmp_path / 'train.txt'}, line 1: '{line}' leads out of a folder, expected a")


def test_an_absolute_path_in_a_list_is_one_below_the_root(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    make(root, "a")
    make(outside, "a")
    listed = plan(split=SplitFiles(lists=("train.txt",)))
    (root / "train.txt").write_text(f"{outside}/images/a.jpg {outside}/masks/a.png\n")
    assert f"line 1: there is no file {root}{outside}/images/a.jpg" in refused(root, listed)
    (root / "train.txt").write_text(f"{outside}/images/a.jpg\n")
    (entry,) = pair_files(listed, "train", root).dataset().entries
    assert (entry.image, entry.mask) == (root / "images/a.jpg", root / "masks/a.png")
    (root / "train.txt").write_text("/images/a.jpg /masks/a.png\n")
    assert pair_files(listed, "train", root).dataset().entries == (entry,)


@pytest.mark.parametrize(
    "line", ["//", "/", ".", "images/", "images//", f"{5_000 * 'x'}.jpg a.png", "images/x.jpg y.png"]
)
def test_a_line_that_names_no_pair_is_named(tmp_path: Path, line: str):
    make(tmp_path, "a")
    (tmp_path / "train.txt").write_text(f"a\n{line}\n")
    text = refused(tmp_path, plan(split=SplitFiles(lists=("train.txt",))))
    assert text.startswith(f"mine/train: {tmp_path / 'train.txt'}, line 2: ")


def test_two_slashes_are_one(tmp_path: Path):
    make(tmp_path, "town/a")
    (tmp_path / "train.txt").write_text("images//town//a.jpg\n")
    listed = plan(split=SplitFiles(lists=("train.txt",)))
    assert pair_files(listed, "train", tmp_path).dataset().ids == ("town__a",)


def test_a_link_to_a_folder_above_is_not_followed_and_others_are(tmp_path: Path):
    make(tmp_path, "town/a")
    for side in ("images", "masks"):
        (tmp_path / side / "town" / "again").symlink_to(tmp_path / side)
        (tmp_path / "elsewhere" / side).mkdir(parents=True)
        (tmp_path / side / "linked").symlink_to(tmp_path / "elsewhere" / side)
    draw(tmp_path / "elsewhere" / "images" / "b.jpg")
    draw(tmp_path / "elsewhere" / "masks" / "b.png")
    assert pair_files(plan(), "train", tmp_path).dataset().ids == ("linked__b", "town__a")


@pytest.mark.parametrize("stem", [b"stra\xdfe", b"a\nb"])
def test_a_file_name_that_cannot_be_written_down_is_named(tmp_path: Path, stem: bytes):
    make(tmp_path, "a")
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / os.fsdecode(stem + b".jpg"))
    text = refused(tmp_path, plan())
    assert text.startswith("mine/train: the file name '")
    assert text.endswith("holds a control character or is not UTF-8; rename it.")
    text.encode()  # can be shown
