"""The docs page on networks says what the code does."""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

from d3s2.model_cards import cards_for
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.nets.fresh import adapted
from d3s2.nets.loading import NETWORKS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")


def test_every_published_network_stands_on_the_page_with_its_size() -> None:
    rows = dict(re.findall(r"^\| `([\w./-]+/[\w.-]+)` \|.*\| (\d+) \|$", PAGE, flags=re.MULTILINE))
    assert rows == {name: str(card.download_mb) for name, card in cards_for("segmentation").items()}


def test_every_kind_of_network_and_its_layers_stand_on_the_page() -> None:
    for kind, family in NETWORKS.items():
        assert f"| `{kind}` | `{family.network.__name__}` |" in PAGE
    assert all(name.rsplit("-", 1)[0] in PAGE for name in ARCHITECTURES)


def test_the_family_on_the_page_keeps_the_contract() -> None:
    (code,) = re.findall(r"```python\n(# d3s2/nets/mobilevit_family.py.*?)```", PAGE, flags=re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    shape = {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "aspp_out_channels": 8}
    config = MobileViTConfig(num_labels=3, num_attention_heads=2, image_size=64, **shape)
    net = adapted(MobileViTForSemanticSegmentation(config).eval(), namespace["MOBILEVIT"])
    images = torch.rand(1, 3, 50, 70, requires_grad=True)
    seen = net(images)
    assert seen.scores.shape == (1, 3, 50, 70)
    assert list(seen.features) == ["decoder"]
    net.loss(images, torch.zeros(1, 50, 70, dtype=torch.uint8)).backward()
    assert images.grad is not None
