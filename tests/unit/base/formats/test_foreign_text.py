"""Names that others chose are shown as they are."""

import pytest

from d3s2.base.formats.foreign_text import csv_text, markdown_code, markdown_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("car & van", "car &amp; van"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[here](http://x)", r"\[here\](http://x)"),
        ("a|b", r"a\|b"),
        ("`code` *loud* ~gone~", r"\`code\` \*loud\* \~gone\~"),
        ("back\\slash", r"back\\slash"),
        ("two\n# lines", "two # lines"),
        ("traffic light-2_b", "traffic light-2_b"),
    ],
)
def test_markdown_shows_the_text(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


def test_code_ends_where_it_should() -> None:
    assert markdown_code("a`b\n`c") == "a'b 'c"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_would_be_a_formula_is_text(text: str) -> None:
    assert csv_text(text) == f"'{text}"
    assert csv_text(f"a{text}") == f"a{text}"
