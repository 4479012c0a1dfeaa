from pathlib import Path

import pytest
import torch

from d3s2.base.config import build
from d3s2.base.errors import ConfigError, ModelError
from d3s2.data.label_space import LabelSpace
from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.compact.network import bind, new_generator, save_generator
from d3s2.generator.denoiser import Level
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import LayoutToImage

SPACE = LabelSpace(name="trio", names=("sky", "road", "tree"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compact")
    save_generator(new_generator(0, num_classes=3, channels=(32, 32)), path)
    return path


def load(folder: Path, space: LabelSpace = SPACE) -> CompactAdapter:
    loader = GENERATORS.load("compact")
    return loader.load(build(loader.settings, {"model": str(folder)}, "generator"), space, CPU)


def test_adapter_is_the_bound_model(folder: Path) -> None:
    generator: LayoutToImage = load(folder)
    masks = torch.randint(0, 3, (2, 16, 24), dtype=torch.uint8)
    x, level = torch.randn(2, *generator.latent_shape((16, 24))), Level(0.5, 0.5, 0.5)
    expected = bind(load(folder).model, masks, 2.0)(x, level)
    torch.testing.assert_close(generator.bind(masks, 2.0)(x, level), expected)


def test_decode_maps_minus_one_and_one_to_zero_and_one(folder: Path) -> None:
    x = torch.stack([torch.full((3, 8, 8), -1.0), torch.full((3, 8, 8), 1.0)]).requires_grad_()
    images = load(folder).decode(x, for_guidance=True)
    assert images[0].max() == 0
    assert images[1].min() == 1
    images.sum().backward()
    assert x.grad is not None


def test_size_that_does_not_divide_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"divide by 8, got 17 x 24 px .*set data\.size to \[16, 24\]"):
        load(folder).latent_shape((17, 24))


def test_record_carries_the_digest_of_the_weights(folder: Path) -> None:
    digests = load(folder).as_record()["weights_sha256"]
    assert [len(digest) for digest in digests.values()] == [64]


def test_other_number_of_classes_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="fitted for 3 classes, the data set has 2"):
        load(folder, LabelSpace(name="duo", names=("a", "b")))


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Unknown key 'modle', did you mean 'model'"):
        build(GENERATORS.load("compact").settings, {"modle": "x", "model": "y"}, "generator")
