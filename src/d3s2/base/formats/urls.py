"""Folders and URLs that fsspec knows."""

from typing import Any

import fsspec

from d3s2.base.errors import UsageError


def open_store(url: str, what: str, **options: Any) -> tuple[Any, str]:
    """The file system of a URL, and the path in it without a slash at its end.

    Args:
        what: the URL and what it is for, for the sentence.
        options: of the file system.

    Raises:
        UsageError: fsspec knows no such URL, or the package that it needs is missing.
    """
    try:
        store, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as problem:
        raise UsageError(
            f"{what} cannot be opened ({problem}); give a folder or a URL that fsspec knows (for s3:// pip install "
            "'d3s2[s3]')."
        ) from None
    return store, root.rstrip("/")
