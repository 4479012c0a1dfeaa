"""What a step of Stable Diffusion costs, for plans of runs that cannot be tried out here.

Source: torch.utils.flop_counter on the shapes that diffusers builds, at 512 x 512 px, taken to grow with the number of
pixels; two operations a multiply-add.
"""

from d3s2.generator.layout_to_image import SamplingCost
from d3s2.generator.stable_diffusion.settings import StableDiffusionSettings

COUNTED_PX = 512 * 512
UNET_TFLOP = 0.803
DECODER_TFLOP, TINY_DECODER_TFLOP = 2.515, 0.141
"""Of Stable Diffusion 1.x; the tiny decoder is TAESD."""


def sampling_cost(
    settings: StableDiffusionSettings, size_px: tuple[int, int], controlnet_tflop: float = 0.0
) -> SamplingCost:
    """A step of the U-Net with what stands beside it, and a decode for guidance."""
    pixels = size_px[0] * size_px[1] / COUNTED_PX
    guiding = DECODER_TFLOP if settings.tiny_decoder is None else TINY_DECODER_TFLOP
    return SamplingCost((UNET_TFLOP + controlnet_tflop) * pixels, guiding * pixels, DECODER_TFLOP * pixels)
