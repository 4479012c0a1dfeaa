"""A network's weights: one digest of them, for provenance of whatever was made with it, and whether they are finite."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import regular_size
from d3s2.base.formats.tensors import MAX_FILE_BYTES
from d3s2.base.machine.moving import to_host


def sha256_weights(network: nn.Module) -> str:
    """SHA-256 of the names and values of all weights, in hex: the same for every file format they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(to_host(tensor.detach()).contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def require_finite(network: nn.Module, where: object, advice: str) -> None:
    """Raises ModelError where a weight is no finite number; every image or score would be none either."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"{where}: weight '{name}' holds numbers that are not finite; {advice}.")


def require_regular_files(folder: Path) -> None:
    """Raises ModelError for a pipe or a device among the files of a network: to open one may wait for ever."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir():
            regular_size(path, "a file of a network", MAX_FILE_BYTES, ModelError)
