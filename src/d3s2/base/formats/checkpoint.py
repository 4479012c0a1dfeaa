"""The state of a training between two steps, in one file that is complete or absent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import regular_size, writing
from d3s2.base.formats.json_text import shortened
from d3s2.base.formats.tensors import MAX_FILE_BYTES


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
        with writing(self.path) as temporary, temporary.open("wb") as stream:  # of a path torch forgets why it failed
            torch.save({"step": step, "wall_s": wall_s, **states}, stream)

    def load(self, device: torch.device) -> tuple[int, float]:
        """Steps and seconds that were done, 0 where there is no file; the parts take the state of that moment.

        Raises:
            StoreError: the file does not fit the parts.
        """
        if not self.path.exists():
            return 0, 0.0
        regular_size(self.path, "a checkpoint", MAX_FILE_BYTES)
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            step, wall_s = content["step"], content["wall_s"]
            if type(step) is not int or step < 0 or type(wall_s) is not float or not 0 <= wall_s < math.inf:
                raise ValueError("its step or its time is no number")
            for name, part in self.parts.items():
                _require_same_kind(part.state_dict(), content[name], name)
                part.load_state_dict(content[name])
                _require_fitting_state(part, name)
        except Exception as error:
            raise StoreError(
                f"{self.path}: this checkpoint does not fit the model ({shortened(error)}); delete it to start anew."
            ) from None
        return step, wall_s


def _require_same_kind(fresh: Any, stored: Any, where: str) -> None:
    """Raises ValueError where a stored state has other keys, types or shapes than a fresh one has in their place.

    What is empty in a fresh one (the moments of an optimiser, before its first step) says nothing of the stored one.
    """
    if isinstance(fresh, Tensor):
        if not isinstance(stored, Tensor) or stored.shape != fresh.shape or stored.dtype != fresh.dtype:
            raise ValueError(f"{where} is no {fresh.dtype} tensor of shape {list(fresh.shape)}")
        if stored.is_floating_point() and not stored.isfinite().all():
            raise ValueError(f"{where} holds numbers that are not finite")
    elif isinstance(fresh, dict):
        if not isinstance(stored, dict) or (fresh and fresh.keys() != stored.keys()):
            raise ValueError(f"{where} has other entries")
        for key, value in fresh.items():
            _require_same_kind(value, stored[key], f"{where}.{key}")
    elif isinstance(fresh, list | tuple):
        if type(stored) is not type(fresh) or (fresh and len(stored) != len(fresh)):
            raise ValueError(f"{where} has another length")
        for index, value in enumerate(fresh):
            _require_same_kind(value, stored[index], f"{where}.{index}")
    elif isinstance(fresh, bool | str) and type(stored) is not type(fresh):
        raise ValueError(f"{where} is no {type(fresh).__name__}")
    elif isinstance(fresh, int | float) and not (isinstance(stored, int | float) and math.isfinite(stored)):
        raise ValueError(f"{where} is no number")


def _require_fitting_state(part: Any, where: str) -> None:
    """Raises ValueError where the moments of an optimiser are not of the shapes of their weights."""
    states = getattr(part, "state", {})
    if len({frozenset(state) for state in states.values()}) > 1:
        raise ValueError(f"{where}: its weights have different moments")
    for weight, state in states.items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or (value.ndim and value.shape != weight.shape):
                raise ValueError(f"{where}: '{name}' of a weight has not its shape")
            if not value.isfinite().all():
                raise ValueError(f"{where}: '{name}' of a weight holds numbers that are not finite")
