"""Folders of networks made by somebody else: code that they bring or name is not run."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import CLASS_NAMES, save_tiny
from tiny_stable_diffusion import write_pipeline

from d3s2.base.errors import ModelError, UsageError
from d3s2.generator.autoencoders import load_autoencoder
from d3s2.hub.settings import SourceSettings
from d3s2.nets.loading import load_segmenter

CPU = torch.device("cpu")


class RunsCode:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that is there as soon as any of the code has run."""
    return tmp_path / "ran"


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    save_tiny("segformer", tmp_path / "net")
    return tmp_path / "net"


def bring_code(folder: Path, ran: Path, **changes: Any) -> None:
    """Puts a module into the folder of a network, and names it wherever the libraries would look."""
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Model: ...\nclass Config: ...\n")
    config = json.loads((folder / "config.json").read_text()) | changes
    named = ("AutoConfig", "AutoModel", "AutoBackbone", "AutoImageProcessor", "AutoModelForSemanticSegmentation")
    config["auto_map"] = dict.fromkeys(named, "evil.Model") | {"AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))


def test_the_code_beside_a_segmenter_is_not_run(segmenter: Path, ran: Path) -> None:
    bring_code(segmenter, ran)
    load_segmenter(segmenter, CLASS_NAMES, device=CPU)
    bring_code(segmenter, ran, model_type="evil")
    with pytest.raises(UsageError, match=r"Unknown kind of segmentation network .*'evil'"):
        load_segmenter(segmenter, CLASS_NAMES, device=CPU)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["evil.bin", "../evil.bin"])
def test_a_pickle_that_an_index_names_is_not_read(segmenter: Path, ran: Path, name: str) -> None:
    weights = load_file(segmenter / "model.safetensors")
    shutil.move(segmenter / "model.safetensors", segmenter / "other.safetensors")
    torch.save({**weights, "x": RunsCode(ran)}, segmenter / name)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, name)}
    (segmenter / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError):
        load_segmenter(segmenter, CLASS_NAMES, device=CPU)
    assert not ran.exists()


def test_a_pickle_that_is_called_safetensors_is_not_read(segmenter: Path, ran: Path) -> None:
    torch.save({"x": RunsCode(ran)}, segmenter / "model.safetensors")
    with pytest.raises(ModelError):
        load_segmenter(segmenter, CLASS_NAMES, device=CPU)
    assert not ran.exists()


def test_pickled_weights_that_are_asked_for_still_run_no_code(segmenter: Path, ran: Path) -> None:
    (segmenter / "model.safetensors").unlink()
    torch.save({"x": RunsCode(ran)}, segmenter / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_segmenter(segmenter, CLASS_NAMES, device=CPU, allow_pickle=True)
    assert not ran.exists()


@pytest.mark.parametrize("class_name", ["AutoencoderKL", "Model", "evil.Model", ["evil", "Model"]])
def test_the_code_beside_an_autoencoder_is_not_run(
    tmp_path: Path, ran: Path, class_name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = write_pipeline(tmp_path / "pipeline") / "vae"
    monkeypatch.chdir(vae)  # as if the folder were at hand for an import
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    bring_code(vae, ran, _class_name=class_name)
    (vae.parent / "model_index.json").write_text(json.dumps({"_class_name": "X", "vae": ["evil", "Model"]}))
    with suppress(ModelError):  # it may be refused
        load_autoencoder(str(vae.parent), "vae", SourceSettings(offline=True))
    assert not ran.exists()
