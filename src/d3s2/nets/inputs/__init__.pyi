from .padding import edge_padded as edge_padded
from .preprocessing import Preprocessing as Preprocessing
from .windows import Windows as Windows
