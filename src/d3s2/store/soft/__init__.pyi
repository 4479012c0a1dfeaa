from .files import read_soft as read_soft
from .files import soft_path as soft_path
from .files import write_soft as write_soft
from .labels import SoftLabels as SoftLabels
from .labels import cell_px_for as cell_px_for
from .labels import soften as soften
