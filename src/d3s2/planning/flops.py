"""Work of the published networks, and what a GPU gets through: for plans of runs that cannot be tried out here.

A forward pass of an image is counted in TFLOP at 512 x 512 px, two operations a multiply-add, and taken to grow with
the number of pixels. A gradient by the weights costs two passes more, one by the image a single one.

Source: torch.utils.flop_counter on the shapes that `nets.fresh` and diffusers build, with 150 classes; of Swin-L and of
ResNet-50, and of UPerNet on Swin-S, the papers' figures (arXiv 2112.01527, 2107.06278, 2103.14030), doubled and brought
to this size.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch

from d3s2.pipeline.config import RunConfig

Work = Literal["diffusion", "segmentation"]
COUNTED_PX = 512 * 512

ARCHITECTURE_TFLOP: Mapping[str, float] = {
    "segformer-b0": 0.017,
    "segformer-b1": 0.032,
    "segformer-b2": 0.125,
    "segformer-b3": 0.158,
    "segformer-b4": 0.191,
    "segformer-b5": 0.223,
    "mask2former-swin-t": 0.146,
    "mask2former-swin-s": 0.195,
    "mask2former-swin-b": 0.298,
    "upernet-swin-t": 0.476,
    "upernet-convnext-t": 0.471,
}
"""Architecture of a student -> one forward pass."""

NETWORK_TFLOP: Mapping[str, float] = {
    "facebook/mask2former-swin-tiny-ade-semantic": ARCHITECTURE_TFLOP["mask2former-swin-t"],
    "facebook/mask2former-swin-small-ade-semantic": ARCHITECTURE_TFLOP["mask2former-swin-s"],
    "facebook/mask2former-swin-large-ade-semantic": 0.516,
    "facebook/maskformer-resnet50-coco-stuff": 0.106,
    "nvidia/segformer-b0-finetuned-ade-512-512": ARCHITECTURE_TFLOP["segformer-b0"],
    "nvidia/segformer-b4-finetuned-ade-512-512": ARCHITECTURE_TFLOP["segformer-b4"],
    "openmmlab/upernet-swin-tiny": ARCHITECTURE_TFLOP["upernet-swin-t"],
    "openmmlab/upernet-swin-small": 0.519,
    "openmmlab/upernet-convnext-tiny": ARCHITECTURE_TFLOP["upernet-convnext-t"],
}
"""Published network -> one forward pass."""

UNET_TFLOP, CONTROLNET_TFLOP = 0.803, 0.283
DECODER_TFLOP, TINY_DECODER_TFLOP = 2.515, 0.141
"""Of Stable Diffusion 1.x; the tiny decoder is TAESD."""


class Gpu(NamedTuple):
    """A card and its dense 16-bit matrix operations a second, in TFLOP, by its data sheet."""

    name: str
    tflops: float


GPUS = (
    Gpu("A100", 312.0),
    Gpu("H100", 989.0),
    Gpu("H200", 989.0),
    Gpu("L40S", 362.0),
    Gpu("V100", 125.0),
    Gpu("T4", 65.0),
    Gpu("RTX 4090", 165.0),
    Gpu("RTX 3090", 71.0),
)
REFERENCE = GPUS[0]
"""What GPU hours are given for on a machine without a card that is named here."""

SUSTAINED: Mapping[Work, float] = {"diffusion": 0.15, "segmentation": 0.023}
"""Share of a card's operations that a network gets. Source: segmentation, FreeMask's log of Mask2Former Swin-S, 0.41 s
a step of 16 crops of 512 x 512 px on 8 V100; diffusion, an assumption: FreeDoM's 84 to 120 s an image with ControlNet
on an RTX 3090 come to 0.12 to 0.18."""


def gpu_of(device: torch.device) -> Gpu:
    """The card that `device` is, or the one for reference."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((gpu for gpu in GPUS if gpu.name in name), REFERENCE)


def seconds_on(gpu: Gpu, work: Work, tflop: float) -> float:
    """How long a card needs for so many operations."""
    return tflop / (gpu.tflops * SUSTAINED[work])


def image_s(config: RunConfig, gpu: Gpu) -> float | None:
    """GPU seconds for all images of one mask; None where the teacher is not a published one."""
    settings, guidance, teacher = config.synthesize, config.synthesize.guidance, teacher_tflop(config)
    if teacher is None:
        return None
    network = UNET_TFLOP + (CONTROLNET_TFLOP if config.generator.kind == "controlnet" else 0.0)
    network *= pixel_share(config.data.size) * (1 if settings.guidance_scale == 1 else 2)
    tiny = config.generator.settings.get("tiny_decoder")
    decoder = (TINY_DECODER_TFLOP if tiny else DECODER_TFLOP) * pixel_share(config.data.size)
    images = settings.candidates + (1 if settings.unguided_too else 0)
    # of each traced step the teacher sees the prediction once; a gradient is a pass there and one back
    in_window = settings.steps * (guidance.window[1] - guidance.window[0])
    taken = settings.steps + in_window * (settings.repeats - 1)
    traced = taken / settings.trace_every if settings.trace_every else 0.0
    gradients = settings.candidates * in_window * settings.repeats * guidance.inner_steps / guidance.every
    through = 0.0 if guidance.mode == "fast" else network
    diffusion = images * (taken * network + traced * decoder + DECODER_TFLOP * pixel_share(config.data.size))
    diffusion += gradients * (2 * decoder + through)
    seen = images * (traced + 1) * teacher + gradients * 2 * teacher * max(1, guidance.views)
    return seconds_on(gpu, "diffusion", diffusion) + seconds_on(gpu, "segmentation", seen)


def teacher_tflop(config: RunConfig) -> float | None:
    """One forward pass of the run's teacher; None where it is not a published network."""
    known = NETWORK_TFLOP.get(config.teacher.source or "")
    if known is None:
        return None
    height, width = config.data.size
    seen = config.teacher.size_px
    if isinstance(seen, int):
        seen = (seen * height // min(height, width), seen * width // min(height, width))
    return known * pixel_share(seen or (height, width))


def pixel_share(size: tuple[int, int]) -> float:
    """Pixels of an image against those that passes are counted at."""
    return size[0] * size[1] / COUNTED_PX


def basis(gpu: Gpu) -> tuple[str, str]:
    """What such estimates rest on, for a person."""
    shares = " and ".join(f"{100 * share:g} % of that in {work} networks" for work, share in SUSTAINED.items())
    return (
        "GPU times are not measured: operations counted on the networks' shapes, on one GPU.",
        f"Assumed: an {gpu.name}, {gpu.tflops:g} TFLOP/s (dense, 16 bit, by its data sheet), gets through {shares}.",
    )
