"""An ablation shares what variants have in common, resumes after a stop, and says what is wrong with a call."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, call, content

from d3s2.pipeline.ablate import Grid
from d3s2.pipeline.variants import AXES, folder_name, plan_variants
from d3s2.planning.ablation_plan import plan_ablation
from d3s2.recipes import load_run
from d3s2.results.ablation import read_ablation
from d3s2.store.verification import verify
from d3s2.synthesis.settings import RULES

TINIER = (*TINY, "data.options={count: {train: 24, val: 5, test: 6}, size_px: [32, 48]}", "evaluate.seeds=1")


def ablate(folder: Path, *words: str) -> int:
    return call("ablate", "scenes", *TINIER, *words, "--out", str(folder), "--device", "cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "grid"
    assert ablate(folder, "--vary", "synthesize.guidance.strength=0,0.5,2", "--vary", "synthesize.steps=3,2") == 0
    return folder


def test_every_variant_has_a_row_after_the_references(finished: Path) -> None:
    found = read_ablation(finished / "ablation-val.json")
    assert found.dataset == "scenes/val"
    assert [(row.axis, row.variant, row.result.name) for row in found.rows] == [
        ("reference", "recipe", "random"),
        ("reference", "recipe", "balanced"),
        ("reference", "recipe", "all"),
        ("strength", "0", "distilled"),
        ("strength", "0.5", "distilled"),
        ("strength", "2", "distilled"),
        ("steps", "3", "distilled"),
        ("steps", "2", "distilled"),
    ]
    assert [not row.energies for row in found.rows] == [True] * 3 + [False] * 5
    assert found.rows[3].share == pytest.approx(5 / 24)


def test_variants_that_make_the_same_set_share_it(finished: Path) -> None:
    made = sorted(path.name for path in (finished / "variants").iterdir())
    assert made == ["base", "guidance.strength=0.0", "guidance.strength=2.0", "steps=2"]
    assert all(verify(finished / "variants" / name).sound for name in made)
    found = read_ablation(finished / "ablation-val.json")
    same = [row.result for row in found.rows if row.variant in ("0.5", "3")]
    assert same[0] == same[1]


def test_models_are_fitted_once_and_real_sets_trained_once(finished: Path) -> None:
    assert len(list((finished / "shared").iterdir())) == 1
    assert len(list((finished / "shared").rglob("fitted.json"))) == 2
    assert len(list((finished / "students").glob("random-*.json"))) == 1
    assert len(list((finished / "students").glob("distilled-*.json"))) == 4


def test_the_same_call_again_trains_nothing_and_another_split_scores_anew(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "students").iterdir()}
    old = read_ablation(finished / "ablation-val.json")
    words = ("--vary", "synthesize.guidance.strength=0,0.5,2", "--vary", "synthesize.steps=3,2")
    assert ablate(finished, *words) == 0
    assert {path: path.stat().st_mtime_ns for path in (finished / "students").iterdir()} == before
    assert read_ablation(finished / "ablation-val.json").rows == old.rows
    assert ablate(finished, "--vary", "synthesize.steps=2", "--split", "test") == 0
    assert read_ablation(finished / "ablation-test.json").dataset == "scenes/test"
    assert len(list((finished / "shared").rglob("fitted.json"))) == 2


def test_shares_of_an_ablation_have_its_sets_and_its_table(finished: Path, tmp_path: Path) -> None:
    words = ("--vary", "synthesize.guidance.strength=0,0.5,2", "--vary", "synthesize.steps=3,2")
    shutil.copytree(finished / "shared", tmp_path / "shared")
    assert ablate(tmp_path, *words, "--shard", "2/3") == 0  # the others never come
    assert call("join", str(tmp_path)) == 0
    assert ablate(tmp_path, *words, "--shard", "1/3") == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "log-1-of-3.jsonl").read_text().splitlines()]
    assert set(steps) == {"students"}
    assert ablate(tmp_path, *words) == 0
    assert not (tmp_path / "log.jsonl").exists()
    assert made_as(finished, tmp_path, ("base", "guidance.strength=0.0", "guidance.strength=2.0", "steps=2"))
    assert scores(tmp_path) == scores(finished)


def test_the_best_real_subset_says_how_it_was_chosen(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "shared", tmp_path / "shared")
    sets = ("evaluate.sets=[best-real]", "evaluate.best_real.candidates=[balanced, rarest-first]")
    assert ablate(tmp_path, *sets, "--vary", "synthesize.steps=2", "--split", "test") == 0
    best, made = read_ablation(tmp_path / "ablation-test.json").rows
    assert best.chosen in ("balanced", "rarest-first")
    assert made.chosen is None
    assert f"best real: {best.chosen}" in (tmp_path / "ablation-test.md").read_text()


@pytest.mark.slow
def test_workers_have_the_batches_and_students_of_all_variants_as_one_list(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "shared", tmp_path / "shared")
    assert ablate(tmp_path, "--vary", "synthesize.steps=3,2", "--workers", "2") == 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    batches = sorted(line["piece"] for line in log if line["step"] == "synthesize")
    assert batches == [f"{name}-{number:06d}" for name in ("base", "steps=2") for number in range(3)]
    assert len([line for line in log if line["step"] == "students"]) == 5
    assert made_as(finished, tmp_path, ("base", "steps=2"))
    assert set(scores(tmp_path)) < set(scores(finished))


def made_as(expected: Path, folder: Path, names: tuple[str, ...]) -> bool:
    return all(content(folder / "variants" / name) == content(expected / "variants" / name) for name in names)


def scores(folder: Path) -> list[str]:
    rows = read_ablation(folder / "ablation-val.json").rows
    return [str((row.variant, row.result.per_seed, row.result.per_class, row.energies)) for row in rows]


def test_tables_stand_beside_the_json(finished: Path) -> None:
    assert "| steps | 2 | distilled |" in (finished / "ablation-val.md").read_text().replace("**", "")
    lines = (finished / "ablation-val.csv").read_text().splitlines()
    assert len(lines) == 9
    assert "<h3>Steps</h3>" in (finished / "ablation-val.html").read_text()
    assert lines[0].startswith("axis,variant,overrides,share,energies,sampling_s,chosen,name,items")


def test_budgets_compare_every_set_of_the_recipe_with_random_images_of_their_own_number(tmp_path: Path) -> None:
    sets = "evaluate.sets=[random, distilled-unguided, distilled, distilled-soft, all]"
    words = (sets, "synthesize.soft={}", "--vary", "select.ratio=0.1,0.2")
    assert ablate(tmp_path / "grid", *words) == 0
    found = read_ablation(tmp_path / "grid" / "ablation-val.json")
    made = ["random", "distilled-unguided", "distilled", "distilled-soft"]
    assert [row.result.name for row in found.of("budget", "compact-unet")] == made * 2
    assert [row.result.items for row in found.rows] == [5, 24, *[2] * 4, *[5] * 4]
    unguided, guided, soft = found.rows[3:6]
    assert unguided.energies != guided.energies == soft.energies
    assert soft.result.bytes > guided.result.bytes
    beside = found.random_beside(guided)
    assert beside == found.rows[2].result != found.references("compact-unet")["random"]


def test_the_same_images_serve_every_weight_of_soft_labels() -> None:
    base = load_run("scenes", ["evaluate.seeds=2", "evaluate.sets=[random]"])
    grid = Grid(base, plan_variants(base, ("soft",), ()), "val")
    assert list(grid.runs) == ["soft.num_top=4"]
    amounts = {step.what: step.amount for step in plan_ablation(grid, torch.device("cpu")).steps}
    assert amounts["evaluate"] == "10 students, scored on val"


def test_other_layers_share_the_teacher_and_have_a_bank_of_their_own(tmp_path: Path) -> None:
    base = load_run("scenes", [*TINIER, "teacher.layers=[down1, down2, down3, up1]"])
    planned = AXES["layers"](base)
    assert [variant.name for variant in planned] == ["down1", "down2", "down3", "up1", "down1+down2+down3+up1"]
    words = ("teacher.layers=[down2, up1]", "--axis", "layers", "evaluate.sets=[random]", "select.ratio=0.1")
    assert ablate(tmp_path / "grid", *words) == 0
    assert len(list((tmp_path / "grid" / "shared").rglob("bank-*.safetensors"))) == 3
    assert len(list((tmp_path / "grid" / "shared").iterdir())) == 1


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_builds_and_names_its_variants_apart(axis: str) -> None:
    base = load_run("scenes", ["teacher.layers=[down2, up1]"])
    planned = plan_variants(base, (axis,), ())
    assert len({variant.name for variant in planned}) == len(planned) > 1
    made = [folder_name(one.config(base), base) for one in planned if one.makes_a_set]
    assert len(set(made)) == (1 if axis == "soft" else len(made))


def test_a_dry_run_counts_sets_and_students_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ablate(tmp_path / "grid", "--axis", "rule", "--axis", "parts", "--dry-run") == 0
    # of parts: base, unguided, random masks with and without guidance, each loss alone; of mode: all but one more
    shown = capsys.readouterr().out
    assert f"{6 + len([*RULES]) - 1} sets for {8 + len([*RULES])} variants" in shown
    assert not (tmp_path / "grid").exists()


def test_a_budget_of_no_mask_is_refused_before_anything_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ablate(tmp_path / "grid", "--axis", "budget", "--dry-run") == 2
    assert "ratio 0.005 of 24 masks is 0.12 masks, which rounds to none" in capsys.readouterr().err


def test_the_plan_counts_a_real_set_of_one_budget_once() -> None:
    base = load_run("scenes", ["evaluate.seeds=2"])
    plan = plan_ablation(Grid(base, plan_variants(base, ("parts",), ()), "val"), torch.device("cpu"))
    amounts = {step.what: step.amount for step in plan.steps}
    assert amounts["synthesize"] == "6 sets for 8 variants"
    assert amounts["evaluate"] == "26 students, scored on val"  # 20, and six that choose best-real


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--axis", "strenght"), "Unknown axis 'strenght': known are budget, candidates, filter, layers"),
        (("--axis", "layers"), "--axis layers goes along teacher.layers, which is null here; name them"),
        (("--vary", "seed"), "--vary 'seed' is not of the form key=value,value (for example synthesize.steps=12,24"),
        (("--vary", "synthesize.stepz=1,2"), "Unknown key 'synthesize.stepz', did you mean 'steps'?"),
        (("--split", "train"), "--split train is the split that students are trained on; give another one"),
    ],
)
def test_a_wrong_call_is_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    assert ablate(tmp_path / "grid", *words) == 2
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("shard", [(), ("--shard", "1/2")])
def test_a_split_that_is_none_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shard: tuple[str, ...]
) -> None:
    assert ablate(tmp_path / "grid", "--vary", "synthesize.steps=2", "--split", "tset", *shard) == 2
    assert "Did you mean 'test'?" in capsys.readouterr().err
    assert not [*tmp_path.rglob("shared"), *tmp_path.rglob("variants")]


def test_json_is_one_object(capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    assert ablate(finished, "--vary", "synthesize.steps=2", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 4
