"""Names of the architectures, for configs: read without importing torch."""

SEGFORMER_NAMES = tuple(f"segformer-b{size}" for size in range(6))
MASK2FORMER_NAMES = tuple(f"mask2former-swin-{size}" for size in "tsb")
ARCHITECTURE_NAMES = ("compact-unet", *SEGFORMER_NAMES, *MASK2FORMER_NAMES, "upernet-swin-t", "upernet-convnext-t")
"""Keys of `nets.fresh.ARCHITECTURES`, in its order."""

UNET_GROUPS = 8
"""The compact U-Net normalises its channels in so many groups."""
