"""What a result depends on, as one digest, from settings that say of each field which steps it touches.

A field of a settings record touches every step that reads the record, unless it declares which: none for where a file
lies, how much memory is used, how often something is written down. Fields that hold their default are left out, so that
a new field never makes an old result unreadable; whoever changes what a default means raises VERSION.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from d3s2.base.config import Config
from d3s2.base.formats.files import sha256_text

VERSION = 1


def touches(*steps: str) -> dict[str, Any]:
    """`Field(json_schema_extra=touches("student"))` on a field on which only the results of these steps depend."""
    return {"touches": list(steps)}


UNTOUCHED = touches()
"""Of a field on which no result depends."""


def touching(settings: Config, step: str) -> dict[str, Any]:
    """What the result of a step depends on of a settings record, as JSON values, nested records included."""
    content: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = field.get_default(call_default_factory=True)
        if not _touches(field, step) or value == default:
            continue
        found = _content(value, step)
        # a record that differs from its default in untouched fields only is the default; one beside None is not
        if found != {} or not isinstance(default, Config):
            content[name] = found
    return content


def digest_of(step: str, content: Mapping[str, Any]) -> str:
    """The digest of one step's result, in hex.

    Args:
        step: that makes it.
        content: what it depends on, as JSON values: `touching` of settings, digests of data and weights.
    """
    text = json.dumps({"version": VERSION, "step": step, **content}, sort_keys=True, separators=(",", ":"))
    return sha256_text(text)


def _content(value: Any, step: str) -> Any:
    if isinstance(value, Config):
        return touching(value, step)
    if isinstance(value, Mapping):
        return {str(key): _content(one, step) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_content(one, step) for one in value]
    return str(value) if isinstance(value, Path) else value


def _touches(field: FieldInfo, step: str) -> bool:
    extra = field.json_schema_extra
    declared: Any = extra.get("touches") if isinstance(extra, Mapping) else None
    return declared is None or step in declared
