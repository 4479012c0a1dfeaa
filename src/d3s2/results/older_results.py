"""Results of format version 1, in today's form.

There a row had a pair of keys a score (`miou_mean`, `miou_std`), `miou_per_seed`, `iou_per_class`, and pairs of early
scores. Nothing is computed: numbers move to their place in `results.records`, which then checks them.
"""

from collections.abc import Mapping
from typing import Any

FORMAT_VERSION = 2

TITLES_1 = {
    "miou": "mIoU",
    "tail_miou": "tail mIoU",
    "boundary_iou": "boundary IoU",
    "fw_iou": "frequency-weighted IoU",
    "pixel_accuracy": "pixel accuracy",
}
"""The metrics of version 1."""

MOVED = {f"{name}_{end}" for name in TITLES_1 for end in ("mean", "std")}
MOVED |= {"miou_per_seed", "iou_per_class", "early_miou_mean", "early_miou_std"}


def in_todays_form(content: Mapping[str, Any]) -> dict[str, Any]:
    """What results.json holds, of version 1 or later, in today's form; later ones are left as they are."""
    if "format_version" in content:
        return dict(content)
    rows = _list(content.get("sets"))
    held = {key.removesuffix("_mean") for row in rows if isinstance(row, Mapping) for key in row}
    metrics = [{"name": name, "title": title} for name, title in TITLES_1.items() if name in held]
    found = {**content, "metrics": metrics, "format_version": FORMAT_VERSION}
    return found | ({"sets": [current_row(row) if isinstance(row, Mapping) else row for row in rows]} if rows else {})


def current_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `sets` in today's form; keys that version 1 did not know stay where they are."""
    if "scores" in row:
        return dict(row)
    scores = {
        name: {"mean": row[f"{name}_mean"], "std": row.get(f"{name}_std")}
        for name in TITLES_1
        if row.get(f"{name}_mean") is not None
    }
    # Of the other metrics it kept no seeds; of a row that was counted anew the seeds of mIoU may be unknown.
    seeds, classes = row.get("miou_per_seed"), row.get("iou_per_class")
    early = zip(_list(row.get("early_miou_mean")), _list(row.get("early_miou_std")), strict=False)
    return {key: value for key, value in row.items() if key not in MOVED} | {
        "scores": scores,
        "per_seed": {"miou": seeds} if seeds else {},
        "per_class": {"iou": classes} if classes else {},
        "early_miou": [{"mean": mean, "std": std} for mean, std in early],
    }


def _list(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one: what a damaged file holds is for the reader to name."""
    return value if isinstance(value, list) else []
