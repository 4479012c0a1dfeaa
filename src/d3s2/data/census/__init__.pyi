from .counts import MaskCensus as MaskCensus
from .counts import MaskCount as MaskCount
from .take import Counted as Counted
from .take import Counter as Counter
from .take import count_items as count_items
from .take import is_counted as is_counted
from .take import take_census as take_census
