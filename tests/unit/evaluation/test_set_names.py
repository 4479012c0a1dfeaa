"""The grammar of sets."""

import re

import pytest

from d3s2.base.errors import ConfigError, UsageError
from d3s2.evaluation.set_names import parse_set
from d3s2.recipes import load_run
from d3s2.set_names import SetPart, bases_of, order_of, parse_name, set_title


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("random", [SetPart("random")]),
        ("rarest-first", [SetPart("rarest-first")]),
        ("distilled-unguided-soft", [SetPart("distilled-unguided", soft=True)]),
        ("balanced + distilled-soft", [SetPart("balanced"), SetPart("distilled", soft=True)]),
        ("all+distilled", [SetPart("all"), SetPart("distilled")]),
        ("runs/other", [SetPart("runs/other")]),
        ("./other-soft", [SetPart("./other", soft=True)]),
        ("random@distilled-soft", [SetPart("random", like=SetPart("distilled", soft=True))]),
        ("random-soft", [SetPart("random", soft=True)]),
        ("best-real-soft+all-soft", [SetPart("best-real", soft=True), SetPart("all", soft=True)]),
        ("random-soft@distilled-soft", [SetPart("random", soft=True, like=SetPart("distilled", soft=True))]),
        ("rarest-first@runs/a@b+all", [SetPart("rarest-first", like=SetPart("runs/a@b")), SetPart("all")]),
        ("runs/a@b", [SetPart("runs/a@b")]),
        ("./other-soft/", [SetPart("./other-soft/")]),
    ],
)
def test_names_are_parts_joined_by_plus(name: str, parts: list[SetPart]) -> None:
    assert list(parse_set(name)) == parts


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "distiled",
            r"^Set 'distiled': 'distiled' is none of random, balanced, .*Did you mean 'distilled'\?$",
        ),
        ("all+", r"^Set 'all\+': '' is none of random"),
        ("all+all", r"^Set 'all\+all' holds 'all' twice; name each part once\.$"),
        ("distilled+distilled-soft", r"holds 'distilled' twice"),
        (
            "all@distilled",
            r"^Set 'all@distilled': 'all@distilled' is not of the form random@distilled-soft: a choice",
        ),
        ("random@balanced", r"is not of the form random@distilled-soft"),
        ("random@distiled", r"'distiled' is none of random.*Did you mean 'distilled'\?$"),
        (
            "runs@x/other",
            r"^Set 'runs@x/other': 'runs' before the '@' is no choice of real pairs \(random, .*\); a path with an '@' "
            r"before its first '/' is written '\./runs@x/other'\.$",
        ),
        ("rarest-soft", r"^Set 'rarest-soft': 'rarest-soft' is none of random"),
    ],
)
def test_a_wrong_name_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_set(name)


def test_a_config_refuses_what_the_grammar_does() -> None:
    with pytest.raises(ConfigError, match=r"Key 'evaluate\.sets\.0': set 'distiled': 'distiled' is none of"):
        load_run("scenes", ["evaluate.sets=[distiled]"])
    with pytest.raises(ConfigError, match=r"evaluate\.sets names 'all' twice"):
        load_run("scenes", ["evaluate.sets=[all, random, all]"])


def test_titles_are_for_readers() -> None:
    assert set_title("balanced+distilled-soft") == "balanced real + distilled, soft labels"
    assert set_title("runs/other") == "runs/other"
    assert set_title("random@distilled-soft") == "random real at the bytes of distilled, soft labels"
    assert set_title("rarest-first@runs/a@b + all") == "rarest-first at the bytes of runs/a@b + all real"
    assert set_title("./runs@x/other-soft") == "./runs@x/other, soft labels"


def test_sets_are_compared_with_real_ones_of_the_same_kind_of_labels() -> None:
    hard = ("random", "balanced", "best-real", "distilled", "all")
    every = (*hard, *(f"{name}-soft" for name in hard))
    assert bases_of("distilled", every) == ["random", "balanced", "best-real"]
    assert bases_of("distilled-soft", every) == ["random-soft", "balanced-soft", "best-real-soft", "distilled"]
    assert bases_of("random-soft", every) == ["balanced-soft", "best-real-soft", "random"]
    assert bases_of("distilled-soft", hard) == ["random", "balanced", "best-real", "distilled"]
    assert bases_of("distilled", ("distilled", "all")) == []


def test_sets_stand_in_one_order_soft_behind_hard() -> None:
    names = ["all-soft", "distilled-soft", "runs/x", "best-real", "random-soft", "all", "random", "distilled"]
    ordered = ["random", "random-soft", "best-real", "distilled", "distilled-soft", "runs/x", "all", "all-soft"]
    assert sorted(names, key=order_of) == ordered


def test_a_candidate_for_best_real_is_one_choice_of_real_pairs() -> None:
    for name in ("random", "all", "best-real", "balanced-soft", "balanced+herding", "herding@distilled", "distilled"):
        with pytest.raises(ConfigError, match=rf"'{re.escape(name)}' is no candidate for best-real, expected one of"):
            load_run("scenes", [f"evaluate.best_real.candidates=[{name}]"])
    asked = load_run("scenes", ["evaluate.best_real.candidates=[stratified]"])
    assert asked.evaluate.best_real.candidates == ("stratified",)


@pytest.mark.parametrize(
    "name", ["balanced+distilled-soft", "random@./a@b/c-soft+all", "./runs@x/other", "=cmd|'x'!A0"]
)
def test_a_name_keeps_its_text_and_its_parts_theirs(name: str) -> None:
    assert parse_name(name).text == name
    assert "+".join(part.text for part in parse_name(name).parts) == name


def test_every_name_that_is_accepted_has_the_title_of_its_parts() -> None:
    for name in ("./runs@x/other", "random@./runs@x/other", "runs/a@b"):
        assert parse_name(name).parts == parse_set(name)
        assert [part.is_elsewhere for part in parse_set(name)] == [name.startswith(("./", "runs/"))]
