"""The compact generator on an autoencoder's latents: whole on disk, the mask unblurred, guided, stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from tiny_stable_diffusion import new_unet

from d3s2.base.config import build
from d3s2.base.errors import ModelError
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import Pairs
from d3s2.generator.autoencoders import decode, encode, load_autoencoder
from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.compact.fit import fit_generator
from d3s2.generator.compact.network import CompactGenerator, load_generator, new_generator, save_generator, take_weights
from d3s2.generator.compact.settings import CompactFitSettings
from d3s2.generator.denoiser import Level
from d3s2.generator.kinds import GENERATORS
from d3s2.hub.settings import SourceSettings

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
CPU = torch.device("cpu")
OFFLINE = SourceSettings(offline=True)
SETTINGS = CompactFitSettings(steps=4, batch=2, checkpoint_s=1e-9)
LEVEL = Level(alpha=0.5, sigma=0.5, time=0.5)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`vae` (4 px a cell, scaled and shifted), `tiny` for the same latents, `small` for others, and a `unet`."""
    folder = tmp_path_factory.mktemp("autoencoders")
    levels, tiny = (8, 8, 8), {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoencoderKL(
            block_out_channels=levels,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=0.5,
            shift_factor=0.25,
        ).save_pretrained(folder / "vae")
        for name, channels in (("tiny", 4), ("small", 2)):
            network = AutoencoderTiny(
                encoder_block_out_channels=levels, decoder_block_out_channels=levels, latent_channels=channels, **tiny
            )
            network.save_pretrained(folder / name)
        new_unet().save_pretrained(folder / "unet")
    return folder


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (4, 16, 24), dtype=torch.uint8, generator=rng)
    return Pairs(torch.randint(0, 256, (4, 3, 16, 24), dtype=torch.uint8, generator=rng), masks)


def fresh(pack: int = 1) -> CompactGenerator:
    return new_generator(0, num_classes=3, channels=(32, 32), pack=pack, image_channels=4, cell=4)


def weights_of(model: CompactGenerator) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def load(folder: Path, **values: Any) -> CompactAdapter:
    loader = GENERATORS.load("compact")
    settings = build(loader.settings, {"model": str(folder), "offline": True, **values}, "generator")
    return loader.load(settings, SPACE, CPU)


@pytest.fixture(scope="module")
def stored(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compact")
    save_generator(fresh(), folder, autoencoder=load_autoencoder(str(parts), "vae", OFFLINE))
    return folder


def test_latents_are_scaled_and_shifted_as_the_autoencoder_says(parts: Path) -> None:
    plain, image = AutoencoderKL.from_pretrained(parts / "vae"), torch.rand(2, 3, 16, 24)
    autoencoder = load_autoencoder(str(parts / "vae"), None, OFFLINE)
    with torch.no_grad():
        mean = plain.encode(image * 2 - 1).latent_dist.mean
        latents = encode(autoencoder, image)
        torch.testing.assert_close(latents, (mean - 0.25) * 0.5)
        torch.testing.assert_close(decode(autoencoder, latents), plain.decode(mean).sample / 2 + 0.5)
        tiny = AutoencoderTiny.from_pretrained(parts / "tiny")
        found = encode(load_autoencoder(str(parts / "tiny"), None, OFFLINE), image)
        torch.testing.assert_close(found, tiny.encode(image * 2 - 1).latents)


def test_the_folder_alone_is_the_generator(stored: Path, parts: Path) -> None:
    generator, original = load(stored), AutoencoderKL.from_pretrained(parts / "vae")
    x = torch.randn(2, *generator.latent_shape((16, 24)), generator=torch.Generator().manual_seed(0))
    assert x.shape == (2, 4, 4, 6)
    masks = torch.randint(0, 3, (2, 16, 24), dtype=torch.uint8)
    clean = generator.bind(masks, 1.0)(x, LEVEL)
    torch.testing.assert_close(clean, fresh().eval()(x, torch.full((2,), 0.5), masks.long()))
    torch.testing.assert_close(generator.decode(x), original.decode(x / 0.5 + 0.25).sample / 2 + 0.5)
    assert list(generator.as_record()["weights_sha256"]) == [
        "diffusion_pytorch_model.safetensors",
        "autoencoder/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.parametrize("pack", [1, 2])
def test_every_pixel_of_the_mask_reaches_the_network(pack: int) -> None:
    model = fresh(pack).eval()
    x, masks = torch.randn(1, 4, 8, 8), torch.zeros(1, 32, 32, dtype=torch.long)
    model(x, torch.tensor([0.5]), masks)
    seen = []
    model.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for row, column in ((0, 0), (13, 22), (31, 31)):
        other = masks.clone()
        other[0, row, column] = 1
        seen.clear()
        model(x, torch.tensor([0.5]), masks)
        model(x, torch.tensor([0.5]), other)
        changed = (seen[0] != seen[1])[0]
        assert changed.any(dim=0).nonzero().tolist() == [[row // (4 * pack), column // (4 * pack)]]
        assert changed.sum() == 8  # one pixel's embedding, not a blend of its neighbours'


def test_a_fit_on_latents_that_was_stopped_ends_with_the_same_weights(
    parts: Path, pairs: Pairs, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(model: CompactGenerator, step: int) -> None:
        if step == 2:
            raise StoppedError

    autoencoder = load_autoencoder(str(parts), "vae", OFFLINE)
    some: dict[str, Any] = {"seed": 0, "device": CPU, "autoencoder": autoencoder}
    whole, _ = fit_generator(fresh(), pairs, SETTINGS, checkpoint=tmp_path / "whole.pt", **some)
    with pytest.raises(StoppedError):
        fit_generator(fresh(), pairs, SETTINGS, checkpoint=tmp_path / "c.pt", preview=stop, **some)
    resumed, _ = fit_generator(fresh(), pairs, SETTINGS, checkpoint=tmp_path / "c.pt", **some)
    assert torch.equal(weights_of(resumed), weights_of(whole))
    assert not torch.equal(weights_of(resumed), weights_of(fresh()))


def test_guidance_reaches_the_latents_and_may_use_a_tiny_decoder(stored: Path, parts: Path) -> None:
    plain, with_tiny = load(stored), load(stored, tiny_decoder=str(parts / "tiny"))
    x, masks = torch.randn(1, 4, 4, 6).requires_grad_(), torch.zeros(1, 16, 24, dtype=torch.uint8)
    for generator in (plain, with_tiny):
        generator.decode(generator.bind(masks, 2.0)(x, LEVEL), for_guidance=True).square().mean().backward()
        assert x.grad is not None
        assert x.grad.abs().max() > 0
        x.grad = None
    assert torch.equal(plain.decode(x), with_tiny.decode(x))
    assert not torch.equal(plain.decode(x, for_guidance=True), with_tiny.decode(x, for_guidance=True))
    assert "tiny_decoder" in with_tiny.as_record()["weights_sha256"]


def test_sizes_divide_by_cell_and_pack() -> None:
    assert fresh(pack=2).latent_shape((16, 32)) == (4, 4, 8)
    with pytest.raises(ModelError, match=r"divide by 16, got 24 x 32 px .*; set data\.size to \[32, 32\]"):
        fresh(pack=2).latent_shape((24, 32))


def test_what_does_not_fit_together_is_refused(stored: Path, parts: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"small: decodes latents of \(2, 4\) .* the generator's have \(4, 4\)"):
        load(stored, tiny_decoder=str(parts / "small"))
    save_generator(new_generator(0, num_classes=3, channels=(32, 32)), tmp_path)
    with pytest.raises(ModelError, match="this generator draws pixels, so there is nothing for tiny_decoder to decode"):
        load(tmp_path, tiny_decoder=str(parts / "tiny"))
    with pytest.raises(ModelError, match=f"holds a {UNet2DConditionModel.__name__}, expected an AutoencoderKL or an"):
        load_autoencoder(str(parts / "unet"), None, OFFLINE)
    pixels, _ = load_generator(tmp_path, 3)
    with pytest.raises(ModelError, match="that generator has image_channels 3, this one 4"):
        take_weights(fresh(), pixels)
