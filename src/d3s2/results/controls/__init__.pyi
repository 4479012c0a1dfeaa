from .best_real import RealChoice as RealChoice
from .comparison import CONFIDENCE as CONFIDENCE
from .comparison import Comparison as Comparison
from .comparison import compared_by_seed as compared_by_seed
