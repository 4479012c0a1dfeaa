"""What this machine has, which models and data are found, what is missing and how to get it."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from d3s2.base.machine.runtime import autocast_dtype, hardware, versions
from d3s2.base.progress import SILENT, Progress
from d3s2.data import DATASETS, DatasetReport, inspect_dataset
from d3s2.hub import PRETRAINED
from d3s2.model_cards import Use, cards_for, is_cached
from d3s2.pipeline import RunConfig
from d3s2.planning.flops import Gpu, gpu_named, gpu_of
from d3s2.planning.published import RecipeFinding, Takes, counted_basis, recipe_takes, takes_of

SHIPPED_NETWORKS = ("scenes/teacher", "scenes/generator")


@dataclass(frozen=True)
class ModelFinding:
    """One published model or network, whether it is in the local cache, and what it takes of a card."""

    model_id: str
    part: str
    licence: str
    download_gib: float
    found: bool
    how_to_get: str
    takes: Takes | None


@dataclass(frozen=True)
class Examination:
    """What `d3s2 doctor` found."""

    hardware: dict[str, Any]
    versions: dict[str, str]
    devices: tuple[str, ...]
    training_format: str
    shipped: dict[str, bool]
    extras: dict[str, bool]
    cache: str
    models: tuple[ModelFinding, ...]
    networks: tuple[ModelFinding, ...]
    card: str
    recipes: tuple[RecipeFinding, ...]
    datasets: dict[str, str]
    dataset: DatasetReport | None

    @property
    def sound(self) -> bool:
        """Whether what is needed offline is there, and the examined data set is whole."""
        return all(self.shipped.values()) and (self.dataset is None or self.dataset.is_whole)

    def models_text(self) -> str:
        """The published models alone, for a person."""
        lines = [f"Parts of generators in {self.cache}", *_finding_lines(self.models)]
        lines += [f"Segmentation networks in {self.cache}", *_finding_lines(self.networks)]
        if not all(finding.found for finding in (*self.models, *self.networks)):
            lines += [
                "  What is missing is fetched when a run asks for it. For a machine without a network run the line",
                "  below its name on one that has it, copy the folder here, and give its path instead of the id.",
            ]
        lines += (
            [f"Recipes, evaluated on one {self.card}", *(one.as_text() for one in self.recipes)] if self.recipes else []
        )
        lines += ["What the figures rest on", *(f"  {line}" for line in counted_basis(gpu_named(self.card)))]
        return "\n".join(lines)

    def as_text(self) -> str:
        """For a person."""
        lines = ["Machine", *(f"  {key:<12} {value}" for key, value in self.hardware.items())]
        lines += [f"  {'devices':<12} {', '.join(self.devices)}", f"  {'trains in':<12} {self.training_format}"]
        lines += ["Versions", "  " + ", ".join(f"{name} {number}" for name, number in self.versions.items())]
        lines += ["Shipped networks", *(f"  {_mark(there)} {name}" for name, there in self.shipped.items())]
        lines += ["Optional packages", *(f"  {_mark(there)} {name}" for name, there in self.extras.items())]
        lines += [*self._models_here(), "Data sets (examine one with --dataset NAME --root DIR)"]
        lines += [f"  {name:<14} {title}" for name, title in self.datasets.items()]
        return "\n".join(lines)

    def dataset_text(self) -> str:
        """The data set that was examined alone, for a person."""
        return "\n".join(_dataset_lines(self.dataset)) if self.dataset is not None else ""

    def _models_here(self) -> list[str]:
        known = (*self.models, *self.networks)
        here = [one for one in known if one.found]
        more = "`d3s2 doctor --models` lists all with licence, size and how to get them"
        head = f"Published models in {self.cache}: {len(here)} of {len(known)}; {more}"
        return [head, *_finding_lines(here)]


def examine(
    dataset: str | None = None,
    root: Path | str | None = None,
    progress: Progress = SILENT,
    recipes: Mapping[str, RunConfig] | None = None,
) -> Examination:
    """Examines the machine, and one data set where it is named; downloads nothing.

    Args:
        dataset: a known name, or the path of a YAML file.
        root: its folder.
        progress: where reading is told.
        recipes: complete runs by name, of which is said what they take.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    format_, gpu = autocast_dtype(device), gpu_of(device)
    return Examination(
        hardware=hardware(),
        versions=versions(),
        devices=("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))),
        training_format=str(format_ or torch.float32).removeprefix("torch."),
        shipped={name: (PRETRAINED / name / "config.json").is_file() for name in SHIPPED_NETWORKS},
        extras={"datasets": importlib.util.find_spec("datasets") is not None},
        cache=constants.HF_HUB_CACHE,
        models=_findings("generator", gpu),
        networks=_findings("segmentation", gpu),
        card=gpu.name,
        recipes=tuple(recipe_takes(name, config, device) for name, config in (recipes or {}).items()),
        datasets={name: known.title for name, known in DATASETS.items()},
        dataset=None if dataset is None else inspect_dataset(dataset, root, progress=progress),
    )


def _findings(use: Use, gpu: Gpu) -> tuple[ModelFinding, ...]:
    return tuple(
        ModelFinding(
            model_id, card.part, card.licence, card.download_gib, is_cached(card), card.how_to_get, takes_of(card, gpu)
        )
        for model_id, card in cards_for(use).items()
    )


def _finding_lines(findings: Sequence[ModelFinding]) -> list[str]:
    lines = []
    for one in findings:
        size = f"{one.download_gib:g} GiB"
        takes = "" if one.takes is None else f"; {one.takes.as_text()}"
        lines.append(f"  {_mark(one.found)} {one.model_id}: {one.part}; licence {one.licence}; {size}{takes}")
        if not one.found:
            lines.append(f"      {one.how_to_get}")
    return lines


def _mark(there: bool) -> str:
    return "[x]" if there else "[ ]"


def _dataset_lines(report: DatasetReport) -> list[str]:
    lines = [f"Data set {report.name}" + (f" in {report.root}" if report.root else "")]
    for split in report.splits:
        expected = "" if split.num_expected is None else f" of {split.num_expected}"
        lines.append(
            f"  {_mark(split.is_whole)} {split.split}: {split.num_found}{expected} pairs, {split.num_read} read"
        )
        lines += [f"      {problem}" for problem in split.problems if f"      {problem}" not in lines]  # told once
        if split.num_problems > len(split.problems):
            lines.append(f"      ... and {split.num_problems - len(split.problems)} more")
        if split.first_bad:
            lines.append(f"      first bad file: {split.first_bad}")
    return lines
