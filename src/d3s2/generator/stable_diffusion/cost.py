"""What a step of Stable Diffusion costs, for plans of runs that cannot be tried out here.

Source: torch.utils.flop_counter on the shapes that diffusers builds, at 512 x 512 px, taken to grow with the number of
pixels; two operations a multiply-add.
"""

from d3s2.generator.counted import Counted, CountedMemory, sampling_memory
from d3s2.generator.layout_to_image import SamplingCost, SamplingMemory
from d3s2.generator.stable_diffusion.settings import StableDiffusionSettings

COUNTED_PX = 512 * 512
UNET_TFLOP = 0.803
DECODER_TFLOP, TINY_DECODER_TFLOP = 2.515, 0.141
"""Of Stable Diffusion 1.x; the tiny decoder is TAESD."""

MEMORY = CountedMemory(859.5, Counted(0.0, 0.0635), Counted(0.0072, 0.7421))
MEMORY_CONTROLNET = CountedMemory(1220.8, Counted(0.0, 0.081), Counted(0.0052, 1.0209))
"""Without a ControlNet, and with one."""


def memory_of(
    settings: StableDiffusionSettings, size_px: tuple[int, int], family: CountedMemory = MEMORY
) -> SamplingMemory:
    """What sampling takes on a card."""
    return sampling_memory(family, settings.compute, size_px, tiny=settings.tiny_decoder is not None)


def sampling_cost(
    settings: StableDiffusionSettings, size_px: tuple[int, int], controlnet_tflop: float = 0.0
) -> SamplingCost:
    """A step of the U-Net with what stands beside it, and a decode for guidance."""
    pixels = size_px[0] * size_px[1] / COUNTED_PX
    guiding = DECODER_TFLOP if settings.tiny_decoder is None else TINY_DECODER_TFLOP
    return SamplingCost((UNET_TFLOP + controlnet_tflop) * pixels, guiding * pixels, DECODER_TFLOP * pixels)
