"""YAML that a person wrote: plain values only, of bounded size and depth, every key once.

A few hundred bytes of aliases can stand for billions of values; they are counted before anything is built.
"""

from collections import Counter
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from d3s2.base.errors import ConfigError
from d3s2.base.formats.json_text import LARGEST_INTEGER, shortened

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 100_000
"""With every alias counted as often as it is used."""

PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!"}


class _Loader(yaml.SafeLoader):
    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        if abs(number) > LARGEST_INTEGER:
            raise yaml.MarkedYAMLError(problem="a number is beyond 64 bits", problem_mark=node.start_mark)
        return number

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        for name, times in names.most_common(1):
            if times > 1:
                raise yaml.MarkedYAMLError(problem=f"key '{name}' is there twice", problem_mark=node.start_mark)
        return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises ConfigError with the reason alone, for the caller's sentence."""
    try:
        _check_size(text)
        return yaml.load(text, Loader=_Loader)
    except ConfigError:
        raise
    # Beside its own errors the library lets those of int(), float() and datetime() through.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as problem:
        raise ConfigError(shortened(problem)) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply") from None


def _check_size(text: str) -> None:
    """Raises ConfigError for what is too large or too deep, or refers to itself."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"it has {len(text):,} characters, expected at most {MAX_CHARACTERS:,}")
    whole: dict[str, tuple[int, int]] = {}  # anchor -> values and levels below it
    open_nodes: list[list[Any]] = [[None, 0, 0]]  # anchor, values and levels so far
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in PLAIN_TAGS:
            raise ConfigError(f"it uses the tag {shortened(tag, 60)}, expected plain values")
        if isinstance(event, ScalarEvent):
            event.value.encode()  # half of a surrogate pair is no text
        if isinstance(event, AliasEvent):
            if event.anchor not in whole:
                raise ConfigError(f"alias *{shortened(event.anchor, 60)} names nothing that is complete before it")
            _count(open_nodes, *whole[event.anchor])
        elif isinstance(event, CollectionStartEvent):
            open_nodes.append([event.anchor, 1, 0])
            _check_bounds(len(open_nodes), 0)
        elif isinstance(event, CollectionEndEvent):
            anchor, values, levels = open_nodes.pop()
            if anchor is not None:
                whole[anchor] = (values, levels + 1)
            _count(open_nodes, values, levels + 1)
        elif isinstance(event, NodeEvent):
            if event.anchor is not None:
                whole[event.anchor] = (1, 0)
            _count(open_nodes, 1, 0)


def _count(open_nodes: list[list[Any]], values: int, levels: int) -> None:
    here = open_nodes[-1]
    here[1] += values
    here[2] = max(here[2], levels)
    _check_bounds(len(open_nodes) + levels, here[1])


def _check_bounds(depth: int, values: int) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError(f"it is nested deeper than {MAX_DEPTH} levels")
    if values > MAX_VALUES:
        raise ConfigError(f"it stands for more than {MAX_VALUES:,} values once its aliases are followed")
