"""What a wrong call or wrong data gets: one sentence, an exit status, no stack trace. By their text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_run import TINY, call, distil

from d3s2.base.formats.locks import locked


def said(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def folder_data(tmp_path: Path) -> Path:
    """A data set of four pairs and the YAML file that describes it."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for index in range(4):
        Image.fromarray(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)).save(tmp_path / f"data/images/{index}.png")
        Image.fromarray(rng.integers(0, 3, (32, 48), dtype=np.uint8)).save(tmp_path / f"data/masks/{index}.png")
    plan = {
        "name": "mine",
        "classes": ["a", "b", "c"],
        "images": {"folder": "images"},
        "masks": {"folder": "masks"},
        "splits": {"train": {}, "test": {}},
    }
    path = tmp_path / "data" / "mine.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def distil_mine(tmp_path: Path, plan: Path, *words: str) -> int:
    words = (f"data.dataset={plan}", "data.options={}", "select.ratio=0.5", *words)
    return distil(tmp_path / "run", *words)


def test_an_unknown_recipe_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("distill", "scense", "--out", str(tmp_path / "run")) == 2
    assert "'scense' is neither a recipe (" in (text := said(capsys))
    assert "Did you mean 'scenes'?" in text
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "synthesize.stepz=3") == 2
    assert "Unknown key 'synthesize.stepz', did you mean 'steps'?" in said(capsys)


@pytest.mark.parametrize(
    ("size", "says"),
    [("[64]", "Key 'data.size': value 2 is missing."), ("[1, 2, 3]", "expected at most 2 values, got [1, 2, 3].")],
)
def test_too_few_or_too_many_values(size: str, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", f"data.size={size}") == 2
    assert says in said(capsys)


def test_what_is_wrong_with_all_splits_is_told_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("doctor", "--dataset", "camvid", "--root", str(tmp_path / "none")) == 1
    assert capsys.readouterr().out.count("there is no folder") == 1


def test_a_value_outside_its_range(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "synthesize.guidance.rule=slow") == 2
    assert "Key 'synthesize.guidance.rule': unknown guidance rule 'slow': known are both, fast, full." in said(capsys)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("teacher.train.width=9", "Key 'teacher.train.width': input should be a multiple of 8, got 9."),
        ("evaluate.train.width=3", "Key 'evaluate.train.width': input should be a multiple of 8, got 3."),
        ("generator.fit.channels=[]", "Key 'generator.fit.channels': needs at least one value, got []."),
        ("generator.fit.channels=[16, 16]", "channels.0': input should be a multiple of 32, got 16."),
        ("data.memory_gib=.inf", "Key 'data.memory_gib': input should be a finite number, got inf."),
        ("generator.fit.lr=.nan", "Key 'generator.fit.lr': input should be a finite number, got nan."),
        ("generator.fit.lr=1.0e+30", "Key 'generator.fit.lr': input should be less than or equal to 1, got 1e+30."),
        ("synthesize.guidance.strength=1.0e+30", "guidance.strength': input should be less than or equal to 100, got"),
        (
            "synthesize.guidance_scale=.inf",
            "Key 'synthesize.guidance_scale': input should be a finite number, got inf.",
        ),
        ("select.class_weights={road: .inf}", "class_weights.road': input should be a finite number, got inf."),
        (
            "teacher.train.augmentation.zoom=[0.5, .inf]",
            "Key 'teacher.train.augmentation.zoom.1': input should be a finite number, got inf.",
        ),
        ("seed=1e40", "Key 'seed': input should be"),
    ],
)
def test_a_number_that_no_network_takes(capsys: pytest.CaptureFixture[str], word: str, sentence: str) -> None:
    assert call("distill", "scenes", word, "--dry-run", "--device", "cpu") == 2
    assert sentence in said(capsys)


def test_an_override_without_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "seed") == 2
    assert "Override 'seed' is not of the form key=value" in said(capsys)


@pytest.mark.parametrize("budget", ["select.num_masks=0", "select.num_masks=25"])
def test_a_budget_of_nothing_or_of_too_much(capsys: pytest.CaptureFixture[str], tmp_path: Path, budget: str) -> None:
    assert distil(tmp_path / "run", "select.ratio=null", budget) == 2
    text = said(capsys)
    assert "num_masks is" in text
    assert "1 to 24" in text


def test_a_ratio_that_rounds_to_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "select.ratio=0.001") == 2
    assert "24" in said(capsys)


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("distill", "scenes", *TINY, "--out", str(tmp_path / "run"), "--device", "cuda:99") == 2
    assert "Device 'cuda:99' is not available on this machine" in said(capsys)


def test_a_missing_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("distill", "camvid", f"data.root={tmp_path / 'nowhere'}", "--out", str(tmp_path / "run")) == 1
    text = said(capsys)
    assert "nowhere; give the folder of the data set as its root (data.root=FOLDER" in text


def test_a_data_set_without_its_root(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("distill", "camvid", "--out", str(tmp_path / "run")) == 2
    assert "Data set 'camvid' needs the folder that it lies in" in said(capsys)


def test_an_unreadable_mask(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = folder_data(tmp_path)
    (tmp_path / "data/masks/2.png").write_bytes(b"not a picture")
    assert distil_mine(tmp_path, plan) == 1
    assert "masks/2.png" in capsys.readouterr().err


def test_a_label_outside_the_space(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = folder_data(tmp_path)
    Image.fromarray(np.full((32, 48), 3, dtype=np.uint8)).save(tmp_path / "data/masks/1.png")
    assert distil_mine(tmp_path, plan) == 1
    text = capsys.readouterr().err
    assert "masks/1.png: label 3 is outside mine's 0..2; is this mask already shifted?" in text


def test_a_pair_of_different_sizes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = folder_data(tmp_path)
    Image.fromarray(np.zeros((16, 48, 3), dtype=np.uint8)).save(tmp_path / "data/images/3.png")
    assert distil_mine(tmp_path, plan) == 1
    text = capsys.readouterr().err
    assert "'3' has an image of 16 x 48 px and a mask of 32 x 48 px (height x width)" in text


def test_another_call_in_the_same_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run") == 0
    assert distil(tmp_path / "run", "synthesize.steps=4") == 1
    assert "holds a run with another synthesize.steps (3, this call has 4); choose another --out" in said(capsys)


@pytest.mark.parametrize("mistyped", ["data.size=[33, 50]", "data.dataset=nowhere.yaml"])
def test_a_call_that_failed_before_it_made_anything_leaves_the_folder_to_a_corrected_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mistyped: str
) -> None:
    assert distil(tmp_path / "run", mistyped) != 0
    assert distil(tmp_path / "run") == 0
    assert "an existing run is resumed" not in capsys.readouterr().err
    assert distil(tmp_path / "run", mistyped) == 1
    assert "holds a run with another data." in said(capsys)


def test_a_second_process_in_the_same_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        assert distil(tmp_path / "run") == 1
    assert "another d3s2 process is at work in this folder" in said(capsys)


def test_a_size_that_the_generator_cannot_make(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "data.size=[33, 50]", "data.options={count: 24, size_px: [33, 50]}") == 1
    assert "sizes that divide by 8, got 33 x 50 px (height x width); set data.size to [32, 48]." in said(capsys)
    assert not (tmp_path / "run/models").exists()  # the teacher, which may take hours, is not fitted before


def test_a_report_of_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("report", str(tmp_path)) == 1
    assert "holds no run (run.json is missing)" in said(capsys)


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", f"generator.model={tmp_path / 'none'}") == 1
    assert "there is no compact generator here; make one with `d3s2 fit`." in said(capsys)


def test_a_rank_without_a_group_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert call("fit", "scenes", *TINY, "--out", str(tmp_path / "run"), "--device", "cpu") == 2
    assert "The environment says that this process is one of a group (RANK=1), but not of which (" in said(capsys)


def too_much_memory_on_a_cpu() -> None:
    torch.empty(1 << 50)


def too_much_memory_on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.34 GiB. GPU 0 has a total capacity of")


def too_much_memory_of_python() -> None:
    bytearray(1 << 60)


@pytest.mark.parametrize(
    ("happens", "sentence"),
    [
        (too_much_memory_on_a_cpu, "d3s2: Out of memory (4194304.00 GiB more were asked for): lower synthesize.batch,"),
        (too_much_memory_on_a_gpu, "d3s2: Out of memory on the GPU (12.34 GiB more were asked for): lower"),
        (too_much_memory_of_python, "d3s2: Out of memory: lower synthesize.batch, generator.fit.batch,"),
    ],
)
def test_too_little_memory(
    happens: Callable[[], None],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d3s2.pipeline.distill_run", lambda _: happens())
    assert distil(tmp_path / "run") == 1
    assert said(capsys).startswith(sentence)


def test_a_full_disk_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert distil(Path("/dev/full/run")) == 1
    assert "/dev/full" in said(capsys)


def test_ctrl_c_says_that_the_same_call_resumes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt  # what Ctrl-C is to Python; a signal may be ignored where tests run in the background

    monkeypatch.setattr("d3s2.pipeline.write_report", interrupt)
    assert distil(tmp_path / "run") == 130
    assert said(capsys) == "d3s2: Stopped. The same call resumes from here."
    monkeypatch.undo()
    assert distil(tmp_path / "run") == 0


def test_a_second_budget_says_how_to_drop_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("distill", "scenes", "select.num_masks=5", "--dry-run", "--device", "cpu") == 2
    assert "Key 'select': has two budgets, ratio and num_masks: set the one that is not meant to null" in said(capsys)
    assert call("distill", "scenes", "select.ratio=null", "--dry-run", "--device", "cpu") == 2
    assert "Key 'select': needs a budget: set ratio or num_masks" in said(capsys)
