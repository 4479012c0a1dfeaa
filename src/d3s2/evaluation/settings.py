"""Settings of an evaluation: which sets, which students, how many."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED
from d3s2.base.ranges import LearningRate, NotNegative, Positive
from d3s2.evaluation.set_names import CANDIDATES, checked, checked_candidate
from d3s2.hub.revisions import Revision
from d3s2.metrics.table import METRICS, MIOU
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.student.settings import SlidingWindowSettings, TrainSettings

SetOfPairs = Annotated[str, AfterValidator(checked)]
CandidateSet = Annotated[str, AfterValidator(checked_candidate)]
MetricName = Annotated[str, AfterValidator(METRICS.check)]


class ArchitectureSettings(Config):
    """A network that students are trained as; in YAML its bare name will do."""

    name: Annotated[str, AfterValidator(ARCHITECTURES.check)]
    """`compact-unet`, `segformer-b0`, ...: docs/networks.md lists them."""
    label: str | None = None
    """What tables call it; null is its name."""
    backbone: str | None = None
    """Hub id or folder of a pretrained backbone; null trains from scratch."""
    backbone_revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    iterations: Positive | None = None
    """Optimiser steps; null, here and below, is what `evaluate.train` says."""
    batch: Positive | None = None
    """Pairs an iteration."""
    lr: LearningRate | None = None
    """Peak of the learning rate."""
    weight_decay: NotNegative | None = None
    """Of AdamW."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Largest norm of a step's gradient."""
    accumulate: Positive | None = None
    """Parts of a device's share of a batch that go through the network one after another."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        return {"name": values} if isinstance(values, str) else values

    @property
    def student(self) -> str:
        """What tables call it."""
        return self.label or self.name

    def protocol(self, train: TrainSettings) -> TrainSettings:
        """The protocol of this architecture's students: `train` with what is set here."""
        own = self.model_dump(exclude={"name", "label", "backbone", "backbone_revision"}, exclude_none=True)
        return train.model_copy(update=own)


class BestRealSettings(Config):
    """How the real subset is chosen that stands for the best one (`best-real`)."""

    candidates: Annotated[tuple[CandidateSet, ...], Field(min_length=1)] = CANDIDATES
    """Ways to choose real pairs; the one whose students score the highest mean mIoU on `data.val` is `best-real`."""
    seeds: Positive | None = None
    """Students of each candidate, of the first architecture; null: as many as `evaluate.seeds`."""


class EvaluateSettings(Config):
    """Students on every set, one protocol."""

    sets: tuple[SetOfPairs, ...] = ("random", "balanced", "distilled-unguided", "distilled", "all")
    """What is compared; docs/evaluation.md has the grammar of names, for example `balanced+distilled-soft`."""
    split: Literal["test", "val"] = Field(default="test", json_schema_extra=UNTOUCHED)
    """What students are scored on: `data.test`, or `data.val`, where settings are tried out so that no choice is made
    by the test split."""
    scored_at: Literal["working", "native"] = Field(default="working", json_schema_extra=UNTOUCHED)
    """The size at which students are scored: `data.size`, or that of each real mask (docs/evaluation.md)."""
    best_real: BestRealSettings = Field(default=BestRealSettings(), json_schema_extra=UNTOUCHED)
    """How `best-real` is chosen."""
    real_features: Literal["teacher", "census"] = Field(default="teacher", json_schema_extra=UNTOUCHED)
    """What `k-center`, `herding`, `facility-location` and `medoids` compare real pairs by: the deepest features of the
    teacher, or class shares."""
    soft_weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the loss that soft labels have in sets with `-soft`; the mask has the rest."""
    inference: SlidingWindowSettings | None = None
    """Sliding windows; null predicts whole images."""
    architectures: tuple[ArchitectureSettings, ...] = (ArchitectureSettings(name="compact-unet"),)
    """Each is trained on every set with every seed; the first one on all real data is the independent judge."""
    seeds: Positive = 3
    """Students of each set and architecture; each draws its own random set."""
    draws: Annotated[Positive, Field(json_schema_extra=UNTOUCHED)] = 1
    """Distilled sets, each from its own noise (`seed`, `seed` + 1, ...), in which the seeds take turns; with 1 the
    deviation of a distilled set is that of its students alone."""
    train: TrainSettings
    """The protocol."""
    workers: Annotated[int, Field(ge=0, json_schema_extra=UNTOUCHED)] = 0
    """Students that are trained side by side; 0: one a core of a CPU, or a GPU."""
    devices_per_student: Positive = 1
    """GPUs (on a CPU: processes) that train one student together, each on its part of every batch."""
    checkpoint_s: Annotated[float, Field(ge=0, le=1e9, json_schema_extra=UNTOUCHED)] = 120.0
    """Seconds between checkpoints of a student; one that takes less leaves none."""
    metrics: Annotated[tuple[MetricName, ...], Field(json_schema_extra=UNTOUCHED)] = tuple(METRICS)
    """Scores of the tables, `miou` among them: known names, or own ones as `package.module:object`. They follow from
    the counts that students left: a metric more trains none anew."""
    score_every: Annotated[int, Field(ge=0, json_schema_extra=UNTOUCHED)] = 0
    """Iterations between two early scores of a student; 0 scores it at its end only. No other figure depends on it."""

    @model_validator(mode="after")
    def _sets_differ(self) -> "EvaluateSettings":
        twice = next((name for name in self.sets if self.sets.count(name) > 1), None)
        if twice is not None or not self.sets:
            raise ValueError(f"evaluate.sets names '{twice}' twice" if twice else "evaluate.sets is empty")
        return self

    @model_validator(mode="after")
    def _draws_are_used(self) -> "EvaluateSettings":
        if self.draws > self.seeds:
            raise ValueError(
                f"evaluate.draws is {self.draws} and evaluate.seeds {self.seeds}, so that some draws would train "
                "nobody; ask for at least as many seeds"
            )
        return self

    @model_validator(mode="after")
    def _metrics_differ(self) -> "EvaluateSettings":
        twice = next((name for name in self.metrics if self.metrics.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"evaluate.metrics names '{twice}' twice")
        if MIOU not in self.metrics:
            raise ValueError(f"evaluate.metrics lacks '{MIOU}', by which sets are compared; add it")
        return self

    @model_validator(mode="after")
    def _labels_differ(self) -> "EvaluateSettings":
        labels = [architecture.student for architecture in self.architectures]
        if not labels:
            raise ValueError("evaluate.architectures is empty; name at least one")
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"evaluate.architectures names '{twice}' twice; give each a label of its own")
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> "EvaluateSettings":
        for architecture in self.architectures:
            batch = architecture.protocol(self.train).batch
            if batch % self.devices_per_student:
                raise ValueError(
                    f"a batch of {batch} ({architecture.student}) does not divide among {self.devices_per_student} "
                    f"devices (evaluate.devices_per_student); make it a multiple of {self.devices_per_student}"
                )
        return self
