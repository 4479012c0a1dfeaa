"""Every known data set from a miniature of its folders, and its facts against the real files where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from d3s2.base.errors import ConfigError, DataError, UsageError
from d3s2.data.catalogue import DATASETS, open_dataset, splits_of
from d3s2.data.dataset import FileDataset, read_pair
from d3s2.data.folder_plan import FolderPlan
from d3s2.data.known import ade20k, camvid, ccp, cityscapes, cocostuff, voc2012

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real samples are not at hand")


def draw(path: Path, *values: int, palette: bool = False) -> None:
    """A row of values (a mask), or a grey picture where no value is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat":
        scipy.io.savemat(path, {"S" if "COCO" in path.name else "groundtruth": np.array([values, values])})
    elif values:
        picture = Image.fromarray(np.array([values], dtype=np.uint8))
        if palette:
            picture.putpalette(list(range(256)) * 3)
        picture.save(path)
    else:
        Image.new("RGB", (3, 1)).save(path)


def masks_of(name: str, split: str, root: Path, **options: str) -> list[int]:
    dataset = open_dataset(name, split, root, options)
    assert isinstance(dataset, FileDataset)
    return dataset.mask(dataset.ids[0])[0].tolist()


def test_ade20k_takes_one_off_and_ignores_zero(tmp_path: Path):
    base = tmp_path / "ADEChallengeData2016"
    draw(base / "images" / "training" / "ADE_train_00000001.jpg")
    draw(base / "annotations" / "training" / "ADE_train_00000001.png", 0, 1, 150)
    for root in (tmp_path, base):
        assert masks_of("ade20k", "train", root) == [255, 0, 149]


def test_a_value_past_ade20ks_last_is_named(tmp_path: Path):
    draw(tmp_path / "images" / "training" / "a.jpg")
    draw(tmp_path / "annotations" / "training" / "a.png", 0, 1, 151)
    dataset = open_dataset("ade20k", "train", tmp_path)
    with pytest.raises(
        DataError, match=r"a\.png: label 151 is outside ADE20K's 1\.\.150; is this mask already shifted\?"
    ):
        dataset.mask("a")


def test_cocostuff164k_reads_raw_masks_and_train_ids(tmp_path: Path):
    draw(tmp_path / "images" / "train2017" / "000000000009.jpg")
    draw(tmp_path / "stuffthingmaps" / "train2017" / "000000000009.png", 0, 12, 181, 255)
    assert masks_of("cocostuff164k", "train", tmp_path) == [0, 11, 170, 255]
    draw(tmp_path / "annotations" / "train2017" / "000000000009.png", 0, 12, 181, 255)
    draw(tmp_path / "annotations" / "train2017" / "000000000009_labelTrainIds.png", 1, 2, 170, 255)
    assert masks_of("cocostuff164k", "train", tmp_path) == [1, 2, 170, 255]
    assert masks_of("cocostuff164k", "train", tmp_path, masks="raw") == [0, 11, 170, 255]
    assert open_dataset("cocostuff164k", "train", tmp_path).space.names[11] == "stop sign"


def test_cocostuff10k_reads_matlab_masks_and_train_ids(tmp_path: Path):
    name = "COCO_train2014_000000000077"
    draw(tmp_path / "images" / f"{name}.jpg")
    draw(tmp_path / "annotations" / f"{name}.mat", 0, 1, 13, 182)
    (tmp_path / "imageLists").mkdir()
    (tmp_path / "imageLists" / "train.txt").write_text(f"{name}\n")
    assert masks_of("cocostuff10k", "train", tmp_path) == [255, 0, 11, 170]
    converted = tmp_path / "converted"
    draw(converted / "images" / "train2014" / f"{name}.jpg")
    draw(converted / "annotations" / "train2014" / f"{name}_labelTrainIds.png", 0, 1, 171)
    (converted / "imagesLists").mkdir()
    (converted / "imagesLists" / "train.txt").write_text(f"{name}\n")
    assert masks_of("cocostuff10k", "train", converted) == [255, 0, 170]


def test_cityscapes_reads_label_ids_and_train_ids(tmp_path: Path):
    draw(tmp_path / "leftImg8bit" / "val" / "lindau" / "lindau_000000_000019_leftImg8bit.png")
    stem = tmp_path / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine"
    draw(Path(f"{stem}_labelIds.png"), 0, 7, 33, 29)
    draw(Path(f"{stem}_instanceIds.png"), 0, 7, 33, 29)
    assert masks_of("cityscapes", "val", tmp_path) == [255, 0, 18, 255]
    draw(Path(f"{stem}_labelTrainIds.png"), 255, 0, 18)
    assert masks_of("cityscapes", "val", tmp_path) == [255, 0, 18]
    assert masks_of("cityscapes", "val", tmp_path, masks="labelIds") == [255, 0, 18, 255]
    assert open_dataset("cityscapes", "val", tmp_path).ids == ("lindau__lindau_000000_000019",)


def test_voc2012_reads_its_lists_and_the_augmented_one(tmp_path: Path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("2007_000032", "2007_000033"):
        draw(base / "JPEGImages" / f"{name}.jpg")
        draw(base / "SegmentationClass" / f"{name}.png", 0, 20, 255, palette=True)
        draw(base / "SegmentationClassAug" / f"{name}.png", 1, 2, 255)
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000033\n")
    assert open_dataset("voc2012", "train", tmp_path).ids == ("2007_000033",)
    assert masks_of("voc2012", "train", tmp_path) == [0, 20, 255]
    for content in ("2007_000032\n", "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n"):
        (lists / "trainaug.txt").write_text(content)
        assert masks_of("voc2012", "trainaug", tmp_path) == [1, 2, 255]


def test_camvid_ignores_void(tmp_path: Path):
    draw(tmp_path / "test" / "0001TP_008550.png")
    draw(tmp_path / "testannot" / "0001TP_008550.png", 0, 10, 11)
    assert masks_of("camvid", "test", tmp_path) == [0, 10, 255]


def test_ccp_reads_the_archive_and_splits_it_by_position(tmp_path: Path):
    for number in range(1, 12):
        draw(tmp_path / "photos" / f"{number:04d}.jpg")
        draw(tmp_path / "annotations" / "pixel-level" / f"{number:04d}.mat", 0, 58)
    assert open_dataset("ccp", "test", tmp_path).ids == ("0001", "0004", "0008", "0011")
    assert open_dataset("ccp", "trainval", tmp_path).ids[:3] == ("0002", "0003", "0005")
    assert masks_of("ccp", "train", tmp_path) == [0, 58]
    assert open_dataset("ccp", "val", tmp_path).ids == ("0009",)
    assert open_dataset("ccp", "train", tmp_path).ids == ("0002", "0003", "0005", "0006", "0007", "0010")


def test_ccp_holds_every_sixth_of_a_list_out_of_training(tmp_path: Path):
    names = [f"{number:04d}" for number in range(1, 15)]
    for name in names:
        draw(tmp_path / "photos" / f"{name}.jpg")
        draw(tmp_path / "annotations" / "pixel-level" / f"{name}.mat", 0, 58)
    (tmp_path / "train.txt").write_text("\n".join(names[:13]))
    held, rest = (open_dataset("ccp", split, tmp_path).ids for split in ("val", "train"))
    assert held == ("0006", "0012")
    assert sorted((*held, *rest)) == names[:13]


def test_scenes_are_drawn_as_many_and_as_large_as_asked():
    options = {"count": {"train": 3, "val": 2}, "size_px": [40, 56], "seed": 5}
    train = open_dataset("scenes", "train", options=options)
    assert (len(train.ids), train.mask("000000").shape) == (3, (40, 56))
    assert len(open_dataset("scenes", "val", options=options).ids) == 2
    assert len(open_dataset("scenes", "test", options=options).ids) == 400
    assert len(open_dataset("scenes", "train").ids) == 2000


def test_wrong_calls_are_named(tmp_path: Path):
    with pytest.raises(
        UsageError, match=r"^Unknown data set 'ade': known are ade20k, camvid, ccp, cityscapes, coco-panoptic, "
    ):
        open_dataset("ade", "train", tmp_path)
    with pytest.raises(
        UsageError, match=r"^Data set 'ade20k' needs the folder that it lies in; give the folder of .*data\.root=FOLDER"
    ):
        open_dataset("ade20k", "train")
    with pytest.raises(UsageError, match=r"^Data set 'scenes' is drawn and lies in no folder, got the root "):
        open_dataset("scenes", "train", tmp_path)
    with pytest.raises(ConfigError, match=r"^options of scenes: Unknown key 'counts', did you mean 'count'\?$"):
        open_dataset("scenes", "train", options={"counts": 3})


def test_every_file_data_set_says_where_it_comes_from_and_how_many_there_are():
    for name, known in DATASETS.items():
        assert known.address, name
        if isinstance(known.source, FolderPlan):
            assert known.source.name == name
            assert known.commands, name
            assert all(splits_of(name).values()), name


def test_official_colours_name_one_class_each():
    for space in (ade20k.SPACE, cityscapes.SPACE, voc2012.SPACE, camvid.SPACE, cocostuff.SPACE, ccp.SPACE):
        space.require_distinct_colours("read masks")


@needs_shared
def test_ade20ks_names_are_those_of_the_challenge():
    rows = (SHARED / "ade20k-sample" / "objectInfo150.csv").read_text().splitlines()[1:]
    for row, name in zip(rows, ade20k.NAMES, strict=True):
        assert f" {name} " in f" {row.split(',')[5].replace(';', ' ')} "


@needs_shared
def test_cocostuffs_names_are_those_of_its_list():
    lines = (SHARED / "cocostuff" / "labels.txt").read_text().splitlines()
    by_number = {int(number): name for number, _, name in (line.partition(": ") for line in lines)}
    assert tuple(by_number[number] for number in cocostuff.NUMBERS) == cocostuff.NAMES
    # What the 164k version's documentation calls 'png value minus the number of dropped values below it'.
    dropped = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
    for value, train in (cocostuff.SPACE_OF_RAW_PNG.raw_ids or {}).items():
        assert train == value - sum(below < value for below in dropped)


@needs_shared
def test_ccps_names_are_those_of_its_list():
    assert tuple((SHARED / "ccp" / "classes.txt").read_text().split()) == ccp.SPACE.names


@needs_shared
@pytest.mark.parametrize(("name", "counts"), [("camvid", (367, 101, 233)), ("ccp", (585, 117, 702, 302))])
def test_real_folders_hold_the_official_counts_and_whole_pairs(name: str, counts: tuple[int, ...]):
    for split, count in zip(splits_of(name), counts, strict=True):
        dataset = open_dataset(name, split, SHARED / name)
        assert len(dataset.ids) == count == splits_of(name)[split]
        read_pair(dataset, dataset.ids[count // 2])


@needs_shared
def test_ccps_list_files_are_its_split_by_position():
    for split, takes in (("train", ccp.in_trainval), ("test", ccp.in_test)):
        listed = (SHARED / "ccp" / f"{split}.txt").read_text().split()
        names = sorted(path.stem for path in (SHARED / "ccp" / "masks").iterdir())
        assert listed == [name for position, name in enumerate(names) if takes(position)]


def scores(prediction: np.ndarray, truth: np.ndarray, scored: np.ndarray, classes: range) -> tuple[float, list[float]]:
    """Pixel accuracy, and IoU of each class that the truth or the prediction holds among scored pixels."""
    accuracy = float((prediction == truth)[scored].mean())
    ious = []
    for c in classes:
        hit, either = (prediction == c) & (truth == c) & scored, ((prediction == c) | (truth == c)) & scored
        if either.any():
            ious.append(float(hit.sum() / either.sum()))
    return accuracy, ious


@needs_shared
def test_decoded_ade20k_scores_like_the_benchmarks_definition():
    root = SHARED / "ade20k-sample"
    dataset = open_dataset("ade20k", "val", root)
    assert len(dataset.ids) == 3
    for item_id in dataset.ids:
        read_pair(dataset, item_id)
        truth = np.array(Image.open(root / "annotations" / "validation" / f"{item_id}.png"))
        prediction = np.array(Image.open(root / "predictions" / f"{item_id}.png"))
        by_definition = scores(prediction, truth, truth > 0, range(1, 151))
        train_ids = dataset.space.decode_index(prediction, "prediction")
        decoded = dataset.mask(item_id)
        assert scores(train_ids, decoded, decoded != 255, range(150)) == by_definition


DOCS = Path(__file__).resolve().parents[3] / "docs" / "datasets.md"


def test_the_documentation_names_every_data_set_with_its_address_and_commands():
    text = DOCS.read_text()
    for name, known in DATASETS.items():
        assert f"### {name}\n" in text
        assert known.address in text, name
        for command in known.commands:
            assert command.partition("  #")[0] in text, name


def test_the_documentations_data_set_file_is_one(tmp_path: Path):
    example = DOCS.read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "streets.yaml").write_text(example)
    assert list(splits_of(str(tmp_path / "streets.yaml"))) == ["train", "val", "few"]
    draw(tmp_path / "data" / "leftImg8bit" / "train" / "ulm" / "ulm_1_leftImg8bit.png")
    draw(tmp_path / "data" / "gtFine" / "train" / "ulm" / "ulm_1_gtFine_labelIds.png", 7, 26, 27, 23, 2)
    dataset = open_dataset(str(tmp_path / "streets.yaml"), "train")
    assert dataset.ids == ("ulm__ulm_1",)
    assert dataset.mask("ulm__ulm_1")[0].tolist() == [0, 1, 1, 2, 255]
