"""What a plan says: a line a step, and what all of them take together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One line of a plan.

    Args:
        estimated_s: None where nothing tells.
        on_gpu: counted for a card (see `flops`) instead of measured here.
        memory_gib: of that card (see `memory`), or of this device.
    """

    what: str
    amount: str
    estimated_s: float | None = None
    on_gpu: bool = False
    memory_gib: float | None = None


@dataclass(frozen=True)
class Plan:
    """What will be done, for how long, and how much disk it takes.

    Args:
        models: the published models that the run names, a line each with licence and size.
        models_gib: of all of them, part of `disk_gib`.
        notes: what the estimates rest on.
    """

    name: str
    device: str
    steps: tuple[Step, ...]
    models: tuple[str, ...]
    models_gib: float
    disk_gib: float
    free_gib: float
    notes: tuple[str, ...]

    @property
    def estimated_s(self) -> float:
        """Seconds in all, over the steps that were measured here."""
        return sum(step.estimated_s or 0.0 for step in self.steps if not step.on_gpu)

    @property
    def gpu_h(self) -> float:
        """Hours in all, over the steps that were counted for a GPU."""
        return sum(step.estimated_s or 0.0 for step in self.steps if step.on_gpu) / 3600

    @property
    def memory_gib(self) -> float | None:
        """Of the step that takes the most; None where nothing tells."""
        known = [step.memory_gib for step in self.steps if step.memory_gib is not None]
        return max(known) if known else None

    def as_text(self) -> str:
        """For a person."""
        lines = [f"Plan of '{self.name}' on {self.device}:"]
        for step in self.steps:
            spent = "-" if step.estimated_s is None else duration_text(step.estimated_s)
            spent += " GPU" if step.on_gpu else ""
            spent += "" if step.memory_gib is None else f", {gib_text(step.memory_gib)}"
            lines.append(f"  {step.what:<22} {step.amount:<64} {spent:>17}")
        if self.estimated_s or not self.gpu_h:
            lines.append(f"  {'in all':<22} {'':<64} {duration_text(self.estimated_s):>17}")
        if self.gpu_h:
            lines.append(f"  {'in all, on one GPU':<22} {'':<64} {f'{self.gpu_h:,.1f} h GPU':>17}")
        models = f", of that {self.models_gib:.2f} GiB models from the hub" if self.models_gib else ""
        lines.append(f"  disk: about {gib_text(self.disk_gib)}{models}; {self.free_gib:.1f} GiB are free here")
        lines += [f"  memory: at most {gib_text(self.memory_gib)}"] if self.memory_gib is not None else []
        lines += [f"  model {model}" for model in self.models]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def gib_text(gib: float) -> str:
    """For a person."""
    if gib >= 0.01:
        return f"{gib:.0f} GiB" if gib >= 10 else f"{gib:.1f} GiB" if gib >= 1 else f"{gib:.2f} GiB"
    return f"{1024 * gib:.0f} MiB"


def duration_text(seconds: float) -> str:
    """For a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
