"""Networks that come with the package: 'shipped:scenes/teacher' is a folder inside it."""

from pathlib import Path

from d3s2.base.names import choose

SHIPPED = "shipped:"
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def resolve_source(source: str) -> str:
    """A hub id or folder as it is; 'shipped:scenes/teacher' as a folder inside the package.

    Raises:
        UsageError: no such network is shipped.

    Examples:
        >>> from pathlib import Path
        >>> from d3s2.hub import resolve_source
        >>> Path(resolve_source("shipped:scenes/teacher")).is_dir(), resolve_source("owner/name")
        (True, 'owner/name')
    """
    if not source.startswith(SHIPPED):
        return source
    found = {f"{SHIPPED}{path.relative_to(PRETRAINED).as_posix()}": path for path in PRETRAINED.glob("*/*")}
    return str(choose(found, source, "network"))
