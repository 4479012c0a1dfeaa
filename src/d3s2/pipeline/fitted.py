"""What says that a fitted network is whole, and where it came from."""

from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.files import read_json, write_json
from d3s2.base.runtime import hardware, versions
from d3s2.pipeline.run import Run

FITTED = "fitted.json"


def is_fitted(run: Run, folder: Path) -> bool:
    """Whether the network in this folder is whole; raises StoreError where it was fitted on other data."""
    path = folder / FITTED
    if not path.exists():
        return False
    if read_json(path).get("data_digest") != run.data_digest:
        raise StoreError(
            f"{folder}: was fitted on other data than {run.train_data.name} holds now; choose another --out, or "
            "delete that folder to have it fitted anew."
        )
    return True


def write_fitted(run: Run, folder: Path, wall_s: float, settings: dict[str, Any], **more: Any) -> None:
    """Writes the provenance of the network in `folder`, last of all its files."""
    write_json(
        folder / FITTED,
        {
            "data": run.train_data.name,
            "data_digest": run.data_digest,
            "hardware": hardware(),
            "seed": run.config.seed,
            "settings": settings,
            "size": list(run.config.data.size),
            "versions": versions(),
            "wall_s": round(wall_s, 1),
            **more,
        },
    )
