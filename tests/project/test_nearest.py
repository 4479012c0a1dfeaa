"""A name that is not known is refused with the nearest one that is: keys, values, sets, models, classes, splits."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from tiny_run import TINY, call

from d3s2.base.errors import D3S2Error
from d3s2.hub import locate, resolve_source

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "d3s2"

MEANT = {
    "distill scense": "scenes",
    "distill scenes synthesize.stepz=3": "steps",
    "distill scenes genrator.model=null": "generator",
    "distill scenes generator.kind=compat": "compact",
    "distill scenes synthesize.sampler=dim": "ddim",
    "distill scenes synthesize.guidance.rule=fats": "fast",
    "distill scenes 'synthesize.guidance.energies={segmentaton: 1}'": "segmentation",
    "distill scenes select.method=class-balance": "class-balanced",
    "distill scenes select.coverage=presense": "presence",
    "distill scenes 'select.force_classes=[hydrent]'": "hydrant",
    "distill scenes data.resize=strech": "stretch",
    "distill scenes data.dataset=scene": "scenes",
    "distill scenes data.train=trian": "train",
    "distill scenes 'data.options={count: {tran: 24}}'": "train",
    "distill scenes 'data.options={cuont: 24}'": "count",
    "distill scenes teacher.source=shipped:scenes/techer": "shipped:scenes/teacher",
    "distill scenes teacher.train.precision=float3": "float32",
    "distill scenes --executor lcal": "local",
    "distill scenes --device cdua": "cuda",
    "evaluate scenes 'evaluate.sets=[random, distiled]'": "distilled",
    "evaluate scenes 'evaluate.best_real.candidates=[k-centre]'": "k-center",
    "evaluate scenes evaluate.scored_at=nativ": "native",
    "evaluate scenes 'evaluate.architectures=[segfomer-b0]'": "segformer-b0",
    "evaluate scenes 'evaluate.metrics=[miuo]'": "miou",
    "ablate scenes --axis strenght": "strength",
    "ablate scenes --split vall": "val",
    "doctor --dataset camvd": "camvid",
    "export {set} --format mmsg --to {folder}/out": "mmseg",
    "evalute scenes": "evaluate",
    "distill scenes --dry-rum": "--dry-run",
}
"""A call with one name misspelt -> what was meant."""


@pytest.mark.parametrize(("line", "meant"), MEANT.items())
def test_the_nearest_known_name_is_offered(
    line: str, meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line)
    words = [word.replace("{set}", str(tmp_path)).replace("{folder}", str(tmp_path)) for word in words]
    if words[0] == "distill" and len(words) > 2 and not words[2].startswith(("data.", "--")):
        words += [word for word in TINY if word.partition("=")[0] not in line]
    if words[0] in ("distill", "evaluate", "ablate"):
        words += ["--out", str(tmp_path / "run")]
    assert call(*words) == 2
    said = capsys.readouterr().err
    hints = re.findall(r"(?:[Dd]id you mean |Possible options: )(.*)", said)
    assert len(hints) == 1, said
    assert re.search(rf"(?<![\w-]){re.escape(meant)}(?![\w-])", hints[0]), said
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_file_beside_a_mistyped_run_file_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"name": "mine"}))
    assert call("distill", f"{tmp_path}/mien.yaml") == 2
    assert f"Did you mean '{tmp_path}/mine.yaml'?" in capsys.readouterr().err


def test_a_published_model_that_is_spelt_almost_so_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(D3S2Error, match=r"Did you mean 'nvidia/segformer-b0-finetuned-ade-512-512'\?$"):
        locate("nvidia/segformer-b0-finetund-ade-512-512")
    with pytest.raises(D3S2Error) as raised:
        locate("somebody/unet")
    assert "Did you mean" not in str(raised.value)


def test_a_shipped_network_is_one_that_is_there() -> None:
    assert Path(resolve_source("shipped:scenes/generator")).is_dir()
    assert resolve_source("owner/name") == "owner/name"


def test_texts_that_list_known_names_offer_the_nearest() -> None:
    lists = re.compile(r"known are|; known here:|is none of \{|expected one of \{")
    without = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if lists.search(path.read_text()) and not re.search(r"nearest|did_you_mean", path.read_text())
    ]
    assert not without


def test_a_gpu_that_is_not_there_is_no_misspelling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("distill", "scenes", *TINY, "--device", "cuda:99", "--out", str(tmp_path / "run")) == 2
    assert "Did you mean" not in capsys.readouterr().err
