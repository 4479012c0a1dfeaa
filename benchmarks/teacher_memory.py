"""Memory that a teacher takes while it guides, counted at the published shapes without weights and without a GPU.

One image of 512 x 512 px, 150 classes, all in float32: the forward pass of the frozen network, the segmentation energy,
and the way back to the image. Counted as in generator_costs.py; the weights and the image come on top.

    python benchmarks/teacher_memory.py --json benchmarks/teacher-memory_DATE.json
"""

import argparse
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    EomtConfig,
    EomtForUniversalSegmentation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    ResNetConfig,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from d3s2.base.formats.files import write_json
from d3s2.base.machine.runtime import commit, versions
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import NETWORKS, frozen
from d3s2.planning.living import peak_gib, weights_gib
from d3s2.teacher.losses import segmentation_consistency

warnings.filterwarnings("ignore")
SIZE_PX, CLASSES = 512, 150
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def swin_large(**others: Any) -> SwinConfig:
    """Source: arXiv 2103.14030, section 3.3."""
    shape = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12}
    return SwinConfig(**shape, image_size=384, out_features=STAGES, **others)


def mask2former_large() -> Any:
    """Mask2Former on Swin-L; its head is that of all sizes."""
    return Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin_large(), num_labels=CLASSES))


def maskformer() -> Any:
    """MaskFormer on ResNet-50."""
    return MaskFormerForInstanceSegmentation(
        MaskFormerConfig(backbone_config=ResNetConfig(out_features=STAGES), num_labels=CLASSES)
    )


def eomt() -> Any:
    """EoMT-L on DINOv2 for squares of 512 px."""
    return EomtForUniversalSegmentation(EomtConfig(image_size=SIZE_PX, num_queries=100, num_labels=CLASSES))


def oneformer() -> Any:
    """OneFormer on Swin-L."""
    return OneFormerForUniversalSegmentation(
        OneFormerConfig(backbone_config=swin_large(), num_labels=CLASSES, num_queries=150, is_training=False)
    )


def upernet() -> Any:
    """UPerNet on Swin-S."""
    backbone = SwinConfig(depths=[2, 2, 18, 2], out_features=STAGES)
    return UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=backbone, auxiliary_in_channels=384, num_labels=CLASSES)
    )


FAMILIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "mask2former-swin-l": ("mask2former", mask2former_large),
    "maskformer-resnet-50": ("maskformer", maskformer),
    "eomt-l": ("eomt", eomt),
    "oneformer-swin-l": ("oneformer", oneformer),
    "upernet-swin-s": ("upernet", upernet),
}
"""Shapes that no student has."""
ASKING = ("oneformer-swin-l",)
"""Networks whose forward pass asks for numbers, so they are counted while they compute, with weights of zeros:
OneFormer compares the sizes of its scales, and looks for queries whose attention is masked everywhere."""
STUDENTS = (
    "mask2former-swin-t", "mask2former-swin-s", "segformer-b0", "segformer-b4", "upernet-swin-t",
    "upernet-convnext-t", "eomt-dinov3-l",
)  # fmt: skip


def network_of(name: str) -> AdaptedSegmenter:
    """A frozen teacher of a shape."""
    if name not in FAMILIES:
        return frozen(ARCHITECTURES.load(name).new(CLASSES, 16, 0))
    kind, make = FAMILIES[name]
    family = NETWORKS[kind]
    inputs = {"task_inputs": torch.zeros(77, dtype=torch.long)} if family.inputs is not None else None
    groups = tuple((label,) for label in range(CLASSES))
    return frozen(AdaptedSegmenter(make(), family, Preprocessing(divisor=family.divisor), groups, inputs=inputs))


def counted(name: str) -> dict[str, float]:
    """Of one shape, in GiB."""
    with torch.device("meta"):
        net = network_of(name)
    if hasattr(net.network, "attn_mask_probs"):
        count = len(net.network.attn_mask_probs)
        del net.network.attn_mask_probs
        net.network.attn_mask_probs = [1.0] * count  # EoMT asks for their values
    with nullcontext() if name in ASKING else FakeTensorMode(allow_non_fake_inputs=True):
        net = net.to_empty(device="cpu")
        for tensor in (*net.parameters(), *net.buffers()) if name in ASKING else ():
            tensor.zero_()
        images = torch.zeros(1, 3, SIZE_PX, SIZE_PX, requires_grad=True)
        masks = torch.zeros(1, SIZE_PX, SIZE_PX, dtype=torch.uint8)
        held = peak_gib(lambda: segmentation_consistency(net(images).scores, masks).sum().backward())
    return {"held_gib": round(held, 3), "weights_gib": round(weights_gib(net), 3)}


def main() -> None:
    """Counts every shape, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--only", nargs="+", choices=[*STUDENTS, *FAMILIES], default=[*STUDENTS, *FAMILIES])
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    for name in args.only:
        try:
            rows[name] = counted(name)
        except Exception as error:  # a row that failed stays, with why
            rows[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(name, rows[name], flush=True)
    if args.json is not None:
        told = {
            "benchmark": "teacher-memory",
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "command": "python benchmarks/teacher_memory.py",
            "versions": versions(),
            "size_px": SIZE_PX,
            "classes": CLASSES,
            "rows": rows,
        }
        write_json(args.json, told)


if __name__ == "__main__":
    main()
