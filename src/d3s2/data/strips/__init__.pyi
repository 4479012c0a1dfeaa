from .datasets import ComposedDataset as ComposedDataset
from .datasets import StripsDataset as StripsDataset
from .datasets import with_composed as with_composed
from .names import composed_id as composed_id
from .names import place_of as place_of
from .names import sources_of as sources_of
from .names import strip_id as strip_id
