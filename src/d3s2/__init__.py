"""d3s2: distils a segmentation data set into a small synthetic one.

    import d3s2
    distilled = d3s2.distill("scenes", out="runs/scenes")       # a data set: ids, image(id), mask(id)
    results = d3s2.evaluate("scenes", out="runs/scenes")        # a table: sets, mIoU over seeds

Importing d3s2 does nothing; what a name needs is imported when it is first used.
"""

from importlib import import_module
from typing import Any

__all__ = ["RunConfig", "distill", "evaluate", "load_run", "select", "write_report"]

_HOMES = {"RunConfig": "d3s2.pipeline.config", "load_run": "d3s2.recipes"}


def __getattr__(name: str) -> Any:
    if name == "__version__":  # pyproject.toml alone says it
        return import_module("importlib.metadata").version("d3s2")
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "d3s2.api")), name)
    raise AttributeError(f"module 'd3s2' has no attribute '{name}'")
