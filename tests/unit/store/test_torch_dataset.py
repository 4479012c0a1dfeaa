"""A distilled set under torch's own DataLoader."""

from pathlib import Path

import torch
from test_store_export import SCENES, make
from torch import Tensor
from torch.utils.data import DataLoader

from d3s2.store.reader import DistilledSet
from d3s2.store.torch_dataset import Sample, TorchPairs


class Picture(Tensor):
    """Wraps a tensor as tv_tensors do: by a subclass."""

    def __new__(cls, data: Tensor) -> "Picture":
        return data.as_subclass(cls)


class Mask(Picture):
    pass


def flipped_pictures(sample: Sample) -> Sample:
    """As transforms of torchvision: what happens to a tensor follows from its type."""
    flipped = {key: value.flip(-1) if isinstance(value, Picture) else value for key, value in sample.items()}
    return Sample(**flipped)


def test_a_loader_of_two_processes_gives_every_pair(tmp_path: Path) -> None:
    distilled = DistilledSet(make(tmp_path / "set"))
    loader = DataLoader(TorchPairs(tmp_path / "set"), batch_size=2, num_workers=1)
    batches = list(loader)
    assert [name for batch in batches for name in batch["item_id"]] == list(SCENES.ids)
    images, masks = (torch.cat([batch[key] for batch in batches]) for key in ("image", "mask"))
    assert images.shape == (3, 3, 32, 48)
    assert images.dtype == masks.dtype == torch.uint8
    for position, item_id in enumerate(distilled.ids):
        assert (images[position].permute(1, 2, 0).numpy() == distilled.image(item_id)).all()
        assert (masks[position].numpy() == distilled.mask(item_id)).all()


def test_types_of_ones_own_tell_a_transform_what_is_what(tmp_path: Path) -> None:
    make(tmp_path / "set")
    plain = TorchPairs(tmp_path / "set")
    wrapped = TorchPairs(tmp_path / "set", transform=flipped_pictures, image_type=Picture, mask_type=Mask)
    assert len(plain) == len(wrapped) == 3
    for ours, theirs in zip(list(plain), list(wrapped), strict=True):
        assert type(theirs["mask"]) is Mask
        assert torch.equal(theirs["image"].as_subclass(Tensor), ours["image"].flip(-1))
        assert torch.equal(theirs["mask"].as_subclass(Tensor), ours["mask"].flip(-1))
