"""Settings of the data of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED, touches
from d3s2.base.ranges import NotNegative, SidePx

Url = Annotated[str, Field(pattern=r"^[a-z][^/]*://")]
Resize = Literal["stretch", "crop", "pad"]


class DataSettings(Config):
    """Which data, at which working size."""

    renamed: ClassVar[Mapping[str, str]] = {"fit": "resize"}

    dataset: str
    """A known name (`d3s2 doctor` lists them) or the path of a YAML data set file."""
    root: Url | Path | None = Field(default=None, json_schema_extra=UNTOUCHED)
    """Where the data set lies, a folder or a URL that fsspec knows (s3://bucket/data); `scenes` needs none."""
    train: str = "train"
    """The split that is distilled."""
    test: str = Field(default="test", json_schema_extra=touches("student", "judges"))
    """The split that students are scored on."""
    val: str = Field(default="val", json_schema_extra=UNTOUCHED)
    """The split that choices are made on (`best-real`, `evaluate.split=val`); read only where one is asked for."""
    size: tuple[SidePx, SidePx]
    """Working size, height and width in px."""
    resize: Resize = "stretch"
    """What happens to another aspect ratio."""
    memory_gib: NotNegative = Field(default=2.0, json_schema_extra=UNTOUCHED)
    """A split up to this size (4 bytes a pixel) is held in memory, a larger one read as it is needed; same numbers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the data set, for example {count: 2000} per split for `scenes`."""

    @model_validator(mode="after")
    def _splits_differ(self) -> "DataSettings":
        if self.train == self.test:
            raise ValueError(
                f"data.train and data.test are both '{self.train}', so that students would be scored on the pairs that "
                "they and the teacher learnt from; name another split in data.test"
            )
        return self
