"""What is known of published networks: id, licence, size, and how to get them to an offline machine."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

FILES = ("*.json", "*.safetensors")


@dataclass(frozen=True)
class NetworkCard:
    """A published network.

    Args:
        model_id: on the Hugging Face hub.
        part: what it is, and the data set whose classes it knows.
        licence: as its page states it.
        download_mb: of its weights in float32: 4 bytes a parameter, counted on the architecture.
    """

    model_id: str
    part: str
    licence: str
    download_mb: int

    @property
    def download_gib(self) -> float:
        """The same in GiB, rounded to a hundredth."""
        return round(self.download_mb * 1e6 / 2**30, 2)

    @property
    def how_to_get(self) -> str:
        """The command that downloads it into a folder, to be run where there is a network."""
        include = "".join(f" --include '{pattern}'" for pattern in FILES)
        return f"hf download {self.model_id}{include} --local-dir {self.model_id.rpartition('/')[2]}"


META = "other: see its page (weights of Mask2Former and MaskFormer)"
NVIDIA = "other: NVIDIA Source Code License for SegFormer, no commercial use"

NETWORK_CARDS: dict[str, NetworkCard] = {
    card.model_id: card
    for card in (
        NetworkCard("facebook/mask2former-swin-tiny-ade-semantic", "Mask2Former Swin-T, ADE20K", META, 190),
        NetworkCard("facebook/mask2former-swin-small-ade-semantic", "Mask2Former Swin-S, ADE20K", META, 275),
        NetworkCard("facebook/mask2former-swin-large-ade-semantic", "Mask2Former Swin-L, ADE20K", META, 862),
        NetworkCard("facebook/maskformer-resnet50-coco-stuff", "MaskFormer ResNet-50, COCO-Stuff", META, 165),
        NetworkCard("nvidia/segformer-b0-finetuned-ade-512-512", "SegFormer B0, ADE20K", NVIDIA, 15),
        NetworkCard("nvidia/segformer-b4-finetuned-ade-512-512", "SegFormer B4, ADE20K", NVIDIA, 256),
        NetworkCard("openmmlab/upernet-swin-tiny", "UPerNet Swin-T, ADE20K", "MIT", 240),
        NetworkCard("openmmlab/upernet-swin-small", "UPerNet Swin-S, ADE20K", "MIT", 325),
        NetworkCard("openmmlab/upernet-convnext-tiny", "UPerNet ConvNeXt-T, ADE20K", "MIT", 241),
        NetworkCard("microsoft/swin-tiny-patch4-window7-224", "Swin-T backbone, ImageNet", "Apache-2.0", 113),
        NetworkCard("microsoft/swin-small-patch4-window7-224", "Swin-S backbone, ImageNet", "Apache-2.0", 198),
        NetworkCard("facebook/convnext-tiny-224", "ConvNeXt-T backbone, ImageNet", "Apache-2.0", 114),
        NetworkCard("nvidia/mit-b0", "SegFormer B0 backbone, ImageNet", NVIDIA, 14),
    )
}
"""The networks that recipes and docs name, by id."""


def is_cached(card: NetworkCard, cache: Path | None = None) -> bool:
    """Whether the network is in the Hugging Face cache of this machine (or in `cache`)."""
    return isinstance(try_to_load_from_cache(card.model_id, "config.json", cache_dir=cache), str)


def describe(model_id: str) -> str:
    """For messages, in brackets: what a published network is, its licence and size; empty where nothing is known."""
    card = NETWORK_CARDS.get(model_id)
    return f" ({card.part}; licence {card.licence}; about {card.download_mb} MB)" if card else ""


def how_to_get(model_id: str) -> str:
    """The command that downloads any network into a folder."""
    return NetworkCard(model_id, "", "", 0).how_to_get
