import torch
from safetensors.torch import load, save

from d3s2.hub.weights import sha256_weights
from d3s2.nets.compact.unet import CompactUNet


def network() -> CompactUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactUNet(num_classes=3, width=8)


def test_the_digest_is_of_the_weights_and_not_of_the_file_they_came_from() -> None:
    first, second = network(), CompactUNet(num_classes=3, width=8)
    assert sha256_weights(first) != sha256_weights(second)
    second.load_state_dict(load(save(first.state_dict())))
    assert sha256_weights(first) == sha256_weights(second)


def test_one_weight_that_changes_changes_the_digest() -> None:
    changed = network()
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1e-6
    assert sha256_weights(changed) != sha256_weights(network())
