"""The contract that every layout-to-image model keeps, so that whatever samples uses any of them alike.

A new generator is one file with a settings record and a `GeneratorKind`, and one line in `kinds.KNOWN`; a user's
own one needs not even the line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.progress import Progress
from d3s2.data import LabelSpace, PairSource
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.settings import LayoutToImageSettings


@runtime_checkable
class LayoutToImage(Protocol):
    """A layout-to-image model: masks in, images out, by way of latents that a sampler walks through."""

    @property
    def scheduler(self) -> SchedulerMixin:
        """The noise schedule that the model was fitted for; `levels_of` reads it."""

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the latent of an image of (height, width) px.

        Raises:
            ModelError: a size that the model cannot make, with the nearest that it can.
        """

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        """The model as a `Denoiser` for these masks; the condition is made here, once.

        Args:
            masks: train ids, 255 ignored, at the size of the images.
            guidance_scale: of classifier-free guidance; 1 is the plain conditional model.
        """

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        """RGB images, 0..1 where the model keeps to it (not clamped), differentiable.

        Args:
            latents: clean ones, x0.
            for_guidance: use the cheaper decoder, where the generator has one.
        """

    def as_record(self) -> dict[str, Any]:
        """What a manifest keeps of the model: kind, source, settings, digests of the weights."""


@runtime_checkable
class ImageEncoder(Protocol):
    """A `LayoutToImage` that also brings images into its latents, so that sampling can start from a real one."""

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        """Clean latents of RGB images in 0..1; `decode` brings them back as far as the model can."""


Preview = Callable[[LayoutToImage, int], None]
"""Draws a few samples after so many steps of a fit."""


@dataclass(frozen=True)
class FitTask:
    """What a generator is fitted with.

    Args:
        pairs: of the training split, at the working size.
        space: their classes.
        size_px: (height, width) of the pairs.
        folder: that keeps checkpoint and weights.
        seed: of whatever is drawn.
        device: where the networks are.
        autocast: reduced format for training; None is float32.
        half: store weights in float16.
        progress: where it tells of itself.
        preview: called now and then.
    """

    pairs: PairSource
    space: LabelSpace
    size_px: tuple[int, int]
    folder: Path
    seed: int
    device: torch.device
    autocast: torch.dtype | None
    half: bool
    progress: Progress
    preview: Preview


@dataclass(frozen=True)
class Fitted:
    """What a fit took, and what of it belongs into the provenance beside its settings."""

    wall_s: float
    record: dict[str, Any] = field(default_factory=dict)


class SamplingCost(NamedTuple):
    """Forward passes in TFLOP (two operations a multiply-add).

    Args:
        network: of the diffusion network for one image at one step, without classifier-free guidance.
        guidance_decoder: of the decoder that guidance uses, for one image.
        decoder: of the one that makes the final image.
    """

    network: float
    guidance_decoder: float
    decoder: float


class SamplingMemory(NamedTuple):
    """GiB of a card for one image, text encoders left out: they lie in main memory.

    Args:
        weights_gib: of all networks.
        network_gib: of a pass of the diffusion network, without classifier-free guidance.
        network_gradient_gib: of such a pass and the way back.
        guidance_decoder_gib: of the decode that guidance uses, and the way back.
        decoder_gib: of the decode of the final image.
        decodes_together: whether the images of a batch are decoded at once.
    """

    weights_gib: float
    network_gib: float
    network_gradient_gib: float
    guidance_decoder_gib: float
    decoder_gib: float
    decodes_together: bool

    def step_gib(self, count: int, passes: int, *, teacher_gib: float = 0.0, through: bool = False) -> float:
        """Weights, and the most that a batch takes at once.

        Args:
            count: of the images of the batch.
            passes: of the diffusion network, over all of them.
            teacher_gib: what the teacher holds of them meanwhile.
            through: whether gradients go through the diffusion network.
        """
        guiding = count * self.guidance_decoder_gib + teacher_gib
        guiding += passes * self.network_gradient_gib if through else 0.0
        final = (count if self.decodes_together else 1) * self.decoder_gib
        return self.weights_gib + max(passes * self.network_gib, guiding, final)


@runtime_checkable
class Counts(Protocol):
    """What sampling takes, for plans of runs that cannot be tried out here."""

    def published(self, model_id: str, size_px: tuple[int, int]) -> tuple[SamplingCost, SamplingMemory] | None:
        """Of a model of the hub as recipes run such; None where nothing is known of it."""

    def cost(self, settings: Any, size_px: tuple[int, int]) -> SamplingCost:
        """Of images of (height, width) px, as the settings say."""

    def memory(self, settings: Any, size_px: tuple[int, int]) -> SamplingMemory:
        """The same of a card."""


class FitTrial(NamedTuple):
    """One step of a fit on zeros, for a plan to time, and how many weights are fitted."""

    step: Callable[[], object]
    num_weights: int


@dataclass(frozen=True)
class GeneratorKind:
    """How one kind of generator is made.

    Args:
        settings: the record that a run's `generator` block is validated into; its `kind` names this kind.
        load: (settings, label space, device) -> generator; raises ModelError where the weights are missing or do not
            fit the label space.
        fit: fits one on the training split into the task's folder; None for a kind that is only loaded.
        fitted: (settings, folder) -> the settings that load what was fitted into it.
        many_processes: whether several processes that were launched together fit it together; the others run `fit` too.
        counted: what a plan counts with; None where nothing is known.
        fit_gib: (settings, (height, width) in px) -> GiB that a fit takes on a card; None where nothing is known.
        fresh: (settings, number of classes, seed, device) -> one of the same shape with new weights, for a plan to try
            out; None where that would not fit on any machine.
        fit_trial: (settings, number of classes, size in px, device) -> a step of a fit; None where a fit cannot be
            tried out.
    """

    settings: type[LayoutToImageSettings]
    load: Callable[[Any, LabelSpace, torch.device], LayoutToImage]
    fit: Callable[[Any, FitTask], Fitted] | None = None
    fitted: Callable[[Any, Path], LayoutToImageSettings] | None = None
    many_processes: bool = False
    counted: Counts | None = None
    fit_gib: Callable[[Any, tuple[int, int]], float] | None = None
    fresh: Callable[[Any, int, int, torch.device], LayoutToImage] | None = None
    fit_trial: Callable[[Any, int, tuple[int, int], torch.device], FitTrial] | None = None
