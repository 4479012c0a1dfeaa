"""Text encoders with their tokenizers: CLIP's last but one states and pooled embedding, and T5's states."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from d3s2.base.errors import ModelError
from d3s2.generator.compute import DTYPES
from d3s2.generator.offloading import offloaded
from d3s2.generator.text_to_image.settings import TextToImageSettings
from d3s2.hub import load_files, load_part


class Text(NamedTuple):
    """Prompts as a diffusion network reads them.

    Args:
        tokens: an embedding a token.
        pooled: one a prompt.
    """

    tokens: Float[Tensor, "b t d"]
    pooled: Float[Tensor, "b p"]


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder, frozen, with its tokenizer.

    Args:
        network: of transformers.
        tokenizer: of the same model.
        max_tokens: what is read at once, start and end included; shorter prompts are padded to it.
        device: where it computes; its weights may lie elsewhere (`offloading`).
    """

    network: nn.Module
    tokenizer: Any
    max_tokens: int
    device: torch.device

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, start and end included."""
        return len(self.tokenizer(text, verbose=False).input_ids)

    @torch.no_grad()
    def read(self, prompts: list[str], *, hidden: bool = False) -> Any:
        """What the network says of prompts; what is longer than it reads is cut off."""
        return self.network(self.ids(prompts).to(self.device), output_hidden_states=hidden)

    def ids(self, prompts: list[str]) -> Int[Tensor, "b t"]:
        """Token ids, padded."""
        read = self.tokenizer(
            prompts, padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        )
        ids: Tensor = read.input_ids
        return ids

    def clip(self, prompts: list[str]) -> Text:
        """States before the last layer of CLIP, and the projected embedding of a whole prompt where it has one."""
        output = self.read(prompts, hidden=True)
        pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
        return Text(output.hidden_states[-2], pooled)

    def t5_states(self, prompts: list[str]) -> Float[Tensor, "b t d"]:
        """States after the last layer of T5; its padding is read too, as the families were trained."""
        states: Tensor = self.read(prompts)[0]
        return states


def load_clip(
    settings: TextToImageSettings, device: torch.device, number: str = "", *, projected: bool = True
) -> TextEncoder:
    """A CLIP text encoder of a pipeline, from 'text_encoder' or 'text_encoder_2'.

    Args:
        device: where it computes.
        number: '' or '_2'.
        projected: with the projection of the pooled embedding.

    Raises:
        ModelError: it is missing, or its tokenizer is of another model.
    """
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    network, tokenizer = _load(settings, kind, CLIPTokenizer, number)
    max_tokens = min(tokenizer.model_max_length, network.config.max_position_embeddings)
    return TextEncoder(offloaded(network, device), tokenizer, max_tokens, device)


def load_t5(settings: TextToImageSettings, device: torch.device, number: str, max_tokens: int) -> TextEncoder:
    """A T5 text encoder of a pipeline, from 'text_encoder_2' or 'text_encoder_3'; raises ModelError as `load_clip`."""
    network, tokenizer = _load(settings, T5EncoderModel, T5Tokenizer, number)
    return TextEncoder(offloaded(network, device), tokenizer, max_tokens, device)


def _load(settings: TextToImageSettings, kind: Any, tokenizer_kind: Any, number: str) -> tuple[Any, Any]:
    dtype, revision = DTYPES[settings.compute.dtype], settings.model_revision
    network = load_part(kind, settings.model, f"text_encoder{number}", settings, dtype, revision)
    tokenizer = load_files(tokenizer_kind, settings.model, f"tokenizer{number}", settings, revision)
    if len(tokenizer) > network.config.vocab_size:  # T5's table of embeddings is longer than its vocabulary
        raise ModelError(
            f"{settings.model}: the tokenizer in tokenizer{number} knows {len(tokenizer)} tokens, the text encoder "
            f"{network.config.vocab_size}; take both from one pipeline."
        )
    return network, tokenizer
