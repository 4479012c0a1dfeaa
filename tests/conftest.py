"""Shapes in signatures are executed: jaxtyping and beartype check every call that the tests make."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("d3s2", "beartype.beartype")
sys.path.insert(0, str(Path(__file__).resolve().parent))  # tiny_run, tiny_networks, tiny_stable_diffusion


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """What is marked gpu is skipped where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    absent = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    # `reproducible` asks for deterministic algorithms and takes the others where there are none
    known = pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
    for item in marked:
        item.add_marker(absent)
        item.add_marker(known)
