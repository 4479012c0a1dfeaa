"""Fitting of the compact generator: flow matching with x0-prediction, EMA, checkpoints, resume to the same numbers.

| name     | symbol        | meaning                                                     |
|----------|---------------|-------------------------------------------------------------|
| time     | t             | share of noise, logit-normal: sigmoid(N(mean, std))          |
| noisy    | x_t           | (1 - t) x0 + t e                                             |
| clean    | x0_hat        | prediction of the network                                    |
| loss     | |v_hat - v|^2 | velocity v = e - x0 = (x_t - x0) / t: |x0_hat - x0|^2 / t^2  |
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.machine.moving import number_later, to_device
from d3s2.base.machine.runtime import reduced
from d3s2.base.pixels import to_unit
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import generator_on, torch_generator
from d3s2.base.training import Loss, Training, run_steps
from d3s2.data import Pairs, PairSource, in_order
from d3s2.generator.autoencoders import Autoencoder, encode
from d3s2.generator.compact.network import CompactGenerator
from d3s2.generator.compact.settings import CompactFitSettings

SMALLEST_TIME = 0.05  # below it the velocity loss would weigh one pixel's rounding over the picture
COMMON_SHARE = 0.1
WARMUP_STEPS = 100
MAX_GRADIENT_NORM = 1.0
MASKS_AT_ONCE = 256
LABEL = "fit generator"
Preview = Callable[[CompactGenerator, int], None]


def fit_generator(
    model: CompactGenerator,
    pairs: PairSource,
    settings: CompactFitSettings,
    *,
    seed: int,
    checkpoint: Path,
    device: torch.device,
    autocast: torch.dtype | None = None,
    progress: Progress = SILENT,
    preview: Preview | None = None,
    autoencoder: Autoencoder | None = None,
) -> tuple[CompactGenerator, float]:
    """Fits `model` on `pairs`; returns it with the averaged weights, and its run time over all resumes, in seconds.

    Args:
        model: freshly made; its weights are overwritten by the checkpoint where there is one.
        pairs: images and masks; every step draws its own batch from (seed, step), so resuming changes nothing.
        checkpoint: file that is written every `checkpoint_s` seconds, read at the start, kept at the end.
        autocast: reduced format for the network; the loss is float32.
        preview: called with the averaged model and the step at each checkpoint.
        autoencoder: on whose latents the model is fitted, made anew at every step; None fits on pixels in -1..1.

    Raises:
        NumericError: a loss that is not finite.

    Source: arXiv 2210.02747 (flow matching), 2403.03206 (logit-normal times), 2511.13720 (x0 with velocity loss).
    """
    model.to(device).train()
    # all weights in three calls instead of three each: launching them takes a GPU longer than the work
    averaging = {"use_ema_warmup": True, "power": 0.75, "foreach": device.type != "cpu"}
    ema = EMAModel(model.parameters(), decay=settings.ema_decay, **averaging)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=0.01)
    rate = get_cosine_schedule_with_warmup(optimiser, WARMUP_STEPS, settings.steps)
    state = Checkpoint(checkpoint, {"model": model, "ema": ema, "optimiser": optimiser, "rate": rate})
    training = Training(LABEL, settings.steps, settings.lr, state, settings.checkpoint_s, progress=progress)

    def draws(first: int) -> Iterator[tuple[list[int], torch.Generator]]:
        weights = draw_weights(pairs, model.num_classes, settings.rare_boost) if settings.rare_boost > 0 else None
        return _draws(len(pairs), weights, settings, seed, first)

    def learn(step: int, positions: list[int], rng: torch.Generator, batch: Pairs) -> Loss:
        loss = _velocity_loss(model, batch, settings, rng, device, autocast, autoencoder)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimiser.step()
        rate.step()
        ema.step(model.parameters())
        return number_later(loss)

    def show(step: int) -> None:
        if preview is not None:
            preview(averaged(model, ema), step)

    spent_s = run_steps(training, draws, pairs.batches, learn, device=device, preview=show)
    state.save(settings.steps, spent_s)
    ema.copy_to(model.parameters())
    return model.eval().requires_grad_(False), spent_s


def draw_weights(pairs: PairSource, num_classes: int, rare_boost: float) -> Float[Tensor, " n"]:
    """How often each pair is drawn, relative to a pair of common classes only."""
    batches = (pairs.take_masks(positions) for positions in in_order(len(pairs), MASKS_AT_ONCE))
    held = torch.stack([_holds(mask, num_classes) for masks in batches for mask in masks])
    share = held.float().mean(dim=0).clamp(min=1 / len(pairs))
    rarity = (COMMON_SHARE / share).clamp(min=1.0).pow(rare_boost)
    return torch.where(held, rarity, torch.ones_like(rarity)).max(dim=1).values


def _holds(mask: UInt8[Tensor, "h w"], num_classes: int) -> Bool[Tensor, " c"]:
    return torch.bincount(mask.flatten(), minlength=256)[:num_classes] > 0


def averaged(model: CompactGenerator, ema: EMAModel) -> CompactGenerator:
    """A copy of the model with the averaged weights, for samples."""
    copy = deepcopy(model)
    ema.copy_to(copy.parameters())
    return copy.eval().requires_grad_(False)


def _draws(
    count: int, weights: Float[Tensor, " n"] | None, settings: CompactFitSettings, seed: int, first: int
) -> Iterator[tuple[list[int], torch.Generator]]:
    """Positions of each step's batch, and the generator that drew them, for what else the step draws."""
    for step in range(first, settings.steps):
        rng = torch_generator(seed, "fit-generator", step)
        if weights is not None:
            chosen = torch.multinomial(weights, settings.batch, replacement=True, generator=rng)
        else:
            chosen = torch.randint(count, (settings.batch,), generator=rng)
        yield chosen.tolist(), rng


def _velocity_loss(
    model: CompactGenerator,
    batch: Pairs,
    settings: CompactFitSettings,
    rng: torch.Generator,
    device: torch.device,
    autocast: torch.dtype | None,
    autoencoder: Autoencoder | None,
) -> Tensor:
    images, masks = to_device(batch.images, device), to_device(batch.masks, device)
    classes = model.classes_of(masks)
    if settings.flip:
        mirrored = _happens(settings.batch, 0.5, rng, device)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        classes = torch.where(mirrored[:, None, None], classes.flip(-1), classes)
    dropped = _happens(settings.batch, settings.drop_mask, rng, device)
    classes = torch.where(dropped[:, None, None], model.no_mask(classes), classes)
    logits = torch.randn(settings.batch, generator=rng) * settings.time_std + settings.time_mean
    time = to_device(torch.sigmoid(logits), device)
    clean = to_unit(images) * 2 - 1 if autoencoder is None else encode(autoencoder, to_unit(images))
    noise = torch.randn(clean.shape, generator=generator_on(device, rng), device=device)
    share = time[:, None, None, None]
    noisy = (1 - share) * clean + share * noise
    with reduced(device, autocast):
        predicted = model(noisy, time, classes)
    error = (predicted.float() - clean) / time.clamp(min=SMALLEST_TIME)[:, None, None, None]
    return error.pow(2).mean()


def _happens(count: int, share: float, rng: torch.Generator, device: torch.device) -> Bool[Tensor, " b"]:
    """For each of `count` pairs, whether something happens that happens to a `share` of them."""
    return to_device(torch.rand(count, generator=rng) < share, device)
