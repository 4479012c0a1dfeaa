from .local import Devices as Devices
from .local import num_workers as num_workers
from .local import places_for as places_for
from .local import side_by_side as side_by_side
