"""Networks that come with the package: 'shipped:scenes/teacher' is a folder inside it."""

from pathlib import Path

SHIPPED = "shipped:"
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def resolve_source(source: str) -> str:
    """A hub id or folder as it is; 'shipped:scenes/teacher' as a folder inside the package."""
    return str(PRETRAINED / source.removeprefix(SHIPPED)) if source.startswith(SHIPPED) else source
