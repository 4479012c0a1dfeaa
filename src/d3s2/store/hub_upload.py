"""publish: an export as a data set of the Hugging Face hub."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.files import read_text
from d3s2.base.progress import SILENT, Progress
from d3s2.store.exporting import export
from d3s2.store.items import CARD

PUBLISHED = "hf"
"""The format that is uploaded: the hub shows its pictures, and Croissant describes it."""


@dataclass(frozen=True)
class Upload:
    """What is uploaded, or would be.

    Args:
        repo_id: the data set on the hub, `owner/name`.
        files: path and bytes of each file.
        card: the text of README.md.
        address: where it lies; None for a dry run.
    """

    repo_id: str
    files: tuple[tuple[str, int], ...]
    card: str
    address: str | None = None

    def as_text(self) -> str:
        """A line for each file, and the card."""
        total = sum(size for _, size in self.files)
        lines = [f"  {size:>12,} bytes  {name}" for name, size in self.files]
        verb = f"Uploaded to {self.address}" if self.address else f"Would upload to the data set {self.repo_id}"
        head = f"{verb}: {len(self.files)} files, {total:,} bytes"
        return "\n".join([head, *lines] if self.address else [head, *lines, "", f"{CARD}:", self.card])


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
    endpoint: str | None = None,
) -> Upload:
    """Exports a set as Parquet with its card and Croissant metadata, and uploads that in one commit.

    Args:
        folder: a finished set.
        repo_id: the data set on the hub, `owner/name`; made where it is not there.
        private: whether one that is made is only seen by its owner.
        dry_run: upload nothing; needs no network and leaves no file.
        progress: where the work is told.
        endpoint: the address of a hub of one's own.

    Raises:
        UsageError: `repo_id` is no name of a data set.
        StoreError: the set is unfinished or damaged, or the hub refused the upload or was not reached.
    """
    _check(repo_id)
    with tempfile.TemporaryDirectory(prefix="d3s2-") as scratch:
        place = export(folder, Path(scratch) / "set", PUBLISHED, progress)
        paths = sorted(path for path in place.rglob("*") if path.is_file())
        files = tuple((path.relative_to(place).as_posix(), path.stat().st_size) for path in paths)
        card = read_text(place / CARD, "the card")
        if dry_run:
            return Upload(repo_id, files, card)
        return Upload(repo_id, files, card, _upload(place, repo_id, private, endpoint))


def _check(repo_id: str) -> None:
    expected = "expected owner/name, of letters, digits, '-', '_' and '.'"
    if repo_id.count("/") != 1:
        raise UsageError(f"'{repo_id}' names no data set of the hub: {expected}.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise UsageError(f"'{repo_id}' names no data set of the hub: {expected}.") from None


def _upload(place: Path, repo_id: str, private: bool, endpoint: str | None) -> str:
    hub = HfApi(endpoint=endpoint)
    try:
        hub.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo_id, repo_type="dataset", folder_path=place, commit_message="Distilled set, exported by d3s2"
        )
    except Exception as error:  # of HTTP, of the network, of a token that is not there: each has classes of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(
            f"{repo_id}: was not uploaded ({reason}); log in with `hf auth login`, check that the name is yours and "
            "that the hub can be reached, and run the same call again."
        ) from None
    return str(done.repo_url)
