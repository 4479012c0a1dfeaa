"""How a run says which files of a model are read; light to import."""

from pydantic import Field

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED


class SourceSettings(Config):
    """How files of a model are found."""

    offline: bool = Field(default=False, json_schema_extra=UNTOUCHED)
    """Never ask the network, read folders and the local cache only."""
    pickled: bool = False
    """Read pickled weights too (.bin, .ckpt); only for files whose source is trusted."""
    variant: str | None = None
    """Of the weight files, for example 'fp16'."""
