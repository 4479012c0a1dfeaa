"""What a reader of files that may be damaged is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from d3s2.nets.loading import load_segmenter


@dataclass(frozen=True)
class Reader:
    """Who reads a file.

    Args:
        file: below the run's folder; a pattern whose first match is taken.
        kind: of the file, a key of MUTATIONS.
        read: what is called with the run's folder.
        share: how often it is drawn, beside 1 for the others: readers that take long are drawn less.
    """

    file: str
    kind: str
    read: Callable[[Path], object]
    share: float = 1.0


def read_network(folder: Path, names: list[str], size_px: int = 32) -> None:
    load_segmenter(folder, names, device=torch.device("cpu"))(torch.zeros(1, 3, size_px, size_px))
