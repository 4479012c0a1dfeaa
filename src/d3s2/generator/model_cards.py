"""What is known of the published parts of generators: id, licence, size, and how to get them to an offline machine."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from d3s2.base.errors import ModelError


@dataclass(frozen=True)
class ModelCard:
    """A published model.

    Args:
        model_id: on the Hugging Face hub.
        part: what it is.
        licence: as its page states it.
        download_gib: of the files that are read, in float32.
        files: patterns of those files, for a download without the rest of the repository; a config comes first.
        palette: colours of its condition, a name in `PALETTES`; None where it has none.
    """

    model_id: str
    part: str
    licence: str
    download_gib: float
    files: tuple[str, ...]
    palette: str | None = None

    @property
    def how_to_get(self) -> str:
        """The command that downloads it into a folder, to be run where there is a network."""
        include = "".join(f" --include '{pattern}'" for pattern in self.files)
        return f"hf download {self.model_id}{include} --local-dir {self.model_id.rpartition('/')[2]}"


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

MODEL_CARDS: dict[str, ModelCard] = {
    card.model_id: card
    for card in (
        ModelCard(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "Stable Diffusion 1.5",
            "CreativeML OpenRAIL-M",
            4.0,
            PIPELINE_FILES,
        ),
        ModelCard(
            "CompVis/stable-diffusion-v1-4", "Stable Diffusion 1.4", "CreativeML OpenRAIL-M", 4.0, PIPELINE_FILES
        ),
        ModelCard(
            "lllyasviel/control_v11p_sd15_seg",
            "ControlNet 1.1 for segmentation",
            "OpenRAIL",
            1.4,
            ("config.json", "diffusion_pytorch_model.*"),
            palette="ade20k",
        ),
        ModelCard(
            "lllyasviel/sd-controlnet-seg",
            "ControlNet 1.0 for segmentation",
            "OpenRAIL",
            1.4,
            ("config.json", "diffusion_pytorch_model.*"),
            palette="ade20k",
        ),
        ModelCard(
            "limingcv/reward_controlnet",
            "ControlNet++ for segmentation",
            "MIT",
            1.4,
            ("checkpoints/ade20k_reward-model-UperNet-R50/checkpoint-5000/controlnet/*",),
            palette="controlnet-plus-plus-ade20k",
        ),
        ModelCard(
            "madebyollin/taesd",
            "a tiny autoencoder for Stable Diffusion 1.x and 2.x",
            "MIT",
            0.02,
            ("config.json", "diffusion_pytorch_model.safetensors"),
        ),
    )
}
"""The models that recipes name, by id."""


def is_cached(card: ModelCard, cache: Path | None = None) -> bool:
    """Whether the model is in the Hugging Face cache of this machine (or in `cache`)."""
    probe = card.files[0].replace("*", "config.json")
    return isinstance(try_to_load_from_cache(card.model_id, probe, cache_dir=cache), str)


def cannot_load(source: str, part: str, reason: str) -> ModelError:
    """The error for a model that cannot be read: what it is, its licence and size, and how to get it.

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
