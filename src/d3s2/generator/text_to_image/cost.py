"""What a step of a text-to-image family costs, for plans of runs that cannot be tried out here."""

from d3s2.generator.counted import Counted, CountedMemory, sampling_memory
from d3s2.generator.layout_to_image import SamplingCost, SamplingMemory
from d3s2.generator.text_to_image.settings import TextToImageSettings

DECODER, TINY_DECODER = Counted(0.0, 2.4804, 0.0344), Counted(0.0, 0.1414)
"""TFLOP of the autoencoders of all families; their latents' 4 or 16 channels make less than a thousandth."""


def sampling_cost(settings: TextToImageSettings, size_px: tuple[int, int], step: Counted) -> SamplingCost:
    """A step of the diffusion network with its ControlNet, and a decode for guidance."""
    guiding = DECODER if settings.tiny_decoder is None else TINY_DECODER
    return SamplingCost(step.at(size_px), guiding.at(size_px), DECODER.at(size_px))


def memory_of(settings: TextToImageSettings, size_px: tuple[int, int], family: CountedMemory) -> SamplingMemory:
    """What sampling takes on a card."""
    return sampling_memory(family, settings.compute, size_px, tiny=settings.tiny_decoder is not None)
