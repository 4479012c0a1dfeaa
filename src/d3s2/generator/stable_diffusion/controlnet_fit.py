"""Fine-tuning of a segmentation ControlNet on the user's own pairs; the rest of Stable Diffusion stays as it is.

| name   | symbol                  | meaning                                                           |
|--------|-------------------------|-------------------------------------------------------------------|
| clean  | z                       | the image, encoded                                                |
| noisy  | alpha z + sigma e       | at a time t drawn evenly from the schedule                        |
| target | e; alpha e - sigma z; z | what the U-Net was made to predict: epsilon; v_prediction; sample |
| loss   | |output - target|^2     | mean over pairs and cells                                         |

Every step draws its batch, times, noise and dropped prompts whole from (seed, step) on the CPU, and each process takes
its rows: the numbers depend on no resume and, but for the order of sums, on no number of devices.

Source: arXiv 2302.05543 (ControlNet), 2202.00512 appendix D (v).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from diffusers.optimization import get_constant_schedule_with_warmup
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.machine.moving import number_later, to_device
from d3s2.base.pixels import to_unit
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import torch_generator
from d3s2.base.training import Loss, Training, run_steps
from d3s2.data import Pairs, PairSource
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator, predicted
from d3s2.generator.stable_diffusion.settings import ControlNetFitSettings

PRECISIONS: dict[torch.dtype | None, str] = {None: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
MAX_GRADIENT_NORM = 1.0
LABEL = "fit controlnet"
Preview = Callable[[int], None]


@dataclass(frozen=True)
class Draw:
    """What chance decides for pairs of one step: mirrored or not, prompt dropped or not, time, noise."""

    mirrored: Bool[Tensor, " b"]
    dropped: Bool[Tensor, " b"]
    times: Int[Tensor, " b"]
    noise: Float[Tensor, "b c h w"]

    def rows(self, chosen: Tensor | slice) -> "Draw":
        """The same for some of the pairs."""
        return Draw(self.mirrored[chosen], self.dropped[chosen], self.times[chosen], self.noise[chosen])


@dataclass(frozen=True)
class TrainingBatch:
    """What the networks see of pairs, and what they should answer."""

    noisy: Float[Tensor, "b c h w"]
    times: Int[Tensor, " b"]
    text: Float[Tensor, "b t d"]
    condition: Float[Tensor, "b 3 hh ww"]
    target: Float[Tensor, "b c h w"]


def fit_controlnet(
    generator: ControlNetGenerator,
    pairs: PairSource,
    settings: ControlNetFitSettings,
    *,
    seed: int,
    checkpoint: Path,
    autocast: torch.dtype | None = None,
    progress: Progress = SILENT,
    preview: Preview | None = None,
) -> float:
    """Fits the ControlNet of `generator`, in place, on `pairs`; returns its run time over all resumes, in s.

    Under `accelerate launch` or `torchrun` every process calls this and works on its share of each batch.

    Args:
        generator: with its ControlNet in float32 (`controlnet_to_fit`).
        checkpoint: file that the main process writes every `checkpoint_s` seconds, read at the start, kept at the end.
        autocast: reduced format for the two networks; the ControlNet's weights and the loss are float32.
        preview: called by the main process with the step, after each checkpoint.

    Raises:
        UsageError: a batch that does not divide among the devices and the parts of each.
        NumericError: a loss that is not finite.
    """
    accelerator = _accelerator(generator.parts.device, autocast, settings.accumulate)
    rows = _rows(settings, accelerator.process_index, accelerator.num_processes)
    learner = _Learner(generator, settings, accelerator, checkpoint)
    training = Training(
        LABEL,
        settings.steps,
        settings.lr,
        learner.checkpoint,
        settings.checkpoint_s,
        keeps=accelerator.is_main_process,
        progress=progress,
    )

    def draws(first: int) -> Iterator[tuple[list[int], Draw]]:
        return _draws(learner, pairs, seed, range(first, settings.steps), rows)

    spent_s = run_steps(training, draws, pairs.batches, learner.learn, device=torch.device("cpu"), preview=preview)
    if accelerator.is_main_process:
        learner.checkpoint.save(settings.steps, spent_s)
    accelerator.unwrap_model(learner.model, keep_fp32_wrapper=False).requires_grad_(False).eval()
    accelerator.wait_for_everyone()
    return spent_s


def noise_scheduler(generator: ControlNetGenerator) -> DDPMScheduler:
    """The noise that the checkpoint was made with, in training steps."""
    scheduler = DDPMScheduler.from_config(generator.scheduler.config)
    kind = scheduler.config.prediction_type
    if kind not in TARGETS:
        raise ModelError(
            f"{generator.settings.model}: predicts '{kind}', a ControlNet is fitted on models that predict one of "
            f"{', '.join(TARGETS)}."
        )
    return scheduler


def _epsilon(scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    return noise


def _velocity(scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    return scheduler.get_velocity(clean, noise, times)


def _sample(scheduler: DDPMScheduler, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    return clean


TARGETS: dict[str, Callable[[DDPMScheduler, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": _epsilon,
    "v_prediction": _velocity,
    "sample": _sample,
}


@torch.no_grad()
def training_batch_of(
    generator: ControlNetGenerator, scheduler: DDPMScheduler, pairs: Pairs, draw: Draw
) -> TrainingBatch:
    """The training batch of some pairs; condition and prompts are made as for sampling."""
    parts = generator.parts
    given = (pairs.images, pairs.masks, draw.mirrored, draw.noise, draw.times, draw.dropped)
    images, masks, mirrored, noise, times, dropped = (to_device(tensor, parts.device) for tensor in given)
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    masks = torch.where(mirrored[:, None, None], masks.flip(-1), masks)
    clean = parts.encode(to_unit(images))
    text, empty = parts.encode_prompts(generator.prompts(pairs.masks)), parts.encode_prompts([""])
    return TrainingBatch(
        noisy=scheduler.add_noise(clean, noise, times),
        times=times,
        text=torch.where(dropped[:, None, None], empty, text),
        condition=generator.condition(masks),
        target=TARGETS[scheduler.config.prediction_type](scheduler, clean, noise, times),
    )


def loss_of(
    generator: ControlNetGenerator, controlnet: nn.Module, shown: TrainingBatch, autocast: AbstractContextManager[Any]
) -> Float[Tensor, ""]:
    """How far the networks are from the target, in float32."""
    with autocast:
        output = predicted(generator.parts.unet, controlnet, shown.noisy, shown.times, shown.text, shown.condition)
    return F.mse_loss(output.float(), shown.target)


class _Learner:
    """The networks, the optimiser and what one step does with them."""

    def __init__(
        self, generator: ControlNetGenerator, settings: ControlNetFitSettings, accelerator: Accelerator, path: Path
    ) -> None:
        self.generator, self.settings, self.accelerator = generator, settings, accelerator
        self.scheduler = noise_scheduler(generator)
        network = generator.controlnet.requires_grad_(True).train()
        plain = torch.optim.AdamW(network.parameters(), lr=settings.lr)
        self.rate = get_constant_schedule_with_warmup(plain, settings.warmup_steps)
        self.model, self.optimiser = accelerator.prepare(network, plain)
        state = {"model": network, "optimiser": self.optimiser, "rate": self.rate, "scaler": accelerator.scaler}
        self.checkpoint = Checkpoint(path, {name: part for name, part in state.items() if part is not None})

    def learn(self, step: int, positions: list[int], draw: Draw, batch: Pairs) -> Loss:
        """One optimiser step on this process's share of a batch; gives its mean loss."""
        size, losses = len(batch) // self.settings.accumulate, []
        for start in range(0, len(batch), size):
            part = slice(start, start + size)
            pairs = Pairs(batch.images[part], batch.masks[part])
            shown = training_batch_of(self.generator, self.scheduler, pairs, draw.rows(part))
            with self.accelerator.accumulate(self.model):
                loss = loss_of(self.generator, self.model, shown, self.accelerator.autocast())
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
                self.optimiser.step()
                self.optimiser.zero_grad()
            losses.append(loss.detach())
        self.rate.step()
        return number_later(torch.stack(losses).mean())


def _accelerator(device: torch.device, autocast: torch.dtype | None, accumulate: int) -> Accelerator:
    # accelerate keeps one state a process and refuses another format or device, even when the first fit is long over
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=PRECISIONS[autocast],
        gradient_accumulation_steps=accumulate,
        device_placement=False,
    )


def _rows(settings: ControlNetFitSettings, process: int, num_processes: int) -> Tensor:
    """The rows of a batch that belong to one process."""
    parts = num_processes * settings.accumulate
    if settings.batch % parts:
        raise UsageError(
            f"generator.fit.batch is {settings.batch}, which does not divide by {parts} "
            f"({num_processes} processes x generator.fit.accumulate {settings.accumulate}); "
            f"set it to {max(1, round(settings.batch / parts)) * parts}."
        )
    return torch.arange(settings.batch).view(num_processes, -1)[process]


def _draws(
    learner: _Learner, pairs: PairSource, seed: int, steps: range, rows: Tensor
) -> Iterator[tuple[list[int], Draw]]:
    """For each step the positions of the pairs that this process works on, and what else is drawn for them."""
    settings = learner.settings
    height, width = pairs.take_masks([0]).shape[1:]
    shape = learner.generator.latent_shape((height, width))
    for step in steps:
        rng = torch_generator(seed, "fit-controlnet", step)
        chosen = torch.randint(len(pairs), (settings.batch,), generator=rng)
        draw = Draw(
            mirrored=(torch.rand(settings.batch, generator=rng) < 0.5) & settings.flip,
            dropped=torch.rand(settings.batch, generator=rng) < settings.drop_prompt,
            times=torch.randint(learner.scheduler.config.num_train_timesteps, (settings.batch,), generator=rng),
            noise=torch.randn(settings.batch, *shape, generator=rng),
        )
        yield chosen[rows].tolist(), draw.rows(rows)
