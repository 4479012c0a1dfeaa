from .image_files import JPEG_QUALITY as JPEG_QUALITY
from .image_files import jpeg_bytes as jpeg_bytes
from .image_files import png_bytes as png_bytes
from .image_files import read_image as read_image
from .image_files import read_mask as read_mask
from .places import is_folder as is_folder
from .places import place_of as place_of
