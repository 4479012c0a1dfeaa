"""Shapes in signatures are executed: jaxtyping and beartype check every call that the tests make."""

from jaxtyping import install_import_hook

install_import_hook("d3s2", "beartype.beartype")
