"""What an evaluation may be asked for."""

import pytest
import torch

from d3s2.base.errors import ConfigError, UsageError
from d3s2.evaluation.students import num_workers, places_for
from d3s2.recipes import load_run


def test_an_architecture_is_a_name_or_a_record_that_changes_the_protocol() -> None:
    asked = "evaluate.architectures=[compact-unet, {name: segformer-b0, lr: 0.0001, batch: 4, label: b0}]"
    config = load_run("scenes", [asked]).evaluate
    plain, changed = config.architectures
    assert (plain.student, changed.student) == ("compact-unet", "b0")
    assert plain.protocol(config.train) == config.train
    assert changed.protocol(config.train) == config.train.model_copy(update={"lr": 0.0001, "batch": 4})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("[segformer-b9]", r"unknown architecture 'segformer-b9': known are compact-unet, .*Did you mean 'segformer"),
        ("[compact-unet, compact-unet]", r"evaluate.architectures names 'compact-unet' twice; give each a label"),
        ("[{name: compact-unet, rate: 1}]", r"Unknown key 'evaluate.architectures.0.rate'"),
        ("[]", r"evaluate.architectures is empty; name at least one"),
    ],
)
def test_a_wrong_list_of_architectures_is_a_sentence(asked: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_run("scenes", [f"evaluate.architectures={asked}"])


def test_students_of_several_gpus_share_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    cuda = torch.device("cuda")
    pairs = [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    assert places_for(cuda, 2) == pairs
    assert [num_workers(asked, pairs) for asked in (0, 1, 9)] == [2, 1, 2]
    assert num_workers(9, places_for(cuda, 1)) == 9
    assert places_for(torch.device("cuda:3"), 1) == [("cuda:3",)]
    assert places_for(torch.device("cpu"), 3) == [("cpu", "cpu", "cpu")]
    with pytest.raises(
        UsageError, match=r"devices_per_student is 6, and --device cuda means 5 here; lower it, or give"
    ):
        places_for(cuda, 6)
    with pytest.raises(UsageError, match=r"devices_per_student is 2, and --device cuda:3 means 1 here"):
        places_for(torch.device("cuda:3"), 2)


def test_a_batch_that_does_not_divide_among_devices_is_a_sentence() -> None:
    said = r"a batch of 4 \(segformer-b0\) does not divide among 3 devices .*make it a multiple of 3"
    asked = ["evaluate.train.batch=6", "evaluate.architectures=[compact-unet, {name: segformer-b0, batch: 4}]"]
    with pytest.raises(ConfigError, match=said):
        load_run("scenes", [*asked, "evaluate.devices_per_student=3"])
