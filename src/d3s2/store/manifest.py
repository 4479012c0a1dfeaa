"""manifest.json: what a distilled set says of itself, with a digest of that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from d3s2.base.errors import DataError, StoreError
from d3s2.base.formats.files import read_json
from d3s2.base.formats.records import Count, own_digest, record_from
from d3s2.data import LabelSpace
from d3s2.store.items import MANIFEST, UNFINISHED, own_file

FORMAT = "d3s2-distilled-set"
FORMAT_VERSION = 2
READABLE = (1, 2)
"""Version 1 has no digests of the card and of the manifest itself."""

OWN_DIGEST = "manifest_sha256"
DIGESTS = (OWN_DIGEST, "card_sha256")
PROVENANCE = ("config", "inputs", "models", "versions", "commit", "cost")
"""What a manifest must say of where a set comes from. Whatever varies between runs of one call stands in `cost`."""

WRITTEN_HERE = (
    "format",
    "format_version",
    "digest",
    "label_space",
    "num_items",
    "ignored_px",
    "bytes",
    "items_sha256",
    "plan",
)
RESTORE = "was it changed by hand? Restore it from a copy"

Byte = Annotated[int, Field(ge=0, le=255)]


class LabelSpaceRecord(BaseModel):
    """The classes of a set, as `LabelSpace.as_record` describes them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    ignore: Literal[255] = 255


class ManifestRecord(BaseModel):
    """The types of what a manifest holds. Keys that verify can do without may be missing; further ones may be there."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)

    format: Literal["d3s2-distilled-set"]
    format_version: int
    label_space: LabelSpaceRecord
    name: str | None = None
    digest: str = ""
    config: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    commit: str | dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    num_items: Count = 0
    ignored_px: Count = 0
    bytes: Count = 0
    items_sha256: str = ""
    card_sha256: str = ""
    manifest_sha256: str = ""
    plan: dict[str, str] = Field(default_factory=dict)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished set; raises StoreError that says what the folder is instead, or what is wrong.

    Examples:
        >>> from pathlib import Path
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> made = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> from d3s2.store import read_manifest
        >>> read_manifest(Path("runs/small"))["config"]["synthesize"]["steps"]
        4
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder, expected one that `d3s2 distill` made.")
    if (folder / UNFINISHED).is_dir() and not path.exists():
        raise StoreError(f"{folder}: this distilled set is unfinished; run the call that began it again, it resumes.")
    if not path.exists():
        raise StoreError(f"{folder}: has no {MANIFEST}, so it is no distilled set; give the folder of one.")
    manifest = read_json(own_file(folder, MANIFEST), RESTORE)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: was not written by d3s2; give the folder of a distilled set.")
    if manifest.get("format_version") not in READABLE:
        raise StoreError(
            f"{path}: is of format version {manifest.get('format_version')}, this d3s2 reads versions 1 to "
            f"{FORMAT_VERSION}; use the d3s2 that wrote it."
        )
    record_from(manifest, ManifestRecord, str(path), RESTORE)
    return manifest


def space_of(manifest: Mapping[str, Any], where: Path) -> LabelSpace:
    """The classes of a manifest; raises StoreError where they contradict themselves."""
    try:
        return LabelSpace.from_record(manifest["label_space"])
    except DataError as error:
        raise StoreError(f"{where}: {error}") from None


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Of all that a manifest says but its cost, which differs between two runs of one call."""
    return own_digest(manifest, OWN_DIGEST, "cost")
