"""The state of a training between two steps, in one file that is there whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from d3s2.base.errors import StoreError
from d3s2.base.files import writing


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state.

    Args:
        path: of the file.
        parts: all that changes from step to step (model, optimiser ...), each with `state_dict` and `load_state_dict`.
    """

    path: Path
    parts: Mapping[str, Any]

    def save(self, step: int, wall_s: float) -> None:
        """Writes the parts as they are after `step` steps, and the seconds that these took."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        with writing(self.path) as temporary:
            torch.save({"step": step, "wall_s": wall_s, **states}, temporary)

    def load(self, device: torch.device) -> tuple[int, float]:
        """Steps and seconds that were done, 0 where there is no file; the parts take the state of that moment.

        Raises:
            StoreError: the file does not fit the parts.
        """
        if not self.path.is_file():
            return 0, 0.0
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(content[name])
        except Exception as error:
            raise StoreError(
                f"{self.path}: this checkpoint does not fit the model ({' '.join(str(error).split())[:200]}); "
                "delete it to start anew."
            ) from None
        return int(content["step"]), float(content["wall_s"])
