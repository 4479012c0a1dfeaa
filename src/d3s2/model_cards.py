"""What is known of published models: id, licence, size, and how to get them to an offline machine."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache

from d3s2.base.names import did_you_mean

Use = Literal["generator", "segmentation"]
"""What a model is read for: as a part of a generator, or as teacher, backbone or student."""

NETWORK_FILES = ("*.json", "*.safetensors")
"""Patterns of what a segmentation network is read from."""
CONTROLNET_FILES = ("config.json", "diffusion_pytorch_model.*")
PIPELINE_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/*",
    "scheduler/*",
)
SDXL_FILES = (
    "unet/config.json",
    "*/*.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder_2/model.safetensors",
    "tokenizer*/*",
)
TRANSFORMER_FILES = (
    "transformer/config.json",
    "*/*.json",
    "transformer/diffusion_pytorch_model*.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder_2/model*.safetensors",
    "text_encoder_3/model-*.safetensors",
    "tokenizer*/*",
)
"""Of pipelines on Stable Diffusion 3 and FLUX; 'model-*' are the parts of a large file, and not its half formats."""
TINY_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


@dataclass(frozen=True)
class ModelCard:
    """A published model.

    Args:
        model_id: on the Hugging Face hub.
        part: what it is; of a segmentation network also the data set whose classes it knows.
        licence: as its page states it.
        download_mb: of the files that are read: of segmentation networks 4 bytes a parameter, counted on the
            architecture; of parts of generators as they are published (SD3 and FLUX in 16 bits), rounded.
        use: what it is read for.
        files: patterns of those files, for a download without the rest of the repository; a config comes first.
        palette: colours of a ControlNet's condition, a name in `PALETTES`; None where it has none.
        control_mode: number of segmentation among the conditions that a ControlNet knows; None where it knows one.
        rename: (name of the weights there, name under which diffusers looks for them), where they differ.
        held_gib: what the network takes beside its weights while it guides an image of 512 x 512 px, in float32, by
            benchmarks/teacher_memory.py. None as for `tflop`.
        window_px: side of the only square that a network takes; None where it takes any size.
        tflop: of one forward pass at 512 x 512 px, two operations a multiply-add, counted by torch.utils.flop_counter;
            of Swin-L, ResNet-50 and UPerNet the papers' figures (arXiv 2112.01527, 2107.06278, 2103.14030), doubled and
            brought to this size. None for a backbone and for parts of generators.
    """

    model_id: str
    part: str
    licence: str
    download_mb: int
    use: Use = "segmentation"
    files: tuple[str, ...] = NETWORK_FILES
    palette: str | None = None
    control_mode: int | None = None
    rename: tuple[str, str] | None = None
    tflop: float | None = None
    held_gib: float | None = None
    window_px: int | None = None

    @property
    def download_gib(self) -> float:
        """The same in GiB, rounded to a hundredth."""
        return round(self.download_mb * 1e6 / 2**30, 2)

    @property
    def how_to_get(self) -> str:
        """The command that downloads it into a folder, to be run where there is a network."""
        command, folder = _how_to_get(self.model_id, self.files), self.model_id.rpartition("/")[2]
        return command + (f" && mv {folder}/{self.rename[0]} {folder}/{self.rename[1]}" if self.rename else "")


OPENRAIL_M = "CreativeML OpenRAIL-M"
META = "other: see its page (weights of Mask2Former and MaskFormer)"
RAIL_PLUS_PLUS = "CreativeML Open RAIL++-M"
STABILITY = "other: Stability AI Community License, free below a revenue that it names; asks for an account"
FLUX_DEV = "other: FLUX.1 [dev] Non-Commercial License, no commercial use"
DINOV3 = "DINOv3 License, and access on request"
NVIDIA = "other: NVIDIA Source Code License for SegFormer, no commercial use"
REWARD_FOLDER = "checkpoints/ade20k_reward-model-UperNet-R50/checkpoint-5000/controlnet"


def _diffusion(model_id: str, part: str) -> ModelCard:
    return ModelCard(model_id, part, OPENRAIL_M, 4295, "generator", PIPELINE_FILES)


def _controlnet(
    model_id: str,
    part: str,
    licence: str = "OpenRAIL",
    files: tuple[str, ...] = CONTROLNET_FILES,
    palette: str = "ade20k",
) -> ModelCard:
    return ModelCard(model_id, part, licence, 1503, "generator", files, palette)


def _part(
    model_id: str, part: str, licence: str, download_mb: int, files: tuple[str, ...] = TRANSFORMER_FILES
) -> ModelCard:
    return ModelCard(model_id, part, licence, download_mb, "generator", files)


def _tiny(model_id: str, of: str, download_mb: int = 10) -> ModelCard:
    return _part(model_id, f"a tiny autoencoder for {of}", "MIT", download_mb, TINY_FILES)


def _network(
    model_id: str,
    part: str,
    licence: str,
    download_mb: int,
    tflop: float | None = None,
    held_gib: float | None = None,
    window_px: int | None = None,
    files: tuple[str, ...] = NETWORK_FILES,
) -> ModelCard:
    return ModelCard(
        model_id, part, licence, download_mb, files=files, tflop=tflop, held_gib=held_gib, window_px=window_px
    )


MODEL_CARDS: dict[str, ModelCard] = {
    card.model_id: card
    for card in (
        _diffusion("stable-diffusion-v1-5/stable-diffusion-v1-5", "Stable Diffusion 1.5"),
        _diffusion("CompVis/stable-diffusion-v1-4", "Stable Diffusion 1.4"),
        _controlnet("lllyasviel/control_v11p_sd15_seg", "ControlNet 1.1 for segmentation"),
        _controlnet("lllyasviel/sd-controlnet-seg", "ControlNet 1.0 for segmentation"),
        _controlnet(
            "limingcv/reward_controlnet",
            "ControlNet++ for segmentation",
            "MIT",
            (f"{REWARD_FOLDER}/*",),
            "controlnet-plus-plus-ade20k",
        ),
        _tiny("madebyollin/taesd", "Stable Diffusion 1.x and 2.x", 21),
        _part("stabilityai/stable-diffusion-xl-base-1.0", "Stable Diffusion XL", RAIL_PLUS_PLUS, 13876, SDXL_FILES),
        ModelCard(
            "abovzv/sdxl_segmentation_controlnet_ade20k",
            "a ControlNet for SDXL and segmentation",
            "Apache-2.0",
            5005,
            "generator",
            ("config.json", "*.safetensors"),
            palette="ade20k",
            rename=("sdxl_segmentation_ade20k_controlnet.safetensors", "diffusion_pytorch_model.safetensors"),
        ),
        ModelCard(
            "xinsir/controlnet-union-sdxl-1.0",
            "a ControlNet for SDXL and six kinds of conditions",
            "Apache-2.0",
            2510,
            "generator",
            TINY_FILES,
            control_mode=5,
        ),
        _tiny("madebyollin/taesdxl", "Stable Diffusion XL"),
        _part("stabilityai/stable-diffusion-3-medium-diffusers", "Stable Diffusion 3 medium", STABILITY, 15500),
        _part("stabilityai/stable-diffusion-3.5-large", "Stable Diffusion 3.5 large", STABILITY, 27450),
        _tiny("madebyollin/taesd3", "Stable Diffusion 3"),
        _part("black-forest-labs/FLUX.1-dev", "FLUX.1 [dev]", f"{FLUX_DEV}; asks for an account", 33740),
        _part(
            "manycore-research/FLUX.1-Layout-ControlNet",
            "a ControlNet for FLUX.1 and rooms",
            FLUX_DEV,
            2980,
            TINY_FILES,
        ),
        _tiny("madebyollin/taef1", "FLUX.1"),
        _network("facebook/mask2former-swin-tiny-ade-semantic", "Mask2Former Swin-T, ADE20K", META, 190, 0.146, 1.955),
        _network("facebook/mask2former-swin-small-ade-semantic", "Mask2Former Swin-S, ADE20K", META, 275, 0.195, 2.162),
        _network("facebook/mask2former-swin-large-ade-semantic", "Mask2Former Swin-L, ADE20K", META, 862, 0.516, 2.946),
        _network(
            "facebook/maskformer-resnet50-coco-stuff", "MaskFormer ResNet-50, COCO-Stuff", META, 165, 0.106, 1.268
        ),
        _network("tue-mps/ade20k_semantic_eomt_large_512", "EoMT-L on DINOv2, ADE20K", "MIT", 1264, 0.87, 2.896, 512),
        _network(
            "tue-mps/eomt-dinov3-ade-semantic-large-512", "EoMT-L on DINOv3, ADE20K", DINOV3, 1260, 0.978, 2.897, 512
        ),
        _network(
            "shi-labs/oneformer_ade20k_swin_large",
            "OneFormer Swin-L, ADE20K",
            "MIT",
            875,
            0.524,
            3.143,
            files=("*.json", "*.safetensors", "*.bin", "merges.txt"),
        ),
        _network(
            "facebook/mask2former-swin-small-cityscapes-semantic",
            "Mask2Former Swin-S, Cityscapes",
            META,
            275,
            0.195,
            2.162,
        ),
        _network("nvidia/segformer-b0-finetuned-ade-512-512", "SegFormer B0, ADE20K", NVIDIA, 15, 0.017, 0.649),
        _network("nvidia/segformer-b4-finetuned-ade-512-512", "SegFormer B4, ADE20K", NVIDIA, 256, 0.191, 1.581),
        _network("openmmlab/upernet-swin-tiny", "UPerNet Swin-T, ADE20K", "MIT", 240, 0.476, 1.203),
        _network("openmmlab/upernet-swin-small", "UPerNet Swin-S, ADE20K", "MIT", 325, 0.519, 1.41),
        _network("openmmlab/upernet-convnext-tiny", "UPerNet ConvNeXt-T, ADE20K", "MIT", 241, 0.471, 1.129),
        _network("microsoft/swin-tiny-patch4-window7-224", "Swin-T backbone, ImageNet", "Apache-2.0", 113),
        _network("microsoft/swin-small-patch4-window7-224", "Swin-S backbone, ImageNet", "Apache-2.0", 198),
        _network("facebook/convnext-tiny-224", "ConvNeXt-T backbone, ImageNet", "Apache-2.0", 114),
        _network("facebook/dinov3-convnext-tiny-pretrain-lvd1689m", "DINOv3 ConvNeXt-T backbone", DINOV3, 111),
        _network("facebook/dinov3-vits16-pretrain-lvd1689m", "DINOv3 ViT-S backbone", DINOV3, 86),
        _network("facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3 ViT-B backbone", DINOV3, 343),
        _network("facebook/dinov3-vitl16-pretrain-lvd1689m", "DINOv3 ViT-L backbone", DINOV3, 1213),
        _network("nvidia/mit-b0", "SegFormer B0 backbone, ImageNet", NVIDIA, 14),
    )
}
"""The models that recipes and docs name, by id."""


def cards_for(use: Use) -> dict[str, ModelCard]:
    """Those that are read for one use, by id."""
    return {model_id: card for model_id, card in MODEL_CARDS.items() if card.use == use}


def is_cached(card: ModelCard, cache: Path | None = None) -> bool:
    """Whether the model is in the Hugging Face cache of this machine (or in `cache`)."""
    config = re.sub(r"\*(\.json)?$", "config.json", card.files[0])
    return isinstance(try_to_load_from_cache(card.model_id, config, cache_dir=cache), str)


def describe(model_id: str) -> str:
    """For messages, in brackets: what a published model is, its licence and size; empty where nothing is known."""
    card = MODEL_CARDS.get(model_id)
    return f" ({card.part}; licence {card.licence}; about {card.download_mb} MB)" if card else ""


def nearest_card(model_id: str) -> str:
    """For messages: whether another id was meant; empty for a known one, and where none is spelt almost like it."""
    return "" if model_id in MODEL_CARDS else did_you_mean(model_id, MODEL_CARDS, cutoff=0.8)


def how_to_get(model_id: str) -> str:
    """The command that downloads any network into a folder."""
    card = MODEL_CARDS.get(model_id)
    return card.how_to_get if card else _how_to_get(model_id, NETWORK_FILES)


def _how_to_get(model_id: str, files: tuple[str, ...]) -> str:
    include = "".join(f" --include '{pattern}'" for pattern in files)
    return f"hf download {model_id}{include} --local-dir {model_id.rpartition('/')[2]}"
