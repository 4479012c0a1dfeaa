"""Stable Diffusion with FreestyleNet's rectified cross attention: class names as text, each for its own pixels.

Source: arXiv 2303.14412. The prompt is the names of the classes present, in the order of train ids; where they are more
than the text encoder reads at once they go in chunks, a class never over two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import regular_size
from d3s2.base.formats.tensors import MAX_FILE_BYTES, read_tensors
from d3s2.data import LabelSpace
from d3s2.generator.conditions.prompts import list_for, pixels_of, spoken, word_list
from d3s2.generator.counted import Counted, CountedFamily, CountedModels
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.layout_to_image import GeneratorKind
from d3s2.generator.stable_diffusion.parts import StableDiffusion, load_stable_diffusion
from d3s2.generator.stable_diffusion.rectified_attention import (
    EVERYONE,
    NO_ONE,
    RectifiedAttention,
    filled_up,
    grids_of,
    rectification_of,
    shares_of,
)
from d3s2.generator.stable_diffusion.settings import FreestyleSettings

CELLS = {"nearest": ("rectification", rectification_of), "area": ("shares", shares_of)}
"""How a cell of the latent takes classes from the mask's pixels -> what the attention is given."""
TEXT_PREFIX = "cond_stage_model.transformer.text_model."


@dataclass(frozen=True)
class TokenChunks:
    """The prompt of one mask as the text encoder reads it.

    Args:
        tokens: ids, a row a chunk.
        owners: whose each token is: a train id, or EVERYONE.
    """

    tokens: Int[Tensor, "n t"]
    owners: Int[Tensor, "n t"]


@dataclass(frozen=True)
class FreestyleGenerator:
    """Stable Diffusion with rectified cross attention as a `LayoutToImage`.

    Args:
        parts: of Stable Diffusion; the U-Net's attention processors are rectified ones.
        class_tokens: token ids of each class's words, by train id.
        settings: as it was loaded.
        word_list: the list that the words are of; None for the class names.
    """

    parts: StableDiffusion
    class_tokens: tuple[tuple[int, ...], ...]
    settings: FreestyleSettings
    word_list: str | None = None

    @property
    def scheduler(self) -> SchedulerMixin:
        return self.parts.scheduler

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        return self.parts.latent_shape(size_px)

    def chunks_of(self, mask: UInt8[Tensor, "h w"]) -> TokenChunks:
        """The names of the classes present, in chunks that the text encoder reads."""
        room = self.parts.max_tokens - 2
        chunks: list[list[tuple[int, int]]] = [[]]
        for train in pixels_of(mask):
            tokens = self.class_tokens[train]
            if len(chunks[-1]) + len(tokens) > room:
                chunks.append([])
            chunks[-1].extend((token, train) for token in tokens)
        return _chunks(chunks, self.parts)

    def text_of(self, masks: UInt8[Tensor, "b h w"]) -> tuple[Float[Tensor, "b t d"], Int[Tensor, "b t"]]:
        """Embeddings of the prompts, and the owner of each token, on the CPU; shorter ones are filled with NO_ONE's."""
        each = [self.chunks_of(mask) for mask in masks.cpu()]
        stacked = torch.cat([chunks.tokens for chunks in each])
        embedded = self.parts.encode_tokens(stacked, torch.ones_like(stacked)).split([len(c.tokens) for c in each])
        texts = [rows.flatten(0, 1) for rows in embedded]
        owners = [chunks.owners.flatten() for chunks in each]
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(texts, batch_first=True), pad(owners, batch_first=True, padding_value=NO_ONE)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        parts = self.parts
        _, height, width = parts.latent_shape((masks.shape[1], masks.shape[2]))
        text, owners = self.text_of(masks)
        masks = masks.to(parts.device)
        text, owners = filled_up(text, owners, text.shape[1])
        if guidance_scale != 1.0:
            negative = parts.encode_prompts([self.settings.negative_prompt]).expand(len(masks), -1, -1)
            plain = torch.full(negative.shape[:2], EVERYONE)
            negative, plain = filled_up(negative, plain, text.shape[1])
            text, owners, masks = torch.cat([negative, text]), torch.cat([plain, owners]), torch.cat([masks, masks])
        grids = grids_of((height, width), len(parts.unet.config.block_out_channels))
        name, made = CELLS[self.settings.cells]
        options = {name: made(masks, owners, grids, text.dtype)}

        def predict(x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
            return parts.unet(x, time, text, cross_attention_kwargs=options).sample

        return parts.denoiser(predict, guidance_scale)

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        return self.parts.encode(images)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        return self.parts.decode(latents, for_guidance=for_guidance)

    def as_record(self) -> dict[str, Any]:
        return {
            "kind": "freestyle",
            "settings": self.settings.model_dump(mode="json"),
            "commits": self.settings.commits,
            "weights_sha256": self.parts.weight_digests(),
            **({} if self.word_list is None else {"word_list": self.word_list}),
        }


def load_freestyle(settings: FreestyleSettings, space: LabelSpace, device: torch.device) -> FreestyleGenerator:
    """Stable Diffusion with rectified attention; raises ModelError where weights are missing or do not fit."""
    if settings.compute.attention_slicing:
        raise ModelError(
            "generator.compute.attention_slicing: rectified attention runs on fused attention and cannot be "
            "sliced; leave it out."
        )
    parts = load_stable_diffusion(settings, device)
    if settings.checkpoint is not None:
        _take_weights(parts, settings.checkpoint)
    parts.unet.set_attn_processor(RectifiedAttention())
    listed = _listed(settings, space)
    words = {**(word_list(listed) if listed else {}), **settings.words}
    class_tokens = tuple(_tokens_of(spoken(name, words), parts) for name in space.names)
    return FreestyleGenerator(parts, class_tokens, settings, listed)


def _listed(settings: FreestyleSettings, space: LabelSpace) -> str | None:
    """The word list of a label space; raises ModelError where one was asked for that lacks a class."""
    if settings.word_list == "auto":
        return list_for(space.names)
    if settings.word_list == "names":
        return None
    missing = [name for name in space.names if name not in {**word_list(settings.word_list), **settings.words}]
    if missing:
        raise ModelError(
            f"generator.word_list: '{settings.word_list}' has no words for class '{missing[0]}' of "
            f"{space.name} ({len(missing)} of {space.num_classes} are missing); give them in generator.words, or set "
            "word_list to names."
        )
    return settings.word_list


def _tokens_of(text: str, parts: StableDiffusion) -> tuple[int, ...]:
    tokens = tuple(parts.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    if len(tokens) > parts.max_tokens - 2:
        raise ModelError(
            f"Class '{text[:40]}...' takes {len(tokens)} tokens, the text encoder reads {parts.max_tokens - 2} at "
            "once; give it a shorter name in generator.words."
        )
    return tokens


def _chunks(chunks: Sequence[Sequence[tuple[int, int]]], parts: StableDiffusion) -> TokenChunks:
    reader = parts.tokenizer
    tokens = torch.full((len(chunks), parts.max_tokens), reader.pad_token_id)
    owners = torch.full_like(tokens, EVERYONE)
    tokens[:, 0] = reader.bos_token_id
    for row, chunk in enumerate(chunks):
        for place, (token, train) in enumerate(chunk, start=1):
            tokens[row, place], owners[row, place] = token, train
        tokens[row, len(chunk) + 1] = reader.eos_token_id
    return TokenChunks(tokens, owners)


def _take_weights(parts: StableDiffusion, path: Path) -> None:
    """Puts the weights of an original checkpoint into the parts; the averaged ones where it has them."""
    state = _read_checkpoint(path)
    text = {
        name.removeprefix(TEXT_PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(TEXT_PREFIX) and not name.endswith("position_ids")
    }
    try:
        parts.unet.load_state_dict(convert_ldm_unet_checkpoint(state, parts.unet.config, extract_ema=True))
        if text:
            getattr(parts.text_encoder, "text_model", parts.text_encoder).load_state_dict(text)
    except (RuntimeError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(
            f"{path}: these weights do not fit the model that they should go into "
            f"({' '.join(str(error).split())[:160]}); set generator.model to the Stable Diffusion that they "
            "were fitted from (1.4 for FreestyleNet's)."
        ) from None


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(
            f"{path}: there is no such checkpoint; FreestyleNet's are linked from its repository's README."
        )
    if path.suffix == ".safetensors":
        return read_tensors(path, "weights in safetensors", "get the file again", ModelError)[0]
    regular_size(path, "a checkpoint of torch", MAX_FILE_BYTES, ModelError)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ModelError(
            f"{path}: holds more than weights, and reading it would run code from the file "
            f"({' '.join(str(error).split())[:120]}); on a machine where that is safe, store "
            "torch.load(path, weights_only=False)['state_dict'] with safetensors, and give that file."
        ) from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ModelError(f"{path}: holds no weights by name, expected a state_dict; get the file again.")
    return weights


COUNTED = CountedFamily(Counted(0.006, 0.6813, 0.1225), 859.5, Counted(0.0, 0.0635), Counted(0.0072, 0.7421))
"""With class names in two chunks, as half of 150 are."""

FREESTYLE = GeneratorKind(
    settings=FreestyleSettings,
    load=load_freestyle,
    counted=CountedModels({"CompVis/stable-diffusion-v1-4": COUNTED}),
)
