"""RunConfig: everything a run was asked for. Recipes and users' run files are this, as YAML.

Each package owns its settings; they are composed here.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from d3s2.base.config import Config
from d3s2.base.tables import Table, is_outside
from d3s2.data import DataSettings
from d3s2.evaluation import ArchitectureSettings, EvaluateSettings
from d3s2.generator import GENERATORS, GeneratorSettings
from d3s2.metrics import METRICS
from d3s2.nets import ARCHITECTURES
from d3s2.selection import METHODS, SelectSettings
from d3s2.student import TrainSettings
from d3s2.synthesis import RULES, SynthesizeSettings
from d3s2.teacher import ENERGIES, TeacherSettings


class FittedTeacherSettings(TeacherSettings):
    """The teacher, and how one is fitted."""

    architecture: ArchitectureSettings = ArchitectureSettings(name="compact-unet")
    """What one is fitted as, with the keys of an entry of `evaluate.architectures`; not read where there is a
    source."""
    train: TrainSettings = TrainSettings(iterations=2000)
    """How one is fitted; not read where there is a source."""


class RunConfig(Config):
    """One run."""

    name: str
    """Of the distilled set."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    """Of everything that is drawn."""
    data: DataSettings
    select: SelectSettings
    teacher: FittedTeacherSettings = FittedTeacherSettings()
    generator: GeneratorSettings
    synthesize: SynthesizeSettings = SynthesizeSettings()
    evaluate: EvaluateSettings


def load_own_code(config: RunConfig) -> None:
    """Imports what a run file names of the user's own, so that a mistyped name is found before hours of fitting.

    Raises:
        UsageError: something cannot be imported, or is not what it is named as.
    """
    for table, name in _named(config):
        if is_outside(name):
            table.load(name)


def _named(config: RunConfig) -> Iterator[tuple[Table[Any], str]]:
    """Every choice by name that may be a user's own."""
    yield GENERATORS, config.generator.kind
    yield METHODS, config.select.method
    yield RULES, config.synthesize.guidance.rule
    yield from ((ENERGIES, name) for name in config.synthesize.guidance.energies)
    architectures = (config.teacher.architecture, *config.evaluate.architectures)
    yield from ((ARCHITECTURES, architecture.name) for architecture in architectures)
    yield from ((METRICS, name) for name in config.evaluate.metrics)
