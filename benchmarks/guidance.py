"""What guidance costs: seconds and most memory of sampling the same image from the same noise, with it and without.

    python benchmarks/guidance.py --tiny                                     seconds: is everything in place?
    python benchmarks/guidance.py --out benchmarks/guidance_DATE.json        256 px, 3 steps, for two cores
    python benchmarks/guidance.py --size 512 --steps 20 --device cuda --out benchmarks/guidance_gpu_DATE.json

Stable Diffusion 1.5 with its segmentation ControlNet, guided by Mask2Former Swin-S: the published shapes with random
weights, written to a scratch folder and loaded as users load them, in float32 (with --dtype the diffusion network and
the text encoder in another format). Sides: `unguided`; `pipeline`, the unguided StableDiffusionControlNetPipeline of
diffusers; `fast` with the tiny autoencoder; `fast_small`, the same with a teacher that sees half the side
(`teacher.size_px`); `fast_hold`, `fast` with a gradient at every second step that is held at the next; `recipe`, what
the recipe `ade20k` asks of guidance: window, gradients, layers of the teacher; `fast_vae`, `fast` with the full
autoencoder; `full` and `both`, through the diffusion network, with the tiny one. Every
side makes the condition, takes all steps, and decodes the image with the full autoencoder. But for `recipe`, guidance
acts at every step, which is more than the window of a recipe lets through. All sides run in one process, one after the
other, on a CPU on one thread, as `guided_sample` does it; seconds are those of its trace, in which the teacher seeing
the finished image does not count. Memory is the most that is held meanwhile, the weights of all sides (`weights_gib`)
included, and beyond what was held before.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from diffusers import StableDiffusionControlNetPipeline
from full_size_models import FULL_WIDTH, TINY_WIDTH, blocks, label_space, pipeline_parts, write_models
from side_by_side import in_own_process, parser_for, peak_gib_of, tell
from torch import Tensor

from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.runtime import pick_device, wait_for
from d3s2.base.seeds import torch_generator
from d3s2.generator.compute import DTYPES
from d3s2.generator.conditions.palettes import OWN_PALETTE
from d3s2.generator.samplers import initial_noise
from d3s2.generator.settings import ComputeSettings
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator, load_controlnet
from d3s2.generator.stable_diffusion.settings import ControlNetSettings
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.planning.memory import sampling_gib
from d3s2.recipes import load_run
from d3s2.synthesis.guided import guided_sample, item_noise
from d3s2.synthesis.settings import GuidanceSettings, SynthesizeSettings
from d3s2.teacher.bank import FeatureBank, gather_bank

SPACE = label_space(150)
BAR = 1.25
WHOLE = "whole"
"""A file that says that all networks of a folder are written."""
GUIDANCE_SCALE = 7.5
RECIPE = load_run("ade20k")
ALWAYS = GuidanceSettings.model_validate({"window": (0.0, 1.0)})
GUIDED = {
    "fast": ALWAYS,
    "fast_small": ALWAYS,
    "fast_hold": ALWAYS.model_copy(update={"every": 2, "hold": True}),
    "recipe": RECIPE.synthesize.guidance,
    "fast_vae": ALWAYS,
    "full": ALWAYS.model_copy(update={"rule": "full"}),
    "both": ALWAYS.model_copy(update={"rule": "both"}),
}
SIDES = ("unguided", "pipeline", *GUIDED)
Action = Callable[[], float]
"""Makes one image; gives the seconds of sampling it."""


@dataclass(frozen=True)
class Plan:
    """What is measured, small enough to be handed to another process."""

    models: Path
    device: str
    size_px: int
    steps: int
    dtype: str


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    with tempfile.TemporaryDirectory(prefix="d3s2-models-") as scratch:
        models = args.models or Path(scratch)
        if not (models / WHOLE).exists():
            in_own_process(write_all, models, args.tiny)
        plan = Plan(models, str(device), args.size, args.steps, args.dtype)
        weights = peak_gib_of(lambda: None, device)["peak_gib"]
        actions = actions_for(plan, args.sides)
        weights = peak_gib_of(lambda: None, device)["peak_gib"] - weights
        rounds = [measured(actions, device, backwards=number % 2 == 1) for number in range(args.rounds)]
    sides = {side: summed([found[side] for found in rounds]) for side in args.sides}
    for name, side in sides.items():
        side["ratio"] = median(found[name]["seconds"] / found["unguided"]["seconds"] for found in rounds)
        side["ratio_of_fastest"] = fastest(rounds, name) / fastest(rounds, "unguided")
        side["images_per_hour"] = 3600 / side["seconds"]
        side["extra_s_per_step"] = (side["seconds"] - sides["unguided"]["seconds"]) / args.steps
    counted = {} if args.tiny else counted_gib(plan, args.sides)
    shown = {
        "counted_gib": counted,
        "size_px": args.size,
        "steps": args.steps,
        "dtype": args.dtype,
        "tiny": args.tiny,
        "rounds": args.rounds,
    }
    tell("guidance", device, args.out, {**shown, "bar": BAR, "weights_gib": weights, "sides": sides})


def counted_gib(plan: Plan, sides: list[str]) -> dict[str, float]:
    """What plans count for one image, beside the peak that is measured; of sides that plans know."""
    teacher = "teacher.source=facebook/mask2former-swin-small-ade-semantic"
    size, dtype = f"data.size=[{plan.size_px},{plan.size_px}]", f"generator.compute.dtype={plan.dtype}"
    words = (teacher, "teacher.label_map=null", size, dtype, "generator.compute.vae_slicing=false")
    rules = {side: f"synthesize.guidance.rule={side}" for side in ("fast", "full", "both") if side in sides}
    return {
        side: sampling_gib(load_run("ade20k", [*words, rule]), SPACE.num_classes, batch=1) or 0.0
        for side, rule in rules.items()
    }


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("--tiny", action="store_true", help="small random networks at 64 px")
    parser.add_argument("--size", type=int, default=256, help="px, both sides of the image")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="of all but the decoders")
    parser.add_argument("--models", type=Path, help="folder that keeps the networks, for the next call")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    args = parser.parse_args(words)
    args.size = 64 if args.tiny else args.size
    args.sides = list(dict.fromkeys(["unguided", *args.sides]))  # what all others are measured by
    return args


def write_all(folder: Path, tiny: bool) -> None:
    """Stable Diffusion and the teacher, as users have them."""
    write_models(folder, TINY_WIDTH if tiny else FULL_WIDTH, small_vae=tiny)
    teacher = new_segmenter("segformer-b0" if tiny else "mask2former-swin-s", SPACE.num_classes, seed=0)
    save_segmenter(teacher, folder / "teacher", SPACE.names)
    (folder / WHOLE).touch()


def measured(actions: dict[str, Action], device: torch.device, *, backwards: bool) -> dict[str, dict[str, float]]:
    """Side -> seconds and memory of one image; every second round backwards, so that a drift of the machine cancels."""
    found = {}
    for side in reversed(actions) if backwards else actions:
        seconds: list[float] = []
        memory = peak_gib_of(lambda run=actions[side], taken=seconds: taken.append(run()), device)
        found[side] = {"seconds": seconds[0], **memory}
    return found


def summed(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median over the rounds of each figure."""
    return {key: median(found[key] for found in rounds) for key in rounds[0]}


def fastest(rounds: list[dict[str, dict[str, float]]], side: str) -> float:
    """Seconds of a side's fastest round."""
    return min(found[side]["seconds"] for found in rounds)


def actions_for(plan: Plan, sides: list[str]) -> dict[str, Action]:
    """Side -> one image from the same mask and noise."""
    device = torch.device(plan.device)
    settings = ControlNetSettings(
        model=str(plan.models),
        controlnet=str(plan.models / "controlnet"),
        tiny_decoder=str(plan.models / "tiny_decoder"),
        palette=OWN_PALETTE,
        offline=True,
        compute=ComputeSettings.model_validate({"dtype": plan.dtype}),
    )
    generator = load_controlnet(settings, SPACE, device)
    decoders = replace(generator.parts.decoders, tiny=None)
    full_decoder = replace(generator, parts=replace(generator.parts, decoders=decoders))
    masks = blocks((1, plan.size_px, plan.size_px), SPACE.num_classes).to(device)
    found: dict[str, Action] = {"pipeline": pipeline_action(generator, masks, plan)} if "pipeline" in sides else {}
    for side in (name for name in sides if name != "pipeline"):
        decoder = full_decoder if side == "fast_vae" else generator
        teacher = load_segmenter(
            plan.models / "teacher",
            SPACE.names,
            device=device,
            layers=RECIPE.teacher.layers if side == "recipe" else None,
            size_px=plan.size_px // 2 if side == "fast_small" else None,
        )
        found[side] = partial(sampled, decoder, teacher, bank_of(teacher, masks), masks, plan, GUIDED.get(side))
    found["unguided"]()  # warms up
    return {side: found[side] for side in sides}


def sampled(
    generator: ControlNetGenerator,
    teacher: Segmenter,
    bank: FeatureBank,
    masks: Tensor,
    plan: Plan,
    guidance: GuidanceSettings | None,
) -> float:
    """Seconds of d3s2's image, guided where it is said how."""
    settings = SynthesizeSettings(
        steps=plan.steps, guidance_scale=GUIDANCE_SCALE, guidance=guidance or ALWAYS, trace_every=0
    )
    noises, guided = [item_noise(0, "item")], guidance is not None
    made = guided_sample(generator, teacher, bank, masks, noises, settings, device=masks.device, guided=guided)
    return made.trace.wall_s


def bank_of(teacher: Segmenter, masks: Tensor) -> FeatureBank:
    """Statistics of random pixels: what guidance costs does not depend on them."""
    drawn = torch.rand(1, 3, *masks.shape[1:], generator=torch_generator(0, "bank")).to(masks.device)
    with torch.no_grad():
        layers = list(teacher(drawn).features)
    return gather_bank(teacher, [(drawn, masks)], layers, {}).to(masks.device)


def pipeline_action(generator: ControlNetGenerator, masks: Tensor, plan: Plan) -> Action:
    """The same image by the pipeline of diffusers."""
    pipeline = StableDiffusionControlNetPipeline(controlnet=generator.controlnet, **pipeline_parts(generator.parts))
    pipeline.set_progress_bar_config(disable=True)
    shape, dtype = generator.latent_shape((plan.size_px, plan.size_px)), DTYPES[plan.dtype]

    def act() -> float:
        with reproducible(masks.device):
            start = time.perf_counter()
            latents = pipeline(
                generator.prompts(masks),
                image=generator.condition(masks),
                latents=initial_noise([item_noise(0, "item").latent], shape).to(masks.device, dtype),
                num_inference_steps=plan.steps,
                guidance_scale=GUIDANCE_SCALE,
                output_type="latent",
            ).images
            generator.decode(latents.float())  # as on every side: it is float32 whatever the networks are
            wait_for(masks.device)
            return time.perf_counter() - start

    return act


if __name__ == "__main__":
    main()
