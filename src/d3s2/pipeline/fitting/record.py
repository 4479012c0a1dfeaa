"""What says that a fitted network is whole, and where it came from."""

from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import sha256_file, write_json
from d3s2.base.formats.records import read_object, record_from
from d3s2.base.machine.runtime import hardware, versions
from d3s2.pipeline.run import Run

FITTED = "fitted.json"


def is_fitted(run: Run, folder: Path) -> bool:
    """Whether the network in this folder is whole; raises StoreError where it was fitted on other data or exchanged."""
    path = folder / FITTED
    if not path.exists():
        return False
    record = read_object(path)
    if record.get("data_digest") != run.data_digest:
        raise StoreError(
            f"{folder}: was fitted on other data than {run.train_data.name} holds now; choose another --out, or "
            "delete that folder to have it fitted anew."
        )
    weights = record_from(record.get("weights", {}), dict[str, str], f"{path}: key 'weights'")
    changed = sorted(name for name, digest in weights.items() if _digest(folder / name) != digest)
    if changed:
        raise StoreError(
            f"{folder / changed[0]}: is not the file that was fitted here, or is gone; put that one back, delete "
            f"{folder} to have it fitted anew, or name the network that you mean in the config of a new run."
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
            "weights": {path.relative_to(folder).as_posix(): sha256_file(path) for path in _weights(folder)},
            **more,
        },
    )


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def _digest(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None
