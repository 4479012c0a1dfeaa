"""Parts of a generator from a hub id or a folder: every failure is one sentence, pickles only where asked for."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from d3s2.base.config import Config
from d3s2.base.errors import D3S2Error, ModelError
from d3s2.base.json_text import shortened
from d3s2.base.revisions import refuse_revision_of_folder
from d3s2.base.weights import require_regular_files
from d3s2.generator.model_cards import cannot_load

PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")
DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class ComputeSettings(Config):
    """How the networks of a generator run; `dtype` and `vae_tiling` apart, none changes what is computed.

    Args:
        dtype: of the diffusion network and the text encoder. Decoders stay in float32, because guidance
            differentiates through them.
        vae_slicing: decode one image of a batch at a time; less memory, the same images.
        vae_tiling: decode large images in overlapping tiles; less memory, seams are blended.
        attention_slicing: attention one head at a time, for devices without fused attention; slower elsewhere.
        channels_last: memory format of convolutions, faster where tensor cores are.
        gradient_checkpointing: compute activations again on the way back, for `full` guidance on small devices.
        compile: torch.compile the diffusion network; pays off after some dozens of images of one size.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    vae_slicing: bool = False
    vae_tiling: bool = False
    attention_slicing: bool = False
    channels_last: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False


class SourceSettings(Config):
    """How files of a model are found.

    Args:
        offline: never ask the network, read folders and the local cache only.
        pickled: read pickled weights too (.bin, .ckpt); only for files whose source is trusted.
        variant: of the weight files, for example 'fp16'.
    """

    offline: bool = False
    pickled: bool = False
    variant: str | None = None


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
    """`kind.from_pretrained`: local files first, the network only where it may be asked.

    Args:
        revision: commit, tag or branch of a hub id. None: its main branch.
    """
    name = subfolder or kind.__name__
    refuse_revision_of_folder(source, revision)
    folder = Path(source) / (subfolder or "")
    require_regular_files(folder)
    if not how.pickled:
        _refuse_pickles(folder)
    if subfolder is not None:
        options["subfolder"] = subfolder
    if revision is not None:  # the libraries' own defaults differ
        options["revision"] = revision
    reason = "no files"
    at = "" if revision is None else f" at revision '{revision}'"
    for local in (True,) if how.offline or Path(source).exists() else (True, False):
        try:
            with _quietly():
                return kind.from_pretrained(source, local_files_only=local, **options)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
    raise cannot_load(source, name + at, reason)


def prepared(network: Any, compute: ComputeSettings) -> Any:
    """The diffusion network or ControlNet as `compute` says."""
    if compute.channels_last:
        network.to(memory_format=torch.channels_last)
    if compute.attention_slicing:
        network.set_attention_slice("auto")
    if compute.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if compute.compile:
        network.compile()
    return network


@contextmanager
def loading(folder: Path, what: str, advice: str) -> Iterator[None]:
    """Turns whatever a library says of damaged files in a folder into a ModelError that names it.

    Args:
        what: what was to be loaded, for the sentence.
        advice: what the sentence ends with: what to do about it.
    """
    try:
        require_regular_files(folder)
        with _quietly():
            yield
    except (D3S2Error, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{folder}: {what} cannot be loaded ({shortened(error)}); {advice}.") from None


def require_all_weights(info: Mapping[str, Any], where: object, part: str) -> None:
    """Raises ModelError where a file lacks weights, which the library would draw at random instead."""
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        raise ModelError(
            f"{where}: {len(missing)} weights of {part} are missing ({shortened(', '.join(missing[:3]))}); get the "
            "files again."
        )


def _refuse_pickles(folder: Path) -> None:
    found = [path for pattern in PICKLES for path in sorted(folder.glob(pattern))] if folder.is_dir() else []
    if found and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{found[0]}: these weights are pickled, and a pickle can run any code when it is read; convert them to "
            "safetensors, or set generator.settings.pickled to true if you trust where they come from."
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the libraries' bars and housekeeping warnings; what matters comes as an error."""
    bars, level = transformers_logging.is_progress_bar_enabled(), diffusers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
