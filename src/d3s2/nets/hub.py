"""Where a network's files are: a local folder, or the hub's cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils import logging as transformers_logging

from d3s2.base.errors import D3S2Error, ModelError
from d3s2.base.json_text import shortened
from d3s2.base.revisions import refuse_revision_of_folder
from d3s2.base.weights import require_regular_files
from d3s2.nets.network_cards import FILES, describe, how_to_get

CONFIG_NAME = "config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def locate(source: str | Path, *, allow_pickle: bool = False, revision: str | None = None) -> Path:
    """The folder that holds a network: `source` itself, or the hub's cache, filled where there is a network.

    Args:
        source: local folder, or hub id ('owner/name').
        allow_pickle: also take weights that are stored as pickle.
        revision: commit, tag or branch of a hub id. None: its main branch.

    Raises:
        ModelError: nothing is there, or only pickled weights.
        UsageError: a folder is given a revision.
    """
    refuse_revision_of_folder(source, revision)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = _from_hub(str(source), allow_pickle, revision)
    if not (folder / CONFIG_NAME).is_file():
        raise ModelError(f"{source}: there is no segmentation network here; give a folder that holds {CONFIG_NAME}.")
    _require_weights(str(source), folder, allow_pickle)
    return folder


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences the progress bars and remarks of transformers and diffusers: the library itself never prints."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    diffusers_level = diffusers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        diffusers_logging.set_verbosity(diffusers_level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_weights(network: Any, folder: Path, allow_pickle: bool, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A network of class `network` from `folder`, and which of its weights were missing or left over.

    Raises:
        ModelError: the files cannot be read, or do not fit.
    """
    pickled = allow_pickle and not list(folder.glob("*.safetensors"))
    try:
        require_regular_files(folder)
        with quiet_loading():
            return network.from_pretrained(
                folder,
                use_safetensors=not pickled,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (D3S2Error, MemoryError):
        raise
    except Exception as error:  # damaged files reach into every corner of the libraries
        reason = shortened(error, 300)
        raise ModelError(f"{folder}: cannot be read as {network.__name__} ({reason}); get the files again.") from None


def _from_hub(repo: str, allow_pickle: bool, revision: str | None) -> Path:
    wanted = [*FILES, *(["*.bin"] if allow_pickle else [])]
    try:
        with quiet_loading():
            return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HFValidationError:
        raise ModelError(f"{repo}: there is no such folder, and it is no hub id ('owner/name').") from None
    except (RepositoryNotFoundError, LocalEntryNotFoundError, OSError) as error:
        gone = isinstance(error, RepositoryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        reason = "the hub has no such model" if gone else "the hub cannot be reached"
        if isinstance(error, RevisionNotFoundError):
            reason = f"the hub has no revision '{revision}' of this model"
        elif revision is not None:
            reason += f" for revision '{revision}'"
        raise ModelError(
            f"{repo}{describe(repo)}: there is no such folder, and {reason}; where there is a network run "
            f"`{how_to_get(repo)}`, copy the folder here and give its path instead of the id."
        ) from None


def _require_weights(source: str, folder: Path, allow_pickle: bool) -> None:
    if list(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled and allow_pickle:
        return
    if pickled:
        raise ModelError(
            f"{source}: its weights are pickled ({pickled[0]}), and a pickle can run code when it is read; take one "
            "with .safetensors, or allow pickled weights if you trust where they come from."
        )
    raise ModelError(
        f"{source}: there are no weights (.safetensors) beside {CONFIG_NAME}; get the files again, or allow pickled "
        "weights where the page offers no other."
    )
