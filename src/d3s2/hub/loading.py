"""Networks and other parts from a folder or the hub: quietly, no pickle unless asked for, every failure one sentence.

There are two ways to the files. `locate` fetches a whole folder, for a model that is one network; `load_files` lets the
libraries take single files of a repository that holds many, such as a diffusion pipeline, and asks the hub only for
what is not on this machine. Both end in the same guards.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
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
from d3s2.base.formats.json_text import shortened
from d3s2.hub.revisions import refuse_revision_of_folder
from d3s2.hub.settings import SourceSettings
from d3s2.hub.weights import require_regular_files
from d3s2.model_cards import MODEL_CARDS, NETWORK_FILES, describe, how_to_get, nearest_card

CONFIG_NAME = "config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
GET_AGAIN = "get the files again"


def locate(source: str | Path, *, allow_pickle: bool = False, revision: str | None = None) -> Path:
    """The folder that holds a network: `source` itself, or the hub's cache, filled where there is a connection.

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
    if not allow_pickle:
        advice = "take one with .safetensors, or allow pickled weights if you trust where they come from"
        refuse_pickles(folder, advice)
    if not any(path.suffix in (".safetensors", *PICKLED) for path in folder.iterdir()):
        raise ModelError(
            f"{source}: there are no weights (.safetensors) beside {CONFIG_NAME}; {GET_AGAIN}, or allow pickled "
            "weights where the page offers no other."
        )
    return folder


def load_weights(kind: Any, folder: Path, allow_pickle: bool, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A network of class `kind` from a folder, and which of its weights were missing or left over.

    Raises:
        ModelError: the files cannot be read, or do not fit.
    """
    pickled = allow_pickle and not list(folder.glob("*.safetensors"))
    with loading_safely(folder, kind.__name__):
        loaded: tuple[Any, dict[str, Any]] = kind.from_pretrained(
            folder, use_safetensors=not pickled, local_files_only=True, output_loading_info=True, **options
        )
    return loaded


def load_part(
    kind: Any,
    source: str,
    subfolder: str | None,
    how: SourceSettings,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
) -> Any:
    """A network of class `kind`, frozen and for evaluation; raises ModelError where it cannot be read."""
    options = {"torch_dtype": dtype, "use_safetensors": None if how.pickled else True, "variant": how.variant}
    if issubclass(kind, torch.nn.Module):
        network, info = load_files(kind, source, subfolder, how, revision, output_loading_info=True, **options)
        require_all_weights(info, source, subfolder or kind.__name__)
    else:  # diffusers' AutoModel does not tell
        network = load_files(kind, source, subfolder, how, revision, **options)
    return network.eval().requires_grad_(False)


def load_files(
    kind: Any, source: str, subfolder: str | None, how: SourceSettings, revision: str | None = None, **options: Any
) -> Any:
    """`kind.from_pretrained`: local files first, the hub only where it may be asked.

    Args:
        revision: commit, tag or branch of a hub id. None: its main branch.
    """
    name = subfolder or kind.__name__
    refuse_revision_of_folder(source, revision)
    folder = Path(source) / (subfolder or "")
    require_regular_files(folder)
    if not how.pickled:
        advice = "convert them to safetensors, or set generator.pickled to true if you trust where they come from"
        refuse_pickles(folder, advice)
    if subfolder is not None:
        options["subfolder"] = subfolder
    if revision is not None:  # the libraries' own defaults differ
        options["revision"] = revision
    reason = "no files"
    at = "" if revision is None else f" at revision '{revision}'"
    for local in (True,) if how.offline or Path(source).exists() else (True, False):
        try:
            with quiet_loading():
                return kind.from_pretrained(source, local_files_only=local, **options)
        except MemoryError:
            raise
        except Exception as error:  # the last reason is the one that is told
            reason = shortened(error)
    raise cannot_load(source, name + at, reason)


@contextmanager
def loading_safely(folder: Path, what: str, advice: str = GET_AGAIN) -> Iterator[None]:
    """Turns whatever a library says of damaged files in a folder into a ModelError that names it.

    Args:
        what: what was to be loaded, for the sentence.
        advice: what the sentence ends with: what to do about it.
    """
    try:
        require_regular_files(folder)
        with quiet_loading():
            yield
    except (D3S2Error, MemoryError):
        raise
    except Exception as error:  # damaged files reach into every corner of the libraries
        raise ModelError(f"{folder}: cannot be read as {what} ({shortened(error, 300)}); {advice}.") from None


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences bars, remarks and warnings of transformers and diffusers; what matters comes as an error."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    diffusers_level = diffusers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    diffusers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        diffusers_logging.set_verbosity(diffusers_level)
        if bars:
            transformers_logging.enable_progress_bar()


def refuse_pickles(folder: Path, advice: str) -> None:
    """Raises ModelError for a folder whose weights are pickled only, with `advice` on what to do.

    Where there are safetensors beside them, the libraries are told to read those.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    pickled = [path for path in paths if path.suffix in PICKLED]
    if pickled and not any(path.suffix == ".safetensors" for path in paths):
        raise ModelError(
            f"{pickled[0]}: these weights are pickled, and a pickle can run code when it is read; {advice}."
        )


def require_all_weights(info: Mapping[str, Any], where: object, part: str = "", advice: str = GET_AGAIN) -> None:
    """Raises ModelError where a file lacks weights, which the library would draw at random instead.

    Args:
        info: what `from_pretrained` tells with `output_loading_info`.
        where: the folder or id that was read.
        part: whose weights they are, where `where` holds several networks.
        advice: what to do about it.
    """
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        named = shortened(", ".join(missing[:3]))
        of_part = f" of {part}" if part else ""
        raise ModelError(f"{where}: {len(missing)} weights{of_part} are missing ({named}); {advice}.")


def cannot_load(source: str, part: str, reason: str) -> ModelError:
    """The error for a part that cannot be read: what it is, its licence and size, and how to get it.

    Args:
        source: the id or folder that was asked for.
        part: what was looked for in it, for example 'unet'.
        reason: what the libraries said; shown where the folder is there.
    """
    card = MODEL_CARDS.get(source)
    if Path(source).exists():
        return ModelError(
            f"{source}: {part} cannot be loaded ({reason}); give a folder that diffusers' save_pretrained wrote."
        )
    if card is None:
        return ModelError(
            f"{source}: {part} is neither in a folder of that name nor in the local cache; check the name, or run "
            f"`hf download {source} --local-dir FOLDER` where there is a network and give the path of that folder."
        )
    return ModelError(
        f"{source}: {part} is not on this machine; it belongs to {card.part}, licence {card.licence}, about "
        f"{card.download_gib:g} GiB: run `{card.how_to_get}` where there is a network and give the path of that folder."
    )


def _from_hub(repo: str, allow_pickle: bool, revision: str | None) -> Path:
    card = MODEL_CARDS.get(repo)
    named = NETWORK_FILES if card is None else card.files
    wanted = [*(name for name in named if not name.endswith(PICKLED)), *(["*.bin"] if allow_pickle else [])]
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
            f"{nearest_card(repo)}"
        ) from None
