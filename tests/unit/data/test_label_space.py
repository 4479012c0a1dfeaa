"""What a label space refuses."""

import pytest

from d3s2.base.errors import DataError
from d3s2.data.label_space import LabelSpace


def refused(**arguments) -> str:
    with pytest.raises(DataError) as error:
        LabelSpace(**{"name": "two", "names": ("a", "b"), **arguments})
    text = str(error.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("sign", ["\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\udcdf"])
def test_names_are_one_line_of_text(sign: str):
    sentence = f"holds the control character U+{ord(sign):04X}, such as a line break; take it out."
    assert refused(names=("a", f"b{sign}c")).endswith(sentence)
    assert refused(name=f"t{sign}wo").endswith(sentence)


@pytest.mark.parametrize(
    "name", ["naïve café", "道路", "🚲", "👨\u200d👩\u200d👧", "$\\frac{", "<b>", "=1+1", "a, b", "a|b"]
)
def test_names_in_any_script_are_taken(name: str):
    assert LabelSpace("two", ("a", name)).names[1] == name


def test_a_blank_name_is_none():
    assert refused(names=("a", "")) == "two: class 1 (counted from 0) has a blank name; give it one."
    assert refused(names=(" ", "b")) == "two: class 0 (counted from 0) has a blank name; give it one."


@pytest.mark.parametrize("value", [-1, 65_536])
def test_an_ignored_value_is_one_that_a_mask_can_hold(value: int):
    assert refused(ignored=(value,)) == (
        f"two: ignored value {value} is outside 0..65535, the values that a mask file can hold."
    )
