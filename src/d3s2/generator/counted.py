"""What is counted on the shapes of published networks, for plans of runs that cannot be tried out here.

Source: `python benchmarks/generator_costs.py`: operations by torch.utils.flop_counter, memory by following each tensor
from its making to its end, in 16 bits with fused attention. Convolutions and projections grow with the number of
pixels, the operations of attention with its square.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from d3s2.generator.compute import DTYPES
from d3s2.generator.layout_to_image import SamplingCost, SamplingMemory
from d3s2.generator.settings import ComputeSettings, PipelineSettings

COUNTED_PX = 512 * 512
GIB = 2**30
AS_IN_RECIPES = ComputeSettings(dtype="bfloat16", vae_slicing=True)


class Counted(NamedTuple):
    """TFLOP, or GiB, of a pass over an image: fixed + by_pixels p + by_pairs p^2, p = pixels / 512^2."""

    fixed: float
    by_pixels: float
    by_pairs: float = 0.0

    def at(self, size_px: tuple[int, int]) -> float:
        """Of an image of (height, width) px."""
        pixels = size_px[0] * size_px[1] / COUNTED_PX
        return self.fixed + self.by_pixels * pixels + self.by_pairs * pixels**2


DECODER_TFLOP, TINY_DECODER_TFLOP = Counted(0.0, 2.4804, 0.0344), Counted(0.0, 0.1414)
"""Of the autoencoders of all families; their latents' 4 or 16 channels make less than a thousandth."""
AUTOENCODERS_MILLION = 86.1
"""Weights of the autoencoder that all families have and of a tiny one."""
DECODER_GIB, DECODER_GRADIENT_GIB, TINY_GRADIENT_GIB = Counted(0.0, 0.7501), Counted(0.0, 5.6857), Counted(0.0, 0.6652)
"""Of decoding one image in float32: alone, and with the way back to the latent."""


class CountedFamily(NamedTuple):
    """What a family's diffusion network takes together with its ControlNet.

    Args:
        step: TFLOP of a pass over one image.
        million_weights: of both.
        network: GiB of such a pass, in 16 bits.
        gradient: of such a pass and the way back to the latent.
    """

    step: Counted
    million_weights: float
    network: Counted
    gradient: Counted

    def cost(self, size_px: tuple[int, int], *, tiny: bool) -> SamplingCost:
        """Of a step, and of decoding an image of (height, width) px; `tiny`: guidance has a tiny decoder."""
        guiding = TINY_DECODER_TFLOP if tiny else DECODER_TFLOP
        return SamplingCost(self.step.at(size_px), guiding.at(size_px), DECODER_TFLOP.at(size_px))

    def memory(self, compute: ComputeSettings, size_px: tuple[int, int], *, tiny: bool) -> SamplingMemory:
        """Of a card, for images of (height, width) px, as `compute` says."""
        guiding = TINY_GRADIENT_GIB if tiny else DECODER_GRADIENT_GIB
        element_bytes = DTYPES[compute.dtype].itemsize
        return SamplingMemory(
            weights_gib=1e6 * (self.million_weights * element_bytes + AUTOENCODERS_MILLION * 4) / GIB,
            network_gib=self.network.at(size_px) * element_bytes / 2,
            network_gradient_gib=self.gradient.at(size_px) * element_bytes / 2,
            guidance_decoder_gib=guiding.at(size_px),
            decoder_gib=DECODER_GIB.at(size_px),
            decodes_together=not compute.vae_slicing,
        )


@dataclass(frozen=True)
class CountedModels:
    """`Counts` of a kind of generators.

    Args:
        models: hub id of a text-to-image model -> what its family takes; one that is not known by its id is taken for
            the first.
    """

    models: Mapping[str, CountedFamily]

    def published(self, model_id: str, size_px: tuple[int, int]) -> tuple[SamplingCost, SamplingMemory] | None:
        """In bfloat16 with a tiny decoder, as recipes run it."""
        family = self.models.get(model_id)
        if family is None:
            return None
        return family.cost(size_px, tiny=True), family.memory(AS_IN_RECIPES, size_px, tiny=True)

    def cost(self, settings: PipelineSettings, size_px: tuple[int, int]) -> SamplingCost:
        """As `CountedFamily.cost`."""
        return self._family(settings).cost(size_px, tiny=settings.tiny_decoder is not None)

    def memory(self, settings: PipelineSettings, size_px: tuple[int, int]) -> SamplingMemory:
        """As `CountedFamily.memory`."""
        return self._family(settings).memory(settings.compute, size_px, tiny=settings.tiny_decoder is not None)

    def _family(self, settings: PipelineSettings) -> CountedFamily:
        return self.models.get(settings.model, next(iter(self.models.values())))
