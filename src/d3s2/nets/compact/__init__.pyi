from .files import read_compact as read_compact
from .unet import CompactUNet as CompactUNet
