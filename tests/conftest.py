"""Shapes in signatures are executed: jaxtyping and beartype check every call that the tests make."""

import sys
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("d3s2", "beartype.beartype")
sys.path.insert(0, str(Path(__file__).resolve().parent))  # tiny_run, tiny_networks, tiny_stable_diffusion
