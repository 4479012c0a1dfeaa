"""Which commit of a repository of the hub the files on this machine are of; light, because settings import it."""

import re
from pathlib import Path
from typing import Annotated

from huggingface_hub import constants
from pydantic import AfterValidator

from d3s2.base.errors import UsageError

REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
REPO = re.compile(r"(?=.{1,96}\Z)\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
"""An id of the hub, as huggingface_hub allows them; asking itself takes a quarter of a second to import."""


def _revision(text: str) -> str:
    if not REVISION.fullmatch(text):
        raise ValueError("Expected a commit, tag or branch of the hub's repository")
    return text


Revision = Annotated[str, AfterValidator(_revision)]
"""A commit, tag or branch; a whole commit hash alone means the same files for ever."""


def refuse_revision_of_folder(source: str | Path, revision: str | None) -> None:
    """Raises UsageError where a folder is given a revision, which only a repository of the hub has."""
    if revision is not None and Path(source).expanduser().exists():
        raise UsageError(
            f"{source}: is a folder on this machine, and the revision '{revision}' is for ids of the hub; leave the "
            "revision out, or give the id."
        )


def commit_of(source: str | Path | None, revision: str | None = None) -> str | None:
    """The commit that the cached files of a hub id are of; None for folders, and where the cache does not tell."""
    if source is None or Path(source).expanduser().exists():
        return None
    if not REPO.fullmatch(str(source)) or "--" in str(source):  # a folder that is not there, or not yet
        return None
    repo = Path(constants.HF_HUB_CACHE) / f"models--{str(source).replace('/', '--')}"
    wanted = revision or constants.DEFAULT_REVISION
    if (repo / "snapshots" / wanted).is_dir():
        return wanted
    reference = repo / "refs" / wanted
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def commits_of(**sources: tuple[str | Path | None, str | None]) -> dict[str, str]:
    """Part -> commit, of those (source, revision) that come from the hub."""
    found = {part: commit_of(source, revision) for part, (source, revision) in sources.items()}
    return {part: commit for part, commit in found.items() if commit is not None}
