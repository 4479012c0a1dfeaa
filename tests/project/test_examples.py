"""What examples/ shows runs: named in a run file or an override, without a line in the package."""

import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tiny_run import TINY, call, distil

from d3s2.base.errors import UsageError
from d3s2.pipeline.report import write_report
from d3s2.pipeline.run import read_config
from d3s2.pipeline.variants import folder_name, plan_variants
from d3s2.recipes import load_run
from d3s2.store.items import MANIFEST, json_bytes
from d3s2.store.manifest import OWN_DIGEST, digest_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("own_*.py"))
EDGES, SEEN = "own_energy:edges", "own_metric:classes_seen"
OWN = (
    f'synthesize.guidance.energies={{segmentation: 1, "{EDGES}": 0.2}}',
    "synthesize.guidance.rule=own_rule:signs",
    "select.method=own_selection:most_classes",
    'generator={kind: "own_generator:GAUSSIAN", deviation: 0.3}',
    f'evaluate.metrics=[miou, "{SEEN}"]',
)
NAMES = (EDGES, "own_rule:signs", "own_selection:most_classes", "own_generator:GAUSSIAN")
KEPT = tuple(word for word in TINY if not word.startswith("generator."))
MARKER = "IMPORTED.txt"
EVIL = f"import pathlib; pathlib.Path(__file__).with_name({MARKER!r}).touch(); object = None\n"


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a user's run file that names one of each."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        patch.setenv("PYTHONPATH", str(ROOT / "examples"))
        words = ("evaluate", "scenes", *KEPT, *OWN, "evaluate.seeds=1", "evaluate.sets=[random, distilled]")
        assert call(*words, "--out", str(folder / "run"), "--device", "cpu") == 0
    return folder / "run"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported, and the file that is there once it was."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path / "evil")
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path / "evil" / MARKER


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_thirty_lines_or_fewer_and_shows_its_call(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 30
    assert any("PYTHONPATH=examples d3s2 " in line for line in lines)


def test_names_of_own_code_are_in_items_traces_page_and_manifest(own_run: Path) -> None:
    assert call("verify", str(own_run)) == 0
    energies = pq.read_table(own_run / "items.parquet").column("energies_after").to_pylist()
    assert all({EDGES, "segmentation"} == dict(row).keys() for row in energies)
    trace = json.loads(next((own_run / "traces").glob("guided-*.json")).read_text())
    assert EDGES in trace["energies"]
    page = (own_run / "report.html").read_text()
    for name in NAMES:
        assert name in page
    generator = json.loads((own_run / "manifest.json").read_text())["models"]["generator"]
    assert generator == {"kind": "own_generator:GAUSSIAN", "deviation": 0.3}


def test_an_own_metric_is_in_the_results_and_on_the_page(own_run: Path) -> None:
    results = json.loads((own_run / "results.json").read_text())
    assert all(0 <= row["scores"][SEEN]["mean"] <= 1 for row in results["sets"])
    assert "classes seen" in (own_run / "report.html").read_text()


def test_own_energies_are_columns_of_an_export(own_run: Path, tmp_path: Path) -> None:
    assert call("export", str(own_run), "--format", "hf", "--to", str(tmp_path / "hf")) == 0
    (shard,) = (tmp_path / "hf" / "data").glob("*.parquet")
    assert {f"{EDGES}_before", f"{EDGES}_after"} <= set(pq.read_schema(shard).names)


def test_an_export_format_may_be_own_code(own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    (code,) = (block for block in page.split("```python")[1:] if "def export_listing" in block)
    (tmp_path / "my_formats.py").write_text(code.split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--format", "my_formats:export_listing", "--to", str(tmp_path / "listing"))
    assert call("export", str(own_run), *words) == 0
    items = pq.read_table(own_run / "items.parquet").column("item_id").to_pylist()
    assert (tmp_path / "listing" / "ids.txt").read_text().split("\n") == items


def test_the_page_on_extending_names_every_example_and_tables_that_are_there() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    for path in EXAMPLES:
        assert f"examples/{path.name}" in page
    places = re.findall(r"`([A-Z]+)` in `([\w/]+\.py)`", page)
    assert len(places) == 7
    for table, module in places:
        assert re.search(rf"^{table}\b", (ROOT / "src" / "d3s2" / module).read_text(), re.MULTILINE), table


def test_a_run_of_own_code_is_resumed(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    before = (own_run / "manifest.json").read_bytes()
    assert call("distill", "scenes", *KEPT, *OWN, "--out", str(own_run), "--device", "cpu") == 0
    assert (own_run / "manifest.json").read_bytes() == before


def test_own_code_may_stand_in_a_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = yaml.safe_load((ROOT / "src" / "d3s2" / "recipes" / "scenes.yaml").read_text())
    recipe["synthesize"]["guidance"] = {"energies": {"mine_code:one": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "mine_code.py").write_text("def one(seen, masks, bank):\n    return masks.float().mean(dim=(1, 2))\n")
    with pytest.raises(UsageError, match="no module 'mine_code'; put the folder that holds it on PYTHONPATH"):
        load_run(str(tmp_path / "mine.yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    assert load_run(str(tmp_path / "mine.yaml")).synthesize.guidance.energies == {"mine_code:one": 1}


def test_the_page_is_written_again_without_the_code(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in EXAMPLES:
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    (own_run / "report.html").unlink()
    assert call("report", str(own_run), "--device", "cpu") == 0
    page = (own_run / "report.html").read_text()
    for name in NAMES:
        assert name in page
    assert not [path.stem for path in EXAMPLES if path.stem in sys.modules]


def test_an_ablation_takes_each_energy_alone() -> None:
    config = load_run("scenes").model_copy(deep=True)
    values = {"segmentation": 1.0, "features": 0.1}
    assert config.synthesize.guidance.energies == values
    names = [variant.name for variant in plan_variants(config, ("parts",), ())]
    assert "segmentation loss alone" in names
    assert "feature loss alone" in names


def test_an_ablation_of_own_energies_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    config = load_run("scenes", OWN[:1])
    variants = {variant.name: variant.config(config) for variant in plan_variants(config, ("parts",), ())}
    alone = variants[f"{EDGES} alone"]
    assert alone.synthesize.guidance.energies == {"segmentation": 0, EDGES: 0.2}
    assert folder_name(alone, config) == "guidance.energies.segmentation=0.0"
    vary = 'synthesize.guidance.energies={segmentation: 1},{segmentation: 1, "own_energy:edges": 0.2}'
    free = [folder_name(variant.config(config), config) for variant in plan_variants(config, (), (vary,))]
    assert free[0] != free[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("synthesize.guidance.rule=own_rule:sings",), "module 'own_rule' has no 'sings'"),
        (("synthesize.guidance.rule=no_such_rule:signs",), "there is no module 'no_such_rule'"),
        (
            ("synthesize.guidance.energies={own_generator:GAUSSIAN: 1}",),
            "is of type GeneratorKind, expected a function",
        ),
        (("generator={kind: own_energy:edges}",), "is of type function, expected one with settings, load"),
        (
            ("generator={kind: own_generator:GAUSSIAN, deviatoin: 1}",),
            "'generator.deviatoin', did you mean 'deviation'",
        ),
        (("synthesize.guidance.energies.own_energy:edges=0.2",), "cannot be part of a key; give a mapping"),
        (("synthesize.guidance.energies={own_energy:edges:0.2}",), "with a space after the colon that ends it"),
        (("synthesize.guidance.energies={edges: 0.2}",), "unknown energy 'edges': known are"),
        (("evaluate.metrics=[miou, own_metric:classes]",), "module 'own_metric' has no 'classes'"),
        (("synthesize.guidance.energies={}",), "no weight above 0"),
    ],
)
def test_a_name_that_leads_nowhere_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    with pytest.raises(UsageError) as raised:
        load_run("scenes", words)
    assert said in str(raised.value)


def test_an_energy_of_another_shape_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "summed.py").write_text("def total(seen, masks, bank):\n    return seen.scores.float().sum()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert distil(tmp_path / "run", "synthesize.guidance.energies={summed:total: 1}") == 2
    assert "Energy 'summed:total': gave () for 1 item(s), expected a tensor of shape (1,)" in capsys.readouterr().err


def test_a_set_never_names_code(own_run: Path, tmp_path: Path, evil: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(own_run, foreign)
    asked, text = (foreign / "run.json").read_text(), (foreign / MANIFEST).read_text()
    for name in (*NAMES, SEEN):
        asked, text = asked.replace(name, "evil:object"), text.replace(name, "evil:object")
    manifest = json.loads(text)
    (foreign / MANIFEST).write_bytes(json_bytes(manifest | {OWN_DIGEST: digest_of(manifest)}))
    (foreign / "run.json").write_text(asked)
    assert call("verify", str(foreign)) == 0
    assert call("export", str(foreign), "--format", "hf", "--to", str(tmp_path / "hf")) == 0
    sets = f"evaluate.sets=[random, {foreign}]"
    words = ("evaluate", "scenes", *TINY, "evaluate.seeds=1", sets, "--out", str(tmp_path / "run"), "--device", "cpu")
    assert call(*words) == 0
    assert read_config(foreign).generator.kind == "evil:object"
    assert call("distill", "scenes", *TINY, "--out", str(foreign), "--device", "cpu") != 0  # another run
    assert not evil.exists()
    write_report(foreign, torch.device("cpu"))
    assert not evil.exists()
