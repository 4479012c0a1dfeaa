"""What an evaluation may be asked for."""

import pytest

from d3s2.base.errors import ConfigError
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
