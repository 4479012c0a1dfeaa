"""A distilled set as a map-style data set of torch, for a DataLoader and for transforms that take image and mask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from d3s2.store.reader import DistilledSet


class Sample(TypedDict):
    """One pair.

    `image` is uint8 [3 h w], RGB; `mask` uint8 [h w], train ids, 255 ignored; `item_id` a string.
    """

    image: Tensor
    mask: Tensor
    item_id: str


class TorchPairs(Dataset[Any]):
    """Pairs of a distilled set, read when they are asked for; safe in a DataLoader of several processes.

    Args:
        folder: a finished set.
        transform: is given the sample and returns what `[]` returns. Default: the sample as it is.
        image_type, mask_type: wrap the tensors, for example `tv_tensors.Image` and `tv_tensors.Mask` of torchvision, by
            which its transforms know that a mask is turned but not made brighter. Default: plain tensors.

    Raises:
        StoreError: there is no finished set in the folder.

    Examples:
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> made = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> from torch.utils.data import DataLoader
        >>> from d3s2.store import TorchPairs
        >>> next(iter(DataLoader(TorchPairs("runs/small"), batch_size=2)))["image"].shape
        torch.Size([2, 3, 64, 96])
    """

    def __init__(
        self,
        folder: Path | str,
        transform: Callable[[Sample], Any] | None = None,
        image_type: Callable[[Tensor], Tensor] | None = None,
        mask_type: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.distilled = DistilledSet(Path(folder))
        self.transform, self.image_type, self.mask_type = transform, image_type, mask_type

    def __len__(self) -> int:
        return len(self.distilled.ids)

    def __getitem__(self, position: int) -> Any:
        item_id = self.distilled.ids[position]
        image = torch.from_numpy(self.distilled.image(item_id)).permute(2, 0, 1).contiguous()
        mask = torch.from_numpy(self.distilled.mask(item_id))
        sample = Sample(
            image=image if self.image_type is None else self.image_type(image),
            mask=mask if self.mask_type is None else self.mask_type(mask),
            item_id=item_id,
        )
        return sample if self.transform is None else self.transform(sample)
