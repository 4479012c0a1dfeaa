from .counts import MaskCensus as MaskCensus
from .take import take_census as take_census
