"""What a step of a text-to-image family costs, for plans of runs that cannot be tried out here.

Source: `python benchmarks/generator_costs.py`: torch.utils.flop_counter on the published shapes, two operations a
multiply-add. Convolutions and projections grow with the number of pixels, attention with its square.
"""

from typing import NamedTuple

from d3s2.generator.layout_to_image import SamplingCost
from d3s2.generator.text_to_image.settings import TextToImageSettings

COUNTED_PX = 512 * 512


class Counted(NamedTuple):
    """TFLOP of a forward pass on an image: fixed + by_pixels p + by_pairs p^2, p = pixels / 512^2."""

    fixed: float
    by_pixels: float
    by_pairs: float

    def at(self, size_px: tuple[int, int]) -> float:
        """Of an image of (height, width) px."""
        pixels = size_px[0] * size_px[1] / COUNTED_PX
        return self.fixed + self.by_pixels * pixels + self.by_pairs * pixels**2


DECODER, TINY_DECODER = Counted(0.0, 2.4804, 0.0344), Counted(0.0, 0.1414, 0.0)
"""Of the autoencoders of all families; their latents' 4 or 16 channels make less than a thousandth."""


def sampling_cost(settings: TextToImageSettings, size_px: tuple[int, int], step: Counted) -> SamplingCost:
    """A step of the diffusion network with its ControlNet, and a decode for guidance."""
    guiding = DECODER if settings.tiny_decoder is None else TINY_DECODER
    return SamplingCost(step.at(size_px), guiding.at(size_px), DECODER.at(size_px))
