"""Operations and memory of the generators at their published shapes, counted without weights and without a GPU.

A step is the diffusion network under its ControlNet on one image. Operations are those of torch.utils.flop_counter, two
a multiply-add. Memory is what lives at once: tensors are followed from their making to their end, with fused attention;
weights are in bfloat16, the autoencoders in float32. Text encoders lie in main memory. Neither the teacher nor what a
GPU's libraries take is in it.

    python benchmarks/generator_costs.py --json benchmarks/generator-costs_DATE.json
    python benchmarks/generator_costs.py --page       writes the table of docs/generators.md from the latest record
"""

import argparse
import json
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    ControlNetUnionModel,
    FluxControlNetModel,
    FluxTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from full_size_models import FULL_WIDTH, new_unet
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from d3s2.base.formats.files import read_json, write_json
from d3s2.base.machine.runtime import commit, versions
from d3s2.generator.autoencoders import decode
from d3s2.generator.predictions import Predict
from d3s2.generator.stable_diffusion.controlnet import predicted
from d3s2.generator.text_to_image.flux import T5_TOKENS as FLUX_TOKENS
from d3s2.generator.text_to_image.flux import Flux
from d3s2.generator.text_to_image.sd3 import SD3
from d3s2.generator.text_to_image.sd3 import T5_TOKENS as SD3_TOKENS
from d3s2.generator.text_to_image.sdxl import SDXL
from d3s2.generator.text_to_image.text import Text, TextEncoder
from d3s2.model_cards import MODEL_CARDS
from d3s2.planning.flops import REFERENCE, seconds_on
from d3s2.planning.living import GIB, Living, peak_gib

warnings.filterwarnings("ignore", ".*FluxPosEmbed", FutureWarning)
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "generators.md"
SIZES_PX = (256, 512, 1024)
CLIP_TOKENS = 77
STEPS = 24
NO_ENCODER = TextEncoder(nn.Identity(), None, 0, torch.device("cpu"))  # text is read once an image, and is not counted


@dataclass(frozen=True)
class Model:
    """A family at its published shape.

    Args:
        networks: diffusion network, and ControlNet where there is one.
        texts: text encoders.
        predict: (text, pictures) -> the step.
        text: (tokens, channels, pooled channels).
        channels: of a latent.
        guided: whether classifier-free guidance doubles the batch.
    """

    networks: tuple[nn.Module, ...]
    texts: tuple[nn.Module, ...]
    predict: Callable[[Text, Tensor], Predict]
    text: tuple[int, int, int]
    channels: int
    guided: bool


def clip(width: int, layers: int, *, projected: bool) -> nn.Module:
    """A text encoder of CLIP, with heads of 64 channels."""
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5_xxl() -> nn.Module:
    """The encoder of T5-XXL."""
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    return T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **sizes))


def new_vae(channels: int) -> AutoencoderKL:
    """The autoencoder that all families have, for latents of so many channels."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        shift_factor=0.1,
    )


def tiny_of(model: "Model") -> AutoencoderTiny:
    """TAESD and its like."""
    return AutoencoderTiny(latent_channels=model.channels)


def sd15() -> Model:
    """As lllyasviel/control_v11p_sd15_seg goes with it."""
    unet = new_unet(FULL_WIDTH)
    controlnet = ControlNetModel.from_unet(unet)

    def predict(text: Text, pictures: Tensor) -> Predict:
        pictures = pictures.expand(len(text.tokens), -1, -1, -1)
        return lambda x, time: predicted(unet, controlnet, x, time, text.tokens, pictures)

    texts = (clip(768, 12, projected=False),)
    return Model((unet, controlnet), texts, predict, (CLIP_TOKENS, 768, 768), 4, guided=True)


def sdxl(*, union: bool = False) -> Model:
    """With a ControlNet as large as its encoder, or the union one of six kinds of conditions."""
    shape: dict[str, Any] = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    unet = UNet2DConditionModel(
        sample_size=128, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **shape
    )
    controlnet: Any = ControlNetUnionModel(**shape) if union else ControlNetModel.from_unet(unet)
    mode = MODEL_CARDS["xinsir/controlnet-union-sdxl-1.0"].control_mode if union else None
    family = SDXL(unet, controlnet, (NO_ENCODER, NO_ENCODER), "epsilon", mode)
    texts = (clip(768, 12, projected=False), clip(1280, 32, projected=True))
    predict = lambda text, pictures: family.predict(text, pictures, 1.0)  # noqa: E731
    return Model((unet, controlnet), texts, predict, (CLIP_TOKENS, 2048, 1280), 4, guided=True)


def sd3(layers: int, control_layers: int, **others: Any) -> Model:
    """As many heads as blocks; the ControlNet is of the same width."""
    shape = {
        "sample_size": 128,
        "num_attention_heads": layers,
        "caption_projection_dim": 64 * layers,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
        **others,
    }
    transformer = SD3Transformer2DModel(num_layers=layers, **shape)
    shape.pop("dual_attention_layers", None)
    controlnet = SD3ControlNetModel(num_layers=control_layers, **shape)
    family = SD3(transformer, controlnet, new_vae(16), (NO_ENCODER, NO_ENCODER), None)
    texts = (clip(768, 12, projected=True), clip(1280, 32, projected=True), t5_xxl())
    predict = lambda text, pictures: family.predict(text, pictures, 1.0)  # noqa: E731
    return Model((transformer, controlnet), texts, predict, (CLIP_TOKENS + SD3_TOKENS, 4096, 2048), 16, guided=True)


def flux() -> Model:
    """The ControlNet has two blocks, as the Layout-ControlNet has by the size of its file."""
    transformer = FluxTransformer2DModel(guidance_embeds=True)
    controlnet: Any = FluxControlNetModel
    control = controlnet(in_channels=64, num_layers=2, num_single_layers=0, guidance_embeds=True)
    family = Flux(transformer, control, new_vae(16), NO_ENCODER, NO_ENCODER, None, 3.5)
    predict = lambda text, pictures: family.predict(text, pictures, 1.0)  # noqa: E731
    texts = (clip(768, 12, projected=False), t5_xxl())
    return Model((transformer, control), texts, predict, (FLUX_TOKENS, 4096, 768), 16, guided=False)


def sd14() -> Model:
    """FreestyleNet: no ControlNet; half of 150 class names fill two chunks of the text encoder."""
    unet = new_unet(FULL_WIDTH)

    def predict(text: Text, pictures: Tensor) -> Predict:
        return lambda x, time: unet(x, time, text.tokens).sample

    texts = (clip(768, 12, projected=False),)
    return Model((unet,), texts, predict, (2 * CLIP_TOKENS, 768, 768), 4, guided=True)


FITTED = ("Stable Diffusion 1.5, ControlNet 1.1",)
FACTS = {
    "Stable Diffusion 1.4, FreestyleNet": (2023, "CreativeML OpenRAIL-M, MIT"),
    "Stable Diffusion 1.5, ControlNet 1.1": (2023, "CreativeML OpenRAIL-M, OpenRAIL"),
    "SDXL, union ControlNet": (2024, "CreativeML Open RAIL++-M, Apache-2.0"),
    "SDXL, ControlNet": (2023, "CreativeML Open RAIL++-M, Apache-2.0"),
    "Stable Diffusion 3 medium, ControlNet of 6 blocks": (2024, "Stability AI Community"),
    "Stable Diffusion 3.5 large, ControlNet of 6 blocks": (2024, "Stability AI Community"),
    "FLUX.1-dev, Layout-ControlNet": (2024, "FLUX.1 [dev] Non-Commercial"),
}
"""Year of what was published last, and licences of base and condition as their pages state them."""
MODELS: dict[str, Callable[[], Model]] = {
    "Stable Diffusion 1.4, FreestyleNet": sd14,
    "Stable Diffusion 1.5, ControlNet 1.1": sd15,
    "SDXL, ControlNet": sdxl,
    "SDXL, union ControlNet": lambda: sdxl(union=True),
    "Stable Diffusion 3 medium, ControlNet of 6 blocks": lambda: sd3(24, 6),
    "Stable Diffusion 3.5 large, ControlNet of 6 blocks": lambda: sd3(38, 6, qk_norm="rms_norm"),
    "FLUX.1-dev, Layout-ControlNet": flux,
}


def state_of(*networks: nn.Module) -> list[Tensor]:
    """Weights and buffers."""
    return [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]


def run_step(model: Model, size_px: int, batch: int, *, gradient: bool) -> Callable[[], None]:
    """A step with everything bound."""
    tokens, width, pooled = model.text
    text = Text(torch.zeros(batch, tokens, width), torch.zeros(batch, pooled))
    with torch.no_grad():
        predict = model.predict(text, torch.zeros(1, 3, size_px, size_px))
    x = torch.zeros(batch, model.channels, size_px // 8, size_px // 8, requires_grad=gradient)
    time = torch.zeros(batch)

    def step() -> None:
        with nullcontext() if gradient else torch.no_grad():
            output = predict(x, time)
        if gradient:
            output.sum().backward()

    return step


def operations(model: Model, size_px: int) -> float:
    """Of a step, in TFLOP; on the meta device every product is counted, those of attention too."""
    with torch.device("meta"):
        return counted(run_step(model, size_px, 1, gradient=False))


def counted(call: Callable[[], object]) -> float:
    """What a call takes, in TFLOP."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e12


def decode_tflop(autoencoder: Any, channels: int, size_px: int) -> float:
    """Of decoding one image."""
    with torch.device("meta"), torch.no_grad():
        latents = torch.zeros(1, channels, size_px // 8, size_px // 8)
        return counted(lambda: decode(autoencoder, latents))


def fitted(tflop: list[float]) -> list[float]:
    """(fixed, by pixels, by pairs) of `Counted`, from the operations at `SIZES_PX`."""
    pixels = np.array([(size / 512) ** 2 for size in SIZES_PX])
    return [round(float(value), 5) + 0.0 for value in np.linalg.solve(np.vander(pixels, increasing=True), tflop)]


def step_gib(model: Model, size_px: int, *, gradient: bool) -> float:
    """Beyond the weights, of a step on one image, twice under classifier-free guidance."""
    return peak_gib(run_step(model, size_px, 2 if model.guided else 1, gradient=gradient))


def fit_held_gib(model: Model, size_px: int) -> float:
    """What a pair holds for the backward pass while the ControlNet learns, in bfloat16."""
    controlnet = model.networks[1].requires_grad_(True)
    tokens, width, pooled = model.text
    text = Text(torch.zeros(1, tokens, width), torch.zeros(1, pooled))
    x, time = torch.zeros(1, model.channels, size_px // 8, size_px // 8), torch.zeros(1)
    pictures = torch.zeros(1, 3, size_px, size_px)
    with Living() as living:
        output = model.predict(text, pictures)(x, time)
        held = living.now
    controlnet.requires_grad_(False)
    del output
    return held / GIB


def decode_gib(autoencoder: Any, channels: int, size_px: int, *, gradient: bool) -> float:
    """Beyond the weights, of decoding one image, and of the way back."""
    latents = torch.zeros(1, channels, size_px // 8, size_px // 8, requires_grad=gradient)

    def run() -> None:
        with nullcontext() if gradient else torch.no_grad():
            image = decode(autoencoder, latents)
        if gradient:
            image.sum().backward()

    return peak_gib(run)


def linear(gib: list[float], passes: int = 1) -> list[float]:
    """(fixed, by pixels, 0) of `Counted`, from the GiB at the last two of `SIZES_PX`, of one of so many passes."""
    first, last = gib[0] / passes, gib[1] / passes
    first_share, last_share = ((size / 512) ** 2 for size in SIZES_PX[1:])
    slope = (last - first) / (last_share - first_share)
    return [round(first - slope * first_share, 4) + 0.0, round(slope, 4), 0.0]


def measured(name: str) -> dict[str, Any]:
    """One row: weights, operations, memory and seconds of a card."""
    with torch.device("meta"):
        model = MODELS[name]()
        vae, tiny = new_vae(model.channels), tiny_of(model)
        for network in (*model.networks, *model.texts, vae, tiny):
            network.eval().requires_grad_(False)
    weights = [sum(tensor.numel() for tensor in state_of(*part)) for part in (model.networks, model.texts, (vae, tiny))]
    tflop = [operations(model, size) for size in SIZES_PX]
    decodes = {
        kind: fitted([decode_tflop(network, model.channels, size) for size in SIZES_PX])
        for kind, network in (("decoder", vae), ("tiny_decoder", tiny))
    }
    row: dict[str, Any] = {
        "model": name,
        "billion_weights": {"networks": round(weights[0] / 1e9, 3), "texts": round(weights[1] / 1e9, 3)},
        "million_weights": {
            "diffusion": round(sum(tensor.numel() for tensor in state_of(model.networks[0])) / 1e6, 1),
            "controlnet": round(sum(tensor.numel() for tensor in state_of(*model.networks[1:])) / 1e6, 1),
            "autoencoders": round(weights[2] / 1e6, 1),
        },
        "weights_gib": round((2 * weights[0] + 4 * weights[2]) / GIB, 2),
        "step_tflop": dict(zip(map(str, SIZES_PX), (round(value, 3) for value in tflop), strict=True)),
        "counted": {"step": fitted(tflop), **decodes},
    }
    with FakeTensorMode(), torch.device("cpu"):
        vae, tiny = (network.eval().requires_grad_(False) for network in (new_vae(model.channels), tiny_of(model)))
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = MODELS[name]()
            for network in model.networks:
                network.eval().requires_grad_(False)
            steps = {size: [step_gib(model, size, gradient=g) for g in (False, True)] for size in SIZES_PX[1:]}
            if name in FITTED:
                row["fit_held_gib_512"] = round(fit_held_gib(model, 512), 3)
        finally:
            torch.set_default_dtype(torch.float32)
        smalls = {size: decode_gib(tiny, model.channels, size, gradient=True) for size in steps}
        larges = {size: decode_gib(vae, model.channels, size, gradient=True) for size in steps}
        finals = {size: decode_gib(vae, model.channels, size, gradient=False) for size in steps}
        passes = 2 if model.guided else 1
        row["counted_gib"] = {
            "network": linear([plain for plain, _ in steps.values()], passes),
            "network_gradient": linear([gradient for _, gradient in steps.values()], passes),
            "tiny_decoder_gradient": linear([*smalls.values()]),
            "decoder_gradient": linear([*larges.values()]),
            "decoder": linear([*finals.values()]),
        }
        for size, (plain, gradient) in steps.items():
            small, final = smalls[size], finals[size]
            peaks = {"step": plain, "step_gradient": gradient, "tiny_decode_gradient": small, "decode": final}
            row[f"peak_gib_{size}"] = {what: round(value, 2) for what, value in peaks.items()}
            row[f"fast_gib_{size}"] = round(row["weights_gib"] + max(plain, small, final), 1)
            row[f"full_gib_{size}"] = round(row["weights_gib"] + max(gradient + small, final), 1)
    for size, value in zip(SIZES_PX[1:], tflop[1:], strict=True):
        row[f"sample_s_{size}"] = round(
            seconds_on(REFERENCE, "diffusion", STEPS * value * (2 if model.guided else 1)), 1
        )
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = "| model | year | licence | 10^9 weights | GiB at 512 px: `fast`, `full` | at 1024 px | s at 512, 1024 px |"
    lines = [head, "|---|---|---|---:|---:|---:|---:|"]
    for row in rows:
        year, licence = FACTS[row["model"]]
        weights = sum(row["billion_weights"].values())
        memory = (f"{row[f'fast_gib_{size}']:.0f}, {row[f'full_gib_{size}']:.0f}" for size in SIZES_PX[1:])
        seconds = ", ".join(f"{row[f'sample_s_{size}']:.0f}" for size in SIZES_PX[1:])
        lines.append(f"| {row['model']} | {year} | {licence} | {weights:.1f} | {' | '.join(memory)} | {seconds} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with its table made anew from the latest record."""
    (*_, latest) = sorted((ROOT / "benchmarks").glob("generator-costs_*.json"))
    made = f"<!-- generator-costs -->\n{table(read_json(latest)['rows'])}<!-- /generator-costs -->"
    return re.sub(r"<!-- generator-costs -->\n.*?<!-- /generator-costs -->", lambda _: made, page, flags=re.DOTALL)


def main() -> None:
    """Counts every family, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--page", action="store_true", help="write the table of docs/generators.md and count nothing")
    parser.add_argument("--only", nargs="+", choices=[*MODELS], default=[*MODELS], help="these models alone")
    args = parser.parse_args()
    if args.page:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    rows = []
    for name in args.only:
        rows.append(measured(name))
        print(json.dumps(rows[-1], indent=1), flush=True)
    if args.json is not None:
        told = {
            "benchmark": "generator-costs",
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "command": "python benchmarks/generator_costs.py",
            "versions": versions(),
            "steps": STEPS,
            "card": REFERENCE.name,
            "rows": rows,
        }
        write_json(args.json, told)


if __name__ == "__main__":
    main()
