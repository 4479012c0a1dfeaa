"""The recipes of the paper's table: on miniatures of their data, through their own config, and as a plan."""

import re
from pathlib import Path

import pytest
import torch
from tiny_layouts import write_ade20k, write_cityscapes, write_cocostuff164k, write_voc2012
from tiny_networks import save_tiny
from tiny_run import call
from tiny_stable_diffusion import write_pipeline

from d3s2.data.files.image_files import read_mask
from d3s2.data.known import ade20k, cityscapes, cocostuff
from d3s2.model_cards import MODEL_CARDS
from d3s2.planning.plan import make_plan
from d3s2.recipes import FOLDER, load_run
from d3s2.results.records import read_results
from d3s2.store.reader import DistilledSet
from d3s2.store.verification import verify

SMALLER = (
    "data.size=[64, 64]",
    "select.ratio=0.25",
    "synthesize.steps=2",
    "synthesize.batch=2",
    "evaluate.seeds=1",
    "evaluate.workers=1",
    "evaluate.sets=[distilled]",
    "evaluate.train.iterations=2",
    "evaluate.train.batch=1",
    "evaluate.train.augmentation.crop_px=[64, 64]",
)


def local_models(folder: Path, teacher: str, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """What replaces the ids of published models: folders of the same classes with few random weights."""
    write_pipeline(folder / "sd")
    save_tiny(teacher, folder / "teacher", class_names)
    return (
        f"generator.model={folder / 'sd'}",
        f"generator.controlnet={folder / 'sd' / 'controlnet'}",
        "generator.controlnet_subfolder=null",
        f"generator.tiny_decoder={folder / 'sd' / 'tiny_decoder'}",
        f"teacher.source={folder / 'teacher'}",
    )


def test_ade20k_from_its_folders_to_its_table(tmp_path: Path) -> None:
    data, out = write_ade20k(tmp_path / "data"), tmp_path / "run"
    unnamed = tuple(f"LABEL_{label}" for label in range(150))  # as a judge whose config names no classes
    models = local_models(tmp_path, "eomt", unnamed)
    student = "evaluate.architectures=[mask2former-swin-s]"  # the recipe's own, without the backbone's weights
    words = (f"data.root={data}", *models, *SMALLER, student)
    assert call("evaluate", "ade20k", *words, "--out", str(out), "--device", "cpu") == 0
    assert verify(out).sound
    found = DistilledSet(out)
    assert (len(found.ids), found.space.names) == (1, ade20k.NAMES)
    assert found.image(found.ids[0]).shape == (64, 64, 3)
    (row,) = read_results(out / "results.json").sets
    assert (row.name, row.student, row.items) == ("distilled", "mask2former-swin-s", 1)
    assert (out / "report.html").is_file()


def test_cocostuff164k_from_its_folders_to_its_table(tmp_path: Path) -> None:
    data, out = write_cocostuff164k(tmp_path / "data"), tmp_path / "run"
    models = local_models(tmp_path, "maskformer", cocostuff.NAMES)
    words = (f"data.root={data}", *models, *SMALLER, "evaluate.architectures=[segformer-b0]")
    assert call("evaluate", "cocostuff164k", *words, "--out", str(out), "--device", "cpu") == 0
    assert verify(out).sound
    found = DistilledSet(out)
    assert found.space.names == cocostuff.NAMES
    values = {value for item_id in found.ids for value in read_mask(out / found.item(item_id).label_file).flat}
    assert values <= {*range(171), 255}
    assert 170 in values  # raw value 181: eleven numbers have no pixel
    assert [row.items for row in read_results(out / "results.json").sets] == [1]


@pytest.mark.parametrize("recipe", ["cityscapes", "voc2012"])
def test_recipes_that_fit_their_own_parts_from_their_folders_to_their_table(recipe: str, tmp_path: Path) -> None:
    write = {"cityscapes": write_cityscapes, "voc2012": write_voc2012}[recipe]
    data, out = write(tmp_path / "data"), tmp_path / "run"
    models = local_models(tmp_path, "mask2former", cityscapes.NAMES)
    if recipe == "voc2012":  # as the recipe has it: a judge is fitted, here a small one
        fitted = {"architecture": "segformer-b0", "train.iterations": 2, "train.batch": 2}
        models = (*models[:-1], *(f"teacher.{key}={value}" for key, value in fitted.items()))
        models = (*models, "teacher.train.augmentation.crop_px=[64, 64]")
    fit = ("generator.fit.steps=2", "generator.fit.batch=1")
    words = (f"data.root={data}", *models, *fit, *SMALLER, "evaluate.architectures=[segformer-b0]")
    assert call("evaluate", recipe, *words, "--out", str(out), "--device", "cpu") == 0
    assert verify(out).sound
    assert (out / "models" / "generator" / "config.json").is_file()
    assert (out / "models" / "teacher" / "config.json").is_file() == (recipe == "voc2012")
    assert [row.items for row in read_results(out / "results.json").sets] == [1]


PAPERS = "15 students, mask2former-swin-s, 160,000 iterations of 16"


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (
            "ade20k",
            (
                "20,210 masks",
                "202 masks by class-balanced",
                "202 images x 2",
                "(20,210 and 2,000 pairs)",
                PAPERS,
                "model tue-mps/ade20k_semantic_eomt_large_512: licence MIT; 1.18 GiB",
            ),
        ),
        ("ade20k-quick", ("202 images x 2", "4 students, mask2former-swin-t, 16,000 iterations of 8")),
        ("cocostuff164k", ("118,287 masks", "1,183 images x 2", "(118,287 and 5,000", PAPERS)),
        ("cityscapes", ("149 images x 2", "15 students, mask2former-swin-s, 90,000 iterations", "10000 steps of 8")),
        ("voc2012", ("106 images x 2", "fit teacher            mask2former-swin-s, 40,000 iterations of 16")),
    ],
)
def test_the_plan_of_a_full_run_needs_no_data_no_models_and_no_network(
    recipe: str, expected: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = f"data.root={tmp_path / 'nowhere'}"
    assert call("evaluate", recipe, root, "--dry-run", "--out", str(tmp_path / "run"), "--device", "cpu") == 0
    shown = capsys.readouterr().out
    for text in (*expected, "there is no folder", "licence CreativeML OpenRAIL-M; 4 GiB"):
        assert text in shown
    assert re.search(r"feature bank +one pass over [\d,]+ pairs +\d+ min GPU", shown)
    assert re.search(r"synthesize .* \d+ min GPU, [\d.]+ GiB", shown)
    assert re.search(r"evaluate .* [\d.]+ h GPU, \d+ GiB", shown)
    assert re.search(r"in all, on one GPU +[\d,.]+ h GPU", shown)
    assert re.search(r"disk: about [\d.]+ GiB, of that \d\.\d\d GiB models from the hub", shown)
    assert "GPU times are not measured: operations counted" in shown
    assert re.search(r"memory: at most \d+ GiB\n", shown)
    assert re.search(r"Largest synthesize\.batch by memory: .*\d+ into 80 GiB", shown)
    assert "an A100, 312 TFLOP/s (dense, 16 bit, by its data sheet), gets through 15 % of that in diffusion" in shown
    assert not (tmp_path / "run").exists()


TRIED_SMALL = (
    "data.size=[32, 48]", "teacher.train.width=8", "generator.fit.channels=[32, 32]", "evaluate.train.width=8",
)  # fmt: skip


@pytest.mark.parametrize("recipe", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_the_plan_of_every_recipe_names_licences_sizes_hours_and_memory(recipe: str) -> None:
    tried = load_run(recipe).generator.kind == "compact"
    config = load_run(recipe, TRIED_SMALL if tried else ())
    plan = make_plan(config, torch.device("cpu"), ("fit", "distill", "evaluate"))
    for step in plan.steps:
        if step.what in ("fit teacher", "fit generator", "synthesize", "evaluate"):
            assert step.estimated_s, step
            assert step.memory_gib, step
    text = plan.as_text()
    assert "memory: at most" in text
    named = {config.teacher.source, *config.generator.named_sources} - {None}
    for source in named:
        assert re.search(rf"model {re.escape(str(source))}: licence (?!not known).*; ([\d.]+ GiB|comes with it)", text)


def test_a_night_is_enough_for_the_quick_recipe() -> None:
    plan = make_plan(load_run("ade20k-quick"), torch.device("cpu"), ("fit", "distill", "evaluate"))
    assert 0 < plan.gpu_h < 10


def test_the_students_that_recipes_offer_beside_the_papers_are_there() -> None:
    text = (FOLDER / "ade20k.yaml").read_text(encoding="utf-8")
    (offered,) = re.findall(r"^    # - (\{.*\})$", text, flags=re.MULTILINE)
    config = load_run("ade20k", [f"evaluate.architectures=[mask2former-swin-s, {offered}]"])
    assert config.evaluate.architectures[1].backbone in MODEL_CARDS
    assert load_run("ade20k").teacher.source in MODEL_CARDS
