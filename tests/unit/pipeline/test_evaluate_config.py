"""What an evaluation may be asked for."""

import pytest
import torch

from d3s2.base.errors import ConfigError, UsageError
from d3s2.execution.local import num_workers, places_for
from d3s2.pipeline.ablate import Grid
from d3s2.recipes import load_run
from d3s2.student.training import precision_name


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


def test_students_are_not_scored_on_the_split_that_they_learn_from() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.train and data\.test are both 'train', so that students would be scored"
    ):
        load_run("scenes", ["data.test=train"])
    with pytest.raises(ConfigError, match=r"name another split in data\.test"):
        load_run("scenes", ["data.train=test"])
    config = load_run("scenes", ["data.test=val"])
    assert Grid(config, (), "test").split == "test"  # an ablation scores on a split of its own
    with pytest.raises(UsageError, match=r"--split train is the split that students are trained on"):
        Grid(config, (), "train")


def test_the_revision_of_a_teacher_or_a_backbone_is_a_key() -> None:
    words = ["teacher.source=some/net", "teacher.revision=0123abc", "generator.fit.autoencoder_revision=v1"]
    words += ["evaluate.architectures=[{name: segformer-b0, backbone: nvidia/mit-b0, backbone_revision: main}]"]
    config = load_run("scenes", words)
    assert config.teacher.revision == "0123abc"
    assert config.generator.fit.autoencoder_revision == "v1"
    architecture = config.evaluate.architectures[0]
    assert architecture.backbone_revision == "main"
    assert architecture.protocol(config.evaluate.train) == config.evaluate.train
    with pytest.raises(ConfigError, match=r"teacher\.revision are for a network that teacher\.source names"):
        load_run("scenes", ["teacher.source=null", "teacher.revision=main"])


def test_what_auto_means_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, cpu = load_run("scenes", []).evaluate.train, torch.device("cpu")
    for flags, name in (("sse avx512_bf16", "bfloat16"), ("sse", "float32")):
        monkeypatch.setattr("d3s2.base.machine.runtime._cpu_flags", lambda flags=flags: flags)
        assert precision_name(settings, cpu) == name
    assert precision_name(settings.model_copy(update={"precision": "float16"}), cpu) == "float16"
