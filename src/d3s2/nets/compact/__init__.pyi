from .unet import CompactUNet as CompactUNet
