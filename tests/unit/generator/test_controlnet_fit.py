"""Fine-tuning of a ControlNet: diffusers' loss falls, only the ControlNet changes, a stop changes nothing."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from tiny_stable_diffusion import write_pipeline
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from d3s2.base.config import build
from d3s2.base.errors import NumericError, UsageError
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import Pairs
from d3s2.generator.denoiser import Level
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator, controlnet_to_fit
from d3s2.generator.stable_diffusion.controlnet_fit import (
    Draw,
    fit_controlnet,
    loss_of,
    noise_scheduler,
    training_batch_of,
)
from d3s2.generator.stable_diffusion.settings import ControlNetFitSettings, ControlNetSettings

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
CPU = torch.device("cpu")
SETTINGS = ControlNetFitSettings(steps=4, batch=4, lr=1e-3, warmup_steps=1, checkpoint_s=1e-9)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def either(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"), request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    rng = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (6, 32, 40), dtype=torch.uint8, generator=rng)
    return Pairs(torch.randint(0, 256, (6, 3, 32, 40), dtype=torch.uint8, generator=rng), masks)


def generator_in(folder: Path, seed: int | None = None, **compute: object) -> ControlNetGenerator:
    values = {"model": str(folder), "controlnet": str(folder / "controlnet"), "palette": "ade20k", "offline": True}
    return controlnet_to_fit(build(ControlNetSettings, values | {"compute": compute}, "generator"), SPACE, CPU, seed)


def weights_of(generator: ControlNetGenerator) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in generator.controlnet.state_dict().values()])


def some_draw(pairs: Pairs) -> Draw:
    rng = torch.Generator().manual_seed(1)
    times = torch.tensor([7, 400, 990, 31, 650, 120])
    flags = torch.tensor([True, False, False, True, False, False])
    return Draw(flags, flags.roll(1), times, torch.randn(len(pairs), 4, 4, 5, generator=rng))


def mean_loss(generator: ControlNetGenerator, pairs: Pairs) -> torch.Tensor:
    shown = training_batch_of(generator, noise_scheduler(generator), pairs, some_draw(pairs))
    return loss_of(generator, generator.controlnet, shown, nullcontext())


def test_the_loss_is_what_plain_diffusers_calls_give(either: Path, pairs: Pairs) -> None:
    draw = some_draw(pairs)
    unet, vae = UNet2DConditionModel.from_pretrained(either / "unet"), AutoencoderKL.from_pretrained(either / "vae")
    controlnet = ControlNetModel.from_pretrained(either / "controlnet")
    scheduler = DDPMScheduler.from_pretrained(either / "scheduler")
    tokenizer = CLIPTokenizer.from_pretrained(either / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(either / "text_encoder")
    colours = torch.tensor([[6, 230, 230], [140, 140, 140], [4, 200, 3]])  # ADE20K's sky, road, tree
    squares = []
    with torch.no_grad():
        for row in range(6):
            image, mask = pairs.images[row : row + 1] / 255, pairs.masks[row : row + 1].long()
            if draw.mirrored[row]:
                image, mask = image.flip(-1), mask.flip(-1)
            latent = vae.encode(image * 2 - 1).latent_dist.mean * vae.config.scaling_factor
            noise, time = draw.noise[row : row + 1], draw.times[row : row + 1]
            noisy = scheduler.add_noise(latent, noise, time)
            prompt = "" if draw.dropped[row] else "a photo of sky, road, tree"
            tokens = tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
            text = encoder(tokens).last_hidden_state
            condition = colours[mask].permute(0, 3, 1, 2) / 255
            down, middle = controlnet(noisy, time, text, condition, return_dict=False)
            found = unet(
                noisy, time, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
            epsilon = scheduler.config.prediction_type == "epsilon"
            squares.append(F.mse_loss(found, noise if epsilon else scheduler.get_velocity(latent, noise, time)))
    assert len({round(float(value), 4) for value in squares}) == 6
    torch.testing.assert_close(mean_loss(generator_in(either), pairs), torch.stack(squares).mean(), rtol=1e-5, atol=0)


def test_the_loss_falls_and_only_the_controlnet_changes(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    generator = generator_in(folder, gradient_checkpointing=True)
    before, loss_before = generator.as_record()["weights_sha256"], mean_loss(generator, pairs)
    settings = SETTINGS.model_copy(update={"steps": 20, "lr": 3e-3, "checkpoint_s": 1e9})
    fit_controlnet(generator, pairs, settings, seed=0, checkpoint=tmp_path / "c.pt")
    after = generator.as_record()["weights_sha256"]
    assert mean_loss(generator, pairs) < 0.95 * loss_before
    assert {name for name in before if before[name] != after[name]} == {"controlnet"}
    assert not any(weight.requires_grad for weight in generator.controlnet.parameters())


def test_a_fit_that_was_stopped_ends_with_the_same_bytes(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(step: int) -> None:
        if step == 2:
            raise StoppedError

    whole, stopped, resumed = (generator_in(folder) for _ in range(3))
    fit_controlnet(whole, pairs, SETTINGS, seed=0, checkpoint=tmp_path / "whole.pt")
    with pytest.raises(StoppedError):
        fit_controlnet(stopped, pairs, SETTINGS, seed=0, checkpoint=tmp_path / "c.pt", preview=stop)
    fit_controlnet(resumed, pairs, SETTINGS, seed=0, checkpoint=tmp_path / "c.pt")
    for name, generator in (("whole", whole), ("resumed", resumed)):
        generator.controlnet.save_pretrained(tmp_path / name)
    files = [tmp_path / name / "diffusion_pytorch_model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not torch.equal(weights_of(whole), weights_of(stopped))


def test_parts_of_a_batch_give_the_weights_of_the_whole(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    whole, parts = generator_in(folder), generator_in(folder)
    fit_controlnet(whole, pairs, SETTINGS, seed=0, checkpoint=tmp_path / "whole.pt")
    fit_controlnet(
        parts, pairs, SETTINGS.model_copy(update={"accumulate": 2}), seed=0, checkpoint=tmp_path / "parts.pt"
    )
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=1e-3, atol=2e-4)


def test_reduced_formats_keep_the_controlnet_in_float32(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"steps": 2})
    for generator, autocast in ((generator_in(folder), torch.bfloat16), (generator_in(folder, dtype="bfloat16"), None)):
        path = tmp_path / f"{autocast}.pt"
        fit_controlnet(generator, pairs, settings, seed=0, checkpoint=path, autocast=autocast)
        assert weights_of(generator).dtype == torch.float32
        assert weights_of(generator).isfinite().all()
        x = torch.randn(1, 4, 4, 5)
        assert generator.bind(pairs.masks[:1], 2.0)(x, Level(0.6, 0.8, 500.0)).dtype == torch.float32


def test_a_new_controlnet_begins_as_the_unet_alone(folder: Path, pairs: Pairs) -> None:
    first, second, other = (generator_in(folder, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(weights_of(first), weights_of(second))
    assert not torch.equal(weights_of(first), weights_of(other))
    encoder = first.parts.unet.down_blocks.state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in first.controlnet.down_blocks.state_dict().items())
    x, time = torch.randn(2, 4, 4, 5), torch.tensor([500.0, 500.0])
    masks, level = pairs.masks[:2], Level(0.6, 0.8, 500.0)
    text = first.parts.encode_prompts(first.prompts(masks))
    alone = first.parts.denoiser(lambda x, _: first.parts.unet(x, time, text).sample, 1.0)
    torch.testing.assert_close(first.bind(masks, 1.0)(x, level), alone(x, level))


def test_a_batch_that_does_not_divide_is_refused(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    generator, settings = generator_in(folder), SETTINGS.model_copy(update={"accumulate": 3})
    with pytest.raises(UsageError, match=r"fit\.batch is 4, which does not divide by 3 \(1 processes x .* set it to 3"):
        fit_controlnet(generator, pairs, settings, seed=0, checkpoint=tmp_path / "c.pt")


def test_a_loss_that_is_not_finite_ends_the_fit(folder: Path, pairs: Pairs, tmp_path: Path) -> None:
    generator = generator_in(folder)
    generator.controlnet.controlnet_mid_block.weight.data.fill_(float("inf"))
    with pytest.raises(NumericError, match=r"fit controlnet: the loss of step 1 is nan, .* \(lr is "):
        fit_controlnet(generator, pairs, SETTINGS, seed=0, checkpoint=tmp_path / "c.pt")
