"""The grid of an evaluation: a student for each seed, architecture and set."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from d3s2.base.fingerprint import touching
from d3s2.base.formats.files import sha256_file, sha256_text
from d3s2.data.settings import DataSettings
from d3s2.evaluation.members import Members
from d3s2.evaluation.sets import Sets
from d3s2.evaluation.settings import ArchitectureSettings, EvaluateSettings
from d3s2.evaluation.student_records import digest_of, student_path
from d3s2.evaluation.students import StudentJob
from d3s2.hub.loading import locate
from d3s2.report.set_names import ALL
from d3s2.student.settings import TrainSettings
from d3s2.student.train import precision_name


@dataclass(frozen=True)
class TestSplit:
    """What students are scored on.

    Args:
        digest: of what it holds.
        class_px: pixels of each class.
    """

    __test__ = False  # not one of pytest's

    digest: str
    class_px: tuple[int, ...]


def student_jobs(
    settings: EvaluateSettings,
    data: DataSettings,
    sets: Sets,
    test: TestSplit,
    *,
    folder: Path,
    judge: Path,
    device: torch.device,
) -> Iterator[StudentJob]:
    """Every student of the grid.

    Args:
        folder: that keeps records.
        judge: where the first student of all real data is stored: it never guides, so it may judge.
    """
    backbones = {architecture.student: _backbone_digest(architecture) for architecture in settings.architectures}
    # Seeds outside, sets inside: a first comparison of all sets is there early.
    for seed in range(settings.seeds):
        for architecture in settings.architectures:
            for set_name in settings.sets:
                members = sets.members(set_name, seed)
                depends = {
                    "pairs": sets.content(members),
                    "test": test.digest,
                    "size": list(data.size),
                    "backbone": backbones[architecture.student],
                    "seed": seed,
                    **_protocol_content(settings, architecture, members, device),
                }
                yield StudentJob(
                    set_name=set_name,
                    architecture=architecture,
                    seed=seed,
                    depends=depends,
                    test_px=test.class_px,
                    data=data,
                    members=members,
                    protocol=_protocol(settings, architecture, device),
                    soft_weight=settings.soft_weight,
                    inference=settings.inference,
                    native=settings.scored_at == "native",
                    device=str(device),
                    record=student_path(folder, set_name, architecture.student, seed, digest_of(depends)),
                    checkpoint_s=settings.checkpoint_s,
                    score_every=settings.score_every,
                    num_devices=settings.devices_per_student,
                    keep=judge if (set_name, seed, architecture) == (ALL, 0, settings.architectures[0]) else None,
                )


def _protocol(settings: EvaluateSettings, architecture: ArchitectureSettings, device: torch.device) -> TrainSettings:
    """The protocol with what `auto` is on this machine: another format gives other numbers."""
    protocol = architecture.protocol(settings.train)
    return protocol.model_copy(update={"precision": precision_name(protocol, device)})


def _protocol_content(
    settings: EvaluateSettings, architecture: ArchitectureSettings, members: tuple[Members, ...], device: torch.device
) -> dict[str, Any]:
    """What a student depends on of the settings; with their defaults left out, so that new ones change no digest."""
    return {
        "architecture": architecture.name,
        "protocol": touching(_protocol(settings, architecture, device), "student"),
        "inference": settings.inference and touching(settings.inference, "student"),
        "soft_weight": settings.soft_weight if any(part.soft for part in members) else None,
        **({} if settings.scored_at == "working" else {"scored_at": settings.scored_at}),
        # Sums in another order, what the loss draws, batch normalisation: several devices give other numbers than one.
        "devices": settings.devices_per_student,
    }


def _backbone_digest(architecture: ArchitectureSettings) -> str | None:
    """Of the weights that the students start from, whatever the folder or id is called; None from scratch."""
    if architecture.backbone is None:
        return None
    folder = locate(architecture.backbone, revision=architecture.backbone_revision)
    return sha256_text(" ".join(f"{path.name} {sha256_file(path)}" for path in sorted(folder.glob("*.safetensors"))))
