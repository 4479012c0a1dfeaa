"""Which revision of a hub id is read, and what is recorded of it."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderTiny
from tiny_networks import CLASS_NAMES, save_tiny
from transformers import SegformerConfig, SegformerForImageClassification

from d3s2.base.config import Config, build
from d3s2.base.errors import ConfigError, ModelError, UsageError
from d3s2.hub.loading import load_part
from d3s2.hub.revisions import Revision, commit_of, commits_of
from d3s2.hub.settings import SourceSettings
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import load_segmenter

OLD, NEW = "0" * 39 + "1", "0" * 39 + "2"
CPU = torch.device("cpu")


def publish(cache: Path, repo: str, commit: str, folder: Path, *names: str) -> None:
    """Puts a folder where a download of `repo` at `commit` would lie."""
    there = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, there / "snapshots" / commit)
    (there / "refs").mkdir(exist_ok=True)
    for name in names:
        (there / "refs" / name).write_text(commit)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bias_of(net: torch.nn.Module) -> list[float]:
    return [tensor.double().sum().item() for tensor in net.state_dict().values()]


def test_a_teacher_of_a_revision_has_the_weights_of_that_commit(cache: Path, tmp_path: Path) -> None:
    for commit, name, names in ((OLD, "first", ("v1",)), (NEW, "second", ("main",))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(commit))
            network = save_tiny("segformer", tmp_path / name)
            network.decode_head.classifier.bias.data.fill_(float(commit[-1]))
            network.save_pretrained(tmp_path / name)
        publish(cache, "some/net", commit, tmp_path / name, *names)

    def loaded(revision: str | None) -> list[float]:
        return bias_of(load_segmenter("some/net", CLASS_NAMES, device=CPU, revision=revision))

    assert loaded(OLD) == loaded("v1") != loaded(NEW) == loaded(None)
    assert [commit_of("some/net", revision) for revision in (None, "main", "v1", OLD)] == [NEW, NEW, OLD, OLD]
    assert commit_of("some/net", "v3") is None
    assert commit_of(tmp_path / "not" / "there") is None
    assert commits_of(a=("some/net", "v1"), b=(None, None), c=(str(tmp_path / "first"), None)) == {"a": OLD}
    with pytest.raises(ModelError, match=r"^some/net.* cannot be reached for revision 'v3'"):
        loaded("v3")


def test_a_backbone_and_a_decoder_of_a_revision_are_those_of_that_commit(cache: Path, tmp_path: Path) -> None:
    backbone = SegformerForImageClassification(
        SegformerConfig(hidden_sizes=[32, 64, 160, 256], depths=[2, 2, 2, 2], decoder_hidden_size=256)
    )
    backbone.save_pretrained(tmp_path / "mit")
    publish(cache, "some/mit", OLD, tmp_path / "mit", "v1")
    net = new_segmenter("segformer-b0", 5, seed=0, backbone="some/mit", revision="v1")
    kept = backbone.segformer.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in net.network.segformer.state_dict().items())
    AutoencoderTiny(
        encoder_block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        num_encoder_blocks=(1,),
        num_decoder_blocks=(1,),
    ).save_pretrained(tmp_path / "tiny")
    publish(cache, "some/tiny", NEW, tmp_path / "tiny", "v2")
    asked = {"how": SourceSettings(offline=True), "dtype": torch.float32}
    assert load_part(AutoencoderTiny, "some/tiny", None, **asked, revision="v2") is not None
    with pytest.raises(ModelError, match=r"some/tiny.*at revision 'v1'"):
        load_part(AutoencoderTiny, "some/tiny", None, **asked, revision="v1")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    save_tiny("segformer", tmp_path / "net")
    with pytest.raises(UsageError, match=r"net: is a folder on this machine, and the revision 'v1' is for ids"):
        load_segmenter(tmp_path / "net", CLASS_NAMES, device=CPU, revision="v1")
    with pytest.raises(UsageError, match=r"is a folder on this machine"):
        load_part(AutoencoderTiny, str(tmp_path / "net"), None, SourceSettings(), revision="v1")


@pytest.mark.parametrize("text", ["../main", "a//b", "", "/etc", "a b"])
def test_what_can_be_no_revision_is_refused(text: str) -> None:
    class Asked(Config):
        revision: Revision | None = None

    with pytest.raises(ConfigError, match=r"expected a commit, tag or branch"):
        build(Asked, {"revision": text}, "here")
