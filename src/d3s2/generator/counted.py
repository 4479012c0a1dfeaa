"""What is counted on the shapes of published networks, for plans of runs that cannot be tried out here.

Source: `python benchmarks/generator_costs.py`: operations by torch.utils.flop_counter, memory by following each tensor
from its making to its end, in 16 bits with fused attention. Convolutions and projections grow with the number of
pixels, the operations of attention with its square.
"""

from typing import NamedTuple

from d3s2.generator.compute import DTYPES
from d3s2.generator.layout_to_image import SamplingMemory
from d3s2.generator.settings import ComputeSettings

COUNTED_PX = 512 * 512
GIB = 2**30


class Counted(NamedTuple):
    """TFLOP, or GiB, of a pass over an image: fixed + by_pixels p + by_pairs p^2, p = pixels / 512^2."""

    fixed: float
    by_pixels: float
    by_pairs: float = 0.0

    def at(self, size_px: tuple[int, int]) -> float:
        """Of an image of (height, width) px."""
        pixels = size_px[0] * size_px[1] / COUNTED_PX
        return self.fixed + self.by_pixels * pixels + self.by_pairs * pixels**2


class CountedMemory(NamedTuple):
    """What a family's diffusion network takes.

    Args:
        million_weights: with its ControlNet.
        network: GiB of a pass over one image, in 16 bits.
        gradient: of such a pass and the way back to the latent.
    """

    million_weights: float
    network: Counted
    gradient: Counted


AUTOENCODERS_MILLION = 86.1
"""Weights of the autoencoder that all families have and of a tiny one."""
DECODER, DECODER_GRADIENT, TINY_GRADIENT = Counted(0.0, 0.7501), Counted(0.0, 5.6857), Counted(0.0, 0.6652)
"""GiB of decoding one image in float32: alone, and with the way back to the latent."""


def sampling_memory(
    family: CountedMemory, compute: ComputeSettings, size_px: tuple[int, int], *, tiny: bool
) -> SamplingMemory:
    """What a generator of the family takes as `compute` says.

    Args:
        size_px: (height, width) of an image.
        tiny: whether a tiny decoder decodes for guidance.
    """
    element_bytes = DTYPES[compute.dtype].itemsize
    return SamplingMemory(
        weights_gib=1e6 * (family.million_weights * element_bytes + AUTOENCODERS_MILLION * 4) / GIB,
        network_gib=family.network.at(size_px) * element_bytes / 2,
        network_gradient_gib=family.gradient.at(size_px) * element_bytes / 2,
        guidance_decoder_gib=(TINY_GRADIENT if tiny else DECODER_GRADIENT).at(size_px),
        decoder_gib=DECODER.at(size_px),
        decodes_together=not compute.vae_slicing,
    )
