"""JSON that comes from a file: every number finite, every key once, nothing nested deeper than d3s2 ever nests."""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from d3s2.base.errors import D3S2Error, StoreError

MAX_DEPTH = 64
LARGEST_INTEGER = 2**63 - 1
MAKE_AGAIN = "delete it to have it made again"


def parse_json(text: str, where: str, advice: str = MAKE_AGAIN, error: type[D3S2Error] = StoreError) -> Any:
    """The content of a JSON text.

    Args:
        where: what the sentence begins with: the file.
        advice: what the sentence ends with: what to do about it.
        error: the class that is raised.
    """
    try:
        content = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded, object_pairs_hook=_each_once
        )
        _check_depth(content)
        if "\\ud" in text.lower():  # half of a surrogate pair is no text
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise error(f"{where}: cannot be read (it is nested too deeply); {advice}.") from None
    except ValueError as problem:
        raise error(f"{where}: cannot be read ({shortened(problem)}); {advice}.") from None
    return content


def shortened(what: object, length: int = 200) -> str:
    """A message of a library, or a value, on one line and no longer than `length`."""
    text = " ".join(str(what).split())
    return text if len(text) <= length else f"{text[:length]}..."


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shortened(text, 30)} is no number that fits a float")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError(f"{shortened(text, 30)} is beyond 64 bits")
    return int(text)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key '{shortened(twice, 60)}' is there twice")
    return content


def _check_depth(content: Any) -> None:
    level, depth = [content], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        inner = (list(value.values()) if isinstance(value, dict) else value for value in level)
        level = [value for values in inner if isinstance(values, list) for value in values]
        depth += 1
