"""Stable Diffusion in miniature: the real classes with small random weights, stored as the published models are."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

MAX_TOKENS = 77
TEXT_CHANNELS = 32
MERGES = (
    "s k",
    "sk y</w>",
    "r o",
    "a d</w>",
    "ro ad</w>",
    "t r",
    "e e</w>",
    "tr ee</w>",
    "l a",
    "m p</w>",
    "la mp</w>",
)
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def byte_characters() -> list[str]:
    """The 256 printable characters that byte-level tokenizers write bytes as."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + position) for position in range(len(others))]


def write_tokenizer(folder: Path) -> int:
    """vocab.json, merges.txt and the config of a CLIP tokenizer; returns the number of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = byte_characters()
    tokens = [*characters, *(f"{character}</w>" for character in characters)]
    tokens += [*(merge.replace(" ", "") for merge in MERGES), *SPECIAL]
    vocabulary = {token: position for position, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS, "do_lower_case": True}
    config |= {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[1], "unk_token": SPECIAL[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(vocabulary)


def new_unet(channels: int = 4, text_channels: int = TEXT_CHANNELS) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=8,
        cross_attention_dim=text_channels,
    )


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 8))
    for name, weight in controlnet.named_parameters():
        if name.startswith(("controlnet_", "controlnet_cond_embedding.conv_out")):
            torch.nn.init.normal_(weight, std=0.2)  # fresh ones are zero, and would ignore the condition
    return controlnet


def write_pipeline(folder: Path, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """A pipeline folder: unet, vae, text_encoder, tokenizer, scheduler; beside them controlnet and tiny_decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = new_unet()
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
        )
        tiny = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            num_encoder_blocks=(1, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 1),
        )
        num_tokens = write_tokenizer(folder / "tokenizer")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=num_tokens,
                hidden_size=TEXT_CHANNELS,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=num_tokens - 2,
                eos_token_id=num_tokens - 1,
                pad_token_id=num_tokens - 1,
            )
        )
        for name, part in {
            "unet": unet,
            "vae": vae,
            "text_encoder": text,
            "tiny_decoder": tiny,
            "controlnet": new_controlnet(unet),
        }.items():
            part.save_pretrained(folder / name)
    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    if prediction_type == "epsilon":  # what Stable Diffusion 1.x ships
        scheduler = PNDMScheduler(**settings, skip_prk_steps=True, set_alpha_to_one=False)
    else:
        scheduler = DDIMScheduler(**settings, clip_sample=False, prediction_type=prediction_type)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


RESNET_NAMES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER_NAMES = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def original_names(state: dict[str, torch.Tensor], layers: int = 1) -> dict[str, torch.Tensor]:
    """The weights of a `new_unet` under the names that the original Stable Diffusion code gives them."""
    return {_original_name(name, layers): weight for name, weight in state.items()}


def _original_name(name: str, layers: int) -> str:
    for ours, theirs in OUTER_NAMES.items():
        if name.startswith(ours + "."):
            return name.replace(ours, theirs, 1)
    if name.startswith("mid_block."):
        _, kind, number, rest = name.split(".", 3)
        place = f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}"
    else:
        block, level, kind, number, rest = name.split(".", 4)
        if kind == "downsamplers":
            return f"input_blocks.{1 + int(level) * (layers + 1) + layers}.0.op.{rest.removeprefix('conv.')}"
        if block == "down_blocks":
            place = f"input_blocks.{1 + int(level) * (layers + 1) + int(number)}"
        else:
            last = layers if kind == "upsamplers" else int(number)
            place = f"output_blocks.{int(level) * (layers + 1) + last}"
        if kind == "upsamplers":
            return f"{place}.{1 if level == '0' else 2}.{rest}"  # the first level up does not attend
        place += f".{1 if kind == 'attentions' else 0}"
    if kind == "resnets":
        ours, end = rest.rsplit(".", 1)
        rest = f"{RESNET_NAMES[ours]}.{end}"
    return f"{place}.{rest}"
