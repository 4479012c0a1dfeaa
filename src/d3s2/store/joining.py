"""join: finishes a distilled set whose items several processes made, from what lies in its folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_json, write_json
from d3s2.base.formats.records import RECORD, record_from
from d3s2.data import LabelSpace
from d3s2.store.items import MANIFEST, UNFINISHED
from d3s2.store.manifest import LabelSpaceRecord, space_of
from d3s2.store.writer import SetWriter

PROVENANCE_FILE = "provenance.json"
MOST_NAMED = 20


@dataclass(frozen=True)
class KeptRecord:
    """What lies beside the items of a set that is not finished yet."""

    __pydantic_config__ = RECORD

    manifest: dict[str, Any]
    label_space: LabelSpaceRecord


@dataclass(frozen=True)
class PlanRecord:
    """Which call began a set, as `SetWriter` writes it."""

    __pydantic_config__ = RECORD

    digest: str
    plan: dict[str, str]
    format: str
    format_version: int


def keep_provenance(folder: Path, provenance: Mapping[str, Any], space: LabelSpace) -> None:
    """Keeps what the manifest will say beside the items, for the process that finishes the set."""
    content = {"manifest": dict(provenance), "label_space": space.as_record()}
    write_json(folder / UNFINISHED / PROVENANCE_FILE, content)


def join_set(folder: Path, item_ids: Sequence[str], finished: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Looks at every file of every item, and finishes the set where none is missing; returns the number of items.

    Args:
        folder: of the set; held by this process.
        item_ids: those that it must have.
        finished: adds to the provenance what is known at the end.

    Raises:
        StoreError: items are missing or damaged; those that are damaged are forgotten, so that they are made again.
    """
    writer, provenance = _begun(folder)
    done = writer.done()
    missing = [item_id for item_id in item_ids if item_id not in done]
    for item_id in missing:
        writer.forget(item_id)
    if missing:
        named = ", ".join(missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise StoreError(
            f"{folder}: {len(missing)} of {len(item_ids)} items are missing or damaged "
            f"({named}{more}); repeat the call that makes them, all of it or a share, and join again."
        )
    writer.finish(finished(provenance))
    return len(item_ids)


def _begun(folder: Path) -> tuple[SetWriter, dict[str, Any]]:
    where = folder / UNFINISHED
    if not (where / PROVENANCE_FILE).exists() or not (where / "plan.json").exists():
        state = "is finished already" if (folder / MANIFEST).exists() else "holds no set that was begun"
        raise StoreError(f"{folder}: {state}; give the --out of the calls that share it.")
    kept = record_from(read_json(where / PROVENANCE_FILE), KeptRecord, str(where / PROVENANCE_FILE))
    plan = record_from(read_json(where / "plan.json"), PlanRecord, str(where / "plan.json"))
    space = space_of({"label_space": kept.label_space.model_dump()}, where)
    return SetWriter(folder, plan.digest, space, plan.plan), kept.manifest
