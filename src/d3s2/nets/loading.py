"""Segmentation networks from a folder, and back into one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from d3s2.base.errors import ModelError, StoreError
from d3s2.base.files import read_json, write_json, writing
from d3s2.nets.labels import require_same_classes
from d3s2.nets.segmenter import Segmenter
from d3s2.nets.unet import CompactUNet

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
CONFIG_NAME = "config.json"
CLASSES_NAME = "classes.json"


def load_segmenter(source: str | Path, class_names: Sequence[str], *, device: torch.device) -> Segmenter:
    """A frozen network in float32 whose scores are those of `class_names`, in their order.

    Args:
        source: folder of the network.
        class_names: the data set's classes, in the order of train ids.

    Raises:
        ModelError: nothing is there, or the network knows other classes.
    """
    folder = Path(source)
    if not (folder / CONFIG_NAME).is_file():
        raise ModelError(f"{source}: there is no segmentation network here; give a folder that holds {CONFIG_NAME}.")
    return load_compact(folder, class_names).to(device)


def load_compact(folder: Path, class_names: Sequence[str]) -> CompactUNet:
    """A compact U-Net that `save_segmenter` wrote: in float32, for evaluation, frozen.

    Raises:
        ModelError: the folder is not whole, or the network was trained for other classes.
    """
    try:
        known = read_json(folder / CLASSES_NAME)["class_names"]
    except (StoreError, KeyError, TypeError):
        raise ModelError(f"{folder}: {CLASSES_NAME} is missing or damaged; train this network again.") from None
    require_same_classes(str(folder), known, class_names)
    net: CompactUNet = CompactUNet.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    return net.eval().requires_grad_(False)


def save_segmenter(net: CompactUNet, folder: Path, class_names: Sequence[str], half: bool = False) -> None:
    """Writes a compact U-Net as safetensors with its config and class names; `half` stores float16.

    Args:
        folder: made where it is missing; the class names are written last, so their being there means done.
        class_names: the data set's classes, in the order of train ids.

    Raises:
        ModelError: the network has another number of classes.
        StoreError: the folder cannot be written.
    """
    if len(class_names) != net.num_classes:
        raise ModelError(
            f"{folder}: the network has {net.num_classes} classes and {len(class_names)} class names are given; "
            "give one name a class."
        )
    kind = torch.float16 if half else torch.float32
    weights = {name: tensor.detach().to("cpu", kind).contiguous() for name, tensor in net.state_dict().items()}
    with writing(folder / WEIGHTS_NAME) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
    write_json(folder / CONFIG_NAME, {"_class_name": type(net).__name__, **_shape(net)})
    write_json(folder / CLASSES_NAME, {"class_names": list(class_names)})


def _shape(net: CompactUNet) -> dict[str, int]:
    return {"num_classes": net.config.num_classes, "width": net.config.width}
