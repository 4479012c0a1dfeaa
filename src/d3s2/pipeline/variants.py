"""Variants of one run: axes along which an ablation goes, each a list of changes of the recipe."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from d3s2.base.config import build, with_overrides
from d3s2.base.errors import ConfigError
from d3s2.base.formats.yaml_text import parse_yaml
from d3s2.base.names import choose
from d3s2.evaluation import parse_set
from d3s2.pipeline.config import RunConfig
from d3s2.set_names import BALANCED, GUIDED, RANDOM, SOFT_END, UNGUIDED, parse_name
from d3s2.synthesis import RULES

DISTILLED, SOFT = (GUIDED,), f"{GUIDED}{SOFT_END}"
ALWAYS = ("synthesize.unguided_too=false", "synthesize.measure_cost=false")
"""What holds for every variant that does not say otherwise: a set without guidance is mostly one of its own."""

NO_GUIDANCE = "synthesize.guidance.strength=0"
LOSSES = {"segmentation": "segmentation loss", "features": "feature loss"}
"""Energy -> what tables call it."""

BUDGETS = (0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Variant:
    """One value of one axis.

    Args:
        axis: its name.
        name: which value.
        overrides: 'key=value' strings that make it from the recipe.
        sets: which students are trained.
    """

    axis: str
    name: str
    overrides: tuple[str, ...] = ()
    sets: tuple[str, ...] = DISTILLED

    @property
    def makes_a_set(self) -> bool:
        """Whether a distilled set has to be made for it."""
        return any(parse_name(name).is_made_here for name in self.sets)

    def config(self, base: RunConfig) -> RunConfig:
        """The run of this variant."""
        values = with_overrides(base.model_dump(mode="json"), (*ALWAYS, *self.overrides))
        return build(RunConfig, values, f"{self.axis} {self.name}")


Axis = Callable[[RunConfig], tuple[Variant, ...]]


def one_each(axis: str, key: str, *values: Any) -> Axis:
    """An axis that gives `key` each of the values."""
    return lambda _: tuple(_with_value(axis, key, value) for value in values)


def parts(config: RunConfig) -> tuple[Variant, ...]:
    """The method taken apart: selection, synthesis, each energy, and all of it."""
    return (
        Variant("parts", "neither: random masks, real images", (), (RANDOM,)),
        Variant("parts", "selection alone: balanced masks, real images", (), (BALANCED,)),
        Variant("parts", "synthesis alone: random masks, unguided", ("select.method=random", NO_GUIDANCE)),
        Variant("parts", "random masks, guided", ("select.method=random",)),
        Variant("parts", "no guidance", (NO_GUIDANCE,)),
        *_each_energy_alone(config),
        Variant("parts", "everything"),
    )


def _each_energy_alone(config: RunConfig) -> Iterator[Variant]:
    """Every energy that guides, with the weights of the others at 0, where there are several."""
    weights = config.synthesize.guidance.energies
    guiding = [name for name, weight in weights.items() if weight > 0]
    for alone in guiding if len(guiding) > 1 else ():
        others_off = {name: weight if name == alone else 0 for name, weight in weights.items()}
        text = yaml.safe_dump(others_off, default_flow_style=True, sort_keys=False, width=float("inf")).strip()
        name = f"{LOSSES.get(alone, alone)} alone"
        yield Variant("parts", name, (f"synthesize.guidance.energies={text}",))


def layers(config: RunConfig) -> tuple[Variant, ...]:
    """Feature matching at each of the teacher's layers alone, and at all.

    Raises:
        ConfigError: the recipe leaves the layers to the architecture.
    """
    names = config.teacher.layers
    if names is None:
        raise ConfigError(
            "--axis layers goes along teacher.layers, which is null here; name them, for example "
            "teacher.layers=[down1,down2,up1] (docs/networks.md lists those of each architecture)."
        )
    chosen = [*((name,) for name in names), *([names] if len(names) > 1 else [])]
    return tuple(
        Variant("layers", "+".join(some), (f"teacher.layers=[{', '.join(some)}]",), DISTILLED) for some in chosen
    )


def budget(*ratios: float) -> Axis:
    """Shares of the masks; all sets of the recipe at each, but for all real data, which have no budget."""

    def variants(config: RunConfig) -> tuple[Variant, ...]:
        sets = tuple(name for name in config.evaluate.sets if not parse_name(name).takes_all)
        unguided = any(part.made == UNGUIDED for name in sets for part in parse_set(name))
        also = ("synthesize.unguided_too=true",) if unguided else ()
        return tuple(
            Variant("budget", f"{100 * ratio:g} %", (f"select.ratio={ratio}", "select.num_masks=null", *also), sets)
            for ratio in ratios
        )

    return variants


def soft(_: RunConfig) -> tuple[Variant, ...]:
    """The teacher's distribution beside the mask, by its share of the loss; the same images for all."""
    made = "synthesize.soft={}"
    weights = (0.25, 0.5, 1.0)
    return (
        Variant("soft", "masks alone", (made,)),
        *(Variant("soft", f"{weight:g}", (made, f"evaluate.soft_weight={weight}"), (SOFT,)) for weight in weights),
    )


AXES: dict[str, Axis] = {
    "parts": parts,
    "rule": one_each("rule", "synthesize.guidance.rule", *RULES),
    "window": one_each("window", "synthesize.guidance.window", [0.0, 1.0], [0.1, 0.8], [0.1, 0.5], [0.5, 0.9]),
    "strength": one_each("strength", "synthesize.guidance.strength", 0, 0.25, 0.5, 1, 2),
    "layers": layers,
    "budget": budget(*BUDGETS),
    "candidates": one_each("candidates", "synthesize.candidates", 1, 2, 4),
    "soft": soft,
    "filter": one_each("filter", "synthesize.filter", None, 1.25, 2.0),
}
"""What `--axis` knows; `--vary key=v1,v2` goes along any other key."""


def plan_variants(config: RunConfig, axes: Sequence[str], vary: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of named axes and of free ones, `key=v1,v2,...`; without any, those of 'parts'.

    Raises:
        UsageError: an axis is unknown, or a free one is not of that form (ConfigError) or holds a wrong key or value.
    """
    chosen = axes if axes or vary else ("parts",)
    planned = [variant for name in dict.fromkeys(chosen) for variant in choose(AXES, name, "axis")(config)]
    planned += [variant for text in vary for variant in _free_axis(text, config)]
    for variant in planned:
        variant.config(config)
    return tuple(planned)


def folder_name(config: RunConfig, base: RunConfig) -> str:
    """What a variant's folder is called: the keys in which its distilled set differs from the recipe's, or 'base'."""
    plain = Variant("", "").config(base)
    ours, theirs = _flat(config.model_dump(mode="json")), _flat(plain.model_dump(mode="json"))
    changed = {
        key: ours.get(key)
        for key in {**theirs, **ours}
        if theirs.get(key) != ours.get(key) and not key.startswith("evaluate.")
    }
    name = "+".join(f"{key.removeprefix('synthesize.')}={value}" for key, value in sorted(changed.items()))
    return re.sub(r"[^A-Za-z0-9.+=_-]+", "_", name) or "base"


def _free_axis(text: str, config: RunConfig) -> Iterator[Variant]:
    key, equals, values = text.partition("=")
    try:
        read = parse_yaml(f"[{values}]")
    except ConfigError:
        read = None
    if not equals or not key or not read:
        raise ConfigError(
            f"--vary '{text}' is not of the form key=value,value (for example synthesize.steps=12,24 or "
            "synthesize.guidance.window=[0.1,0.5],[0.1,0.9])."
        )
    if key == "select.ratio":
        yield from budget(*read)(config)
        return
    for value in read:
        yield _with_value(key.rpartition(".")[2], key, value)


def _with_value(axis: str, key: str, value: Any) -> Variant:
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return Variant(axis, text.strip("[]{}").replace(", ", " to ") if axis == "window" else text, (f"{key}={text}",))


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
