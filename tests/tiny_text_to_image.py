"""SDXL, Stable Diffusion 3 and FLUX in miniature: the real classes with small random weights, stored as published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    ControlNetUnionModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from tiny_stable_diffusion import MAX_TOKENS, write_tokenizer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CLIP_CHANNELS, PROJECTED, T5_CHANNELS = 16, 12, 40
LETTERS = "abcdefghijklmnopqrstuvwxyz,▁"
NUM_MODES = 6


def new_vae(channels: int, *, shift: float | None = None) -> AutoencoderKL:
    """One whose codes are their means: the pipelines draw around the mean, and nothing would equal that."""
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        scaling_factor=0.7,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )
    with torch.no_grad():
        last = vae.encoder.conv_out if shift is not None else vae.quant_conv
        last.weight[channels:] = 0
        last.bias[channels:] = -30.0
    return vae


def new_tiny_decoder(channels: int) -> AutoencoderTiny:
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    return AutoencoderTiny(latent_channels=channels, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4, **blocks)


def write_clip(folder: Path, number: str, *, projected: bool) -> None:
    num_tokens = write_tokenizer(folder / f"tokenizer{number}")
    config = CLIPTextConfig(
        vocab_size=num_tokens,
        hidden_size=CLIP_CHANNELS,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=PROJECTED,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=num_tokens - 2,
        eos_token_id=num_tokens - 1,
        pad_token_id=num_tokens - 1,
    )
    network = CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)
    network.save_pretrained(folder / f"text_encoder{number}")


def write_t5(folder: Path, number: str) -> None:
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -2.0) for letter in LETTERS)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(folder / f"tokenizer{number}")
    sizes = {"d_model": T5_CHANNELS, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=64, **sizes)).save_pretrained(folder / f"text_encoder{number}")


def stirred(network: Any) -> Any:
    """Weights that fresh ControlNets hold at zero, drawn at random: otherwise they would ignore the condition.

    Those that read its picture are enlarged: through eight layers of torch's own initial size little of it is left.
    """
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
            if name.startswith("controlnet_cond_embedding") and weight.ndim > 1:
                weight *= 3
    return network


def write(folder: Path, parts: Mapping[str, Any]) -> Path:
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    return folder


def write_sdxl(folder: Path, seed: int = 0) -> Path:
    """Parts of a Stable Diffusion XL pipeline; beside them controlnet, union_controlnet and tiny_decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shared: dict[str, Any] = {
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "attention_head_dim": (2, 4),
            "norm_num_groups": 8,
            "cross_attention_dim": 2 * CLIP_CHANNELS,
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + PROJECTED,
        }
        unet = UNet2DConditionModel(sample_size=8, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **shared)
        hint = {"conditioning_embedding_out_channels": (4, 8, 8, 8)}
        union = ControlNetUnionModel(
            num_control_type=NUM_MODES, num_trans_channel=16, num_trans_head=2, num_proj_channel=16, **shared, **hint
        )
        parts = {
            "unet": unet,
            "vae": new_vae(4),
            "tiny_decoder": new_tiny_decoder(4),
            "controlnet": stirred(ControlNetModel.from_unet(unet, **hint)),
            "union_controlnet": stirred(union),
            "scheduler": EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                timestep_spacing="leading",
            ),
        }  # fmt: skip
        write_clip(folder, "", projected=False)
        write_clip(folder, "_2", projected=True)
        return write(folder, parts)


def write_sd3(folder: Path, seed: int = 0) -> Path:
    """Parts of a Stable Diffusion 3 pipeline; beside them tiny_decoder and ControlNets of three makers' kinds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shared: dict[str, Any] = {
            "sample_size": 8,
            "in_channels": 4,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": T5_CHANNELS,
            "caption_projection_dim": 16,
            "pooled_projection_dim": 2 * PROJECTED,
            "pos_embed_max_size": 12,
        }
        alone = {**shared, "joint_attention_dim": None, "use_pos_embed": False}
        parts = {
            "transformer": SD3Transformer2DModel(num_layers=2, out_channels=4, **shared),
            "vae": new_vae(4, shift=0.1),
            "tiny_decoder": new_tiny_decoder(4),
            "controlnet": stirred(SD3ControlNetModel(num_layers=1, force_zeros_for_pooled_projection=False, **shared)),
            "zero_pooled_controlnet": stirred(SD3ControlNetModel(num_layers=1, **shared)),
            "own_controlnet": stirred(
                SD3ControlNetModel(num_layers=1, force_zeros_for_pooled_projection=False, **alone)
            ),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        }
        write_clip(folder, "", projected=True)
        write_clip(folder, "_2", projected=True)
        write_t5(folder, "_3")
        return write(folder, parts)


def write_flux(folder: Path, seed: int = 0) -> Path:
    """Parts of a FLUX.1-dev pipeline; beside them controlnet, union_controlnet and tiny_decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shared: dict[str, Any] = {
            "in_channels": 16,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": T5_CHANNELS,
            "pooled_projection_dim": CLIP_CHANNELS,
            "axes_dims_rope": (2, 2, 4),
        }
        controlnet: Any = FluxControlNetModel
        parts = {
            "transformer": FluxTransformer2DModel(num_layers=2, num_single_layers=1, guidance_embeds=True, **shared),
            "vae": new_vae(4, shift=0.1),
            "tiny_decoder": new_tiny_decoder(4),
            "controlnet": stirred(controlnet(num_layers=1, num_single_layers=0, guidance_embeds=True, **shared)),
            "union_controlnet": stirred(controlnet(num_layers=1, num_single_layers=1, num_mode=NUM_MODES, **shared)),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        }
        write_clip(folder, "", projected=False)
        write_t5(folder, "_2")
        return write(folder, parts)
