"""One digest of a network's weights, for provenance of whatever was made with it."""

import hashlib

import torch
from torch import nn


def sha256_weights(network: nn.Module) -> str:
    """SHA-256 of the names and values of all weights, in hex: the same for every file format they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
