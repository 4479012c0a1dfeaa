"""The metrics that are known; nothing is imported for their names."""

from typing import Any

from d3s2.base.tables import Table

METRICS: Table[Any] = Table(
    "metric",
    {
        "miou": "d3s2.metrics.formulas:MIOU",
        "tail_miou": "d3s2.metrics.formulas:TAIL_MIOU",
        "boundary_iou": "d3s2.metrics.formulas:BOUNDARY_IOU",
        "fw_iou": "d3s2.metrics.formulas:FW_IOU",
        "pixel_accuracy": "d3s2.metrics.formulas:PIXEL_ACCURACY",
    },
)
"""A `Metric` of `d3s2.metrics.metric`, or a function of its `Counts`; in the order of tables.

A new metric is a function, and a line here; a user's own one needs not even the line.
"""

MIOU = "miou"
TAIL_MIOU = "tail_miou"
"""By which sets are compared in every table; figures show the second beside it."""
