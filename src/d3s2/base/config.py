"""Frozen, typed configs that refuse unknown keys, read from YAML with `key=value` overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from d3s2.base.errors import ConfigError
from d3s2.base.files import read_text
from d3s2.base.json_text import shortened
from d3s2.base.names import nearest
from d3s2.base.yaml_text import MAX_DEPTH, parse_yaml


class Config(BaseModel):
    """Base of every config: frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


C = TypeVar("C", bound=Config)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises ConfigError naming the file and the line."""
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file; give the path of a YAML file.")
    text = read_text(path, "YAML", error=ConfigError)
    try:
        content = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}.") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"{path}: holds a {kind}, expected a mapping of keys to values.")
    return content


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` strings applied; each value is read as YAML."""
    result = _deep_copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"Override '{shortened(override, 80)}' is not of the form key=value (for example select.ratio=0.05)."
            )
        try:
            value = parse_yaml(text)
        except ConfigError as error:
            raise ConfigError(
                f"Override '{shortened(override, 80)}': the value cannot be read as YAML: {error}."
            ) from None
        target = result
        *parents, last = key.split(".")
        if len(parents) >= MAX_DEPTH:
            raise ConfigError(f"Override '{shortened(override, 80)}' names a key of more than {MAX_DEPTH} parts.")
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        target[last] = value
    return result


def build(config: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validates `values` into `config`; raises ConfigError, one sentence a problem."""
    try:
        return config.model_validate(values)
    except ValidationError as error:
        problems = [_sentence(config, problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + " ".join(problems)) from None


def _sentence(config: type[Config], problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(config, path[:-1])
        hint = nearest(path[-1], known)
        suggestion = f", did you mean '{hint}'?" if hint else f"; known here: {', '.join(known)}."
        return f"Unknown key '{key}'{suggestion}"
    if problem["type"] == "missing":
        return f"Key '{key}' is missing."
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}."
    return f"Key '{key}': {message[0].lower()}{message[1:]}, got {shortened(repr(problem['input']))}."


def _known_keys(config: type[Config], path: Sequence[str]) -> list[str]:
    """The keys known below `path`; numbers in a path (list positions) and union tags are passed over."""
    here: type[Config] | None = config
    for part in path:
        field = here.model_fields.get(part) if here else None
        if field is not None:
            here = _config_inside(field)
    return sorted(here.model_fields) if here else []


def _config_inside(field: FieldInfo) -> type[Config] | None:
    pending: list[Any] = [field.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, Config):
            return annotation
        pending.extend(getattr(annotation, "__args__", ()))
    return None


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}
