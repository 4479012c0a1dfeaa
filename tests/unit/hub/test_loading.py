"""Networks that are not on this machine."""

from pathlib import Path

import huggingface_hub
import pytest
import torch

from d3s2.base.errors import ModelError
from d3s2.hub.loading import locate
from d3s2.model_cards import MODEL_CARDS, describe
from d3s2.nets.loading import load_segmenter


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))


@pytest.mark.usefixtures("offline")
def test_a_network_that_is_not_here_is_named_with_licence_size_and_the_way_to_get_it() -> None:
    name = "openmmlab/upernet-swin-tiny"
    with pytest.raises(ModelError) as refused:
        load_segmenter(name, ("sky",), device=torch.device("cpu"))
    said = str(refused.value)
    assert said.startswith(f"{name} (UPerNet Swin-T, ADE20K; licence MIT; about 240 MB): there is no such folder")
    assert "and the hub cannot be reached; where there is a network run `hf download" in said
    assert MODEL_CARDS[name].how_to_get in said


@pytest.mark.usefixtures("offline")
def test_an_unknown_network_is_named_without_guesses() -> None:
    with pytest.raises(ModelError, match=r"^someone/some-net: there is no such folder, and the hub cannot be reached"):
        locate("someone/some-net")


def test_what_is_neither_a_folder_nor_an_id_is_named() -> None:
    with pytest.raises(ModelError, match=r"^./no/such/folder: there is no such folder, and it is no hub id"):
        locate("./no/such/folder")


def test_every_published_network_states_licence_and_size() -> None:
    assert all(card.licence and card.part and card.download_mb > 0 for card in MODEL_CARDS.values())
    assert MODEL_CARDS["nvidia/mit-b0"].download_gib == 0.01
    assert describe("nobody/nothing") == ""
