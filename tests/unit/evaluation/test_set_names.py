"""The grammar of sets."""

import pytest

from d3s2.base.errors import ConfigError, UsageError
from d3s2.evaluation.set_names import parse_set
from d3s2.recipes import load_run
from d3s2.set_names import SetPart, parse_name, set_title


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
        ("distiled", r"^Set 'distiled': 'distiled' is none of random, balanced, all, .*Did you mean 'distilled'\?$"),
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
        ("random-soft", r"^Set 'random-soft': real data has no soft labels here; '-soft' goes with distilled sets\.$"),
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
