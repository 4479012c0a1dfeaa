"""What a result depends on: declared by each field, defaults left out."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import create_model

from d3s2.base.config import Config
from d3s2.base.fingerprint import digest_of, touching
from d3s2.pipeline.fingerprint import STEPS, content_of, fingerprint
from d3s2.recipes import load_run, recipe_names


def records_in(value: Any) -> Iterator[Config]:
    """Every settings record of a run, the run's own config first."""
    if isinstance(value, Config):
        yield value
        for name in type(value).model_fields:
            yield from records_in(getattr(value, name))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from records_in(one)


def with_another_field(record: Config) -> Config:
    """The same record of a type that has one field more, at its default."""
    wider = create_model(f"Wider{type(record).__name__}", __base__=type(record), another=(int, 7))
    return wider.model_construct(**{name: getattr(record, name) for name in type(record).model_fields}, another=7)


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_field_more_with_its_default_changes_no_fingerprint(recipe: str) -> None:
    records = [*records_in(load_run(recipe))]
    assert len({type(record) for record in records}) > 9
    for record in records:
        for step in (*STEPS, "student"):
            assert touching(with_another_field(record), step) == touching(record, step), type(record)


@pytest.mark.parametrize(
    "word",
    [
        "generator.fit.checkpoint_s=5",
        "data.memory_gib=0.5",
        "data.root=/elsewhere",
        "synthesize.trace_every=3",
        "synthesize.measure_cost=false",
        "evaluate.workers=2",
        "evaluate.train.iterations=7",
    ],
)
def test_what_no_image_depends_on_changes_no_fingerprint_of_a_set(word: str) -> None:
    plain, changed = load_run("scenes"), load_run("scenes", [word])
    for step in STEPS:
        assert fingerprint(plain, step) == fingerprint(changed, step)


@pytest.mark.parametrize(
    ("word", "steps"),
    [
        ("seed=1", {"fit", "synthesize"}),
        ("data.size=[32, 48]", {"fit", "synthesize"}),
        ("teacher.layers=[down1]", {"synthesize"}),
        ("select.ratio=0.02", {"synthesize"}),
        ("synthesize.guidance.energies.features=0.2", {"synthesize"}),
        ("synthesize.soft={}", {"synthesize"}),
        ("generator.fit.steps=5", {"fit", "synthesize"}),
        ("data.test=val", set()),
    ],
)
def test_a_step_is_another_where_a_field_touches_it(word: str, steps: set[str]) -> None:
    plain, changed = load_run("scenes"), load_run("scenes", [word])
    assert {step for step in STEPS if fingerprint(plain, step) != fingerprint(changed, step)} == steps


def test_inputs_that_no_config_tells_are_part_of_it() -> None:
    config = load_run("scenes")
    assert fingerprint(config, "synthesize", data="a") != fingerprint(config, "synthesize", data="b")
    assert content_of(config, "fit")["seed"] == 0
    assert digest_of("fit", {"a": 1, "b": 2}) == digest_of("fit", {"b": 2, "a": 1}) != digest_of("student", {"a": 1})
