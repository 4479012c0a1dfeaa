"""Architectures that a student or a teacher can be trained as, by name."""

from typing import Any

from d3s2.base.tables import Table

UNET_GROUPS = 8
"""The compact U-Net normalises its channels in so many groups."""

ARCHITECTURES: Table[Any] = Table(
    "architecture",
    {
        "compact-unet": "d3s2.nets.fresh:COMPACT_UNET",
        "segformer-b0": "d3s2.nets.fresh:SEGFORMER_B0",
        "segformer-b1": "d3s2.nets.fresh:SEGFORMER_B1",
        "segformer-b2": "d3s2.nets.fresh:SEGFORMER_B2",
        "segformer-b3": "d3s2.nets.fresh:SEGFORMER_B3",
        "segformer-b4": "d3s2.nets.fresh:SEGFORMER_B4",
        "segformer-b5": "d3s2.nets.fresh:SEGFORMER_B5",
        "mask2former-swin-t": "d3s2.nets.fresh:MASK2FORMER_SWIN_T",
        "mask2former-swin-s": "d3s2.nets.fresh:MASK2FORMER_SWIN_S",
        "mask2former-swin-b": "d3s2.nets.fresh:MASK2FORMER_SWIN_B",
        "upernet-swin-t": "d3s2.nets.fresh:UPERNET_SWIN_T",
        "upernet-convnext-t": "d3s2.nets.fresh:UPERNET_CONVNEXT_T",
        "upernet-dinov3-convnext-t": "d3s2.nets.fresh:UPERNET_DINOV3_CONVNEXT_T",
        "linear-dinov3-vit-s": "d3s2.nets.fresh:LINEAR_DINOV3_VIT_S",
        "linear-dinov3-vit-b": "d3s2.nets.fresh:LINEAR_DINOV3_VIT_B",
        "eomt-dinov3-s": "d3s2.nets.fresh:EOMT_DINOV3_S",
        "eomt-dinov3-b": "d3s2.nets.fresh:EOMT_DINOV3_B",
        "eomt-dinov3-l": "d3s2.nets.fresh:EOMT_DINOV3_L",
    },
    needs=("new",),
)
