"""Frozen, typed configs that refuse unknown keys, read from YAML with `key=value` overrides."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from d3s2.base.errors import ConfigError, UsageError
from d3s2.base.formats.files import read_text
from d3s2.base.formats.json_text import shortened
from d3s2.base.formats.yaml_text import MAX_DEPTH, parse_yaml
from d3s2.base.names import did_you_mean, nearest


class Config(BaseModel):
    """Base of every settings record: frozen; an unknown key is an error, and so is a number that is not finite.

    Class attributes:
        renamed: key that a record once had -> where it stands now, below the same record; '' is the record itself.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


C = TypeVar("C", bound=Config)
KEY_OF_A_MAPPING = "[key]"  # what pydantic adds to the place of a wrong key in a mapping


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
        if ":" in key:  # which of its dots are those of a package cannot be told
            raise ConfigError(
                f"Override '{shortened(override, 80)}': a name of the form package.module:object cannot be part of a "
                "key; give a mapping as the value, for example "
                "synthesize.guidance.energies={segmentation: 1, package.module:object: 0.2}."
            )
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        target[last] = value
    return result


def build(config: type[C], values: Mapping[str, Any], where: str = "", prefix: str = "") -> C:
    """Validates `values` into `config`; raises ConfigError, one sentence a problem.

    Args:
        where: the file or call that holds the values, for the sentence.
        prefix: of the keys in the sentence, for a record that stands inside another one ('generator.').
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        problems = " ".join(_sentence(config, problem, prefix) for problem in error.errors())
        raise ConfigError(f"{where}: {problems}" if where else problems) from None


def _sentence(config: type[Config], problem: Any, prefix: str) -> str:
    inner = problem.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):  # of a record that was built inside this one: whole sentences already
        return str(inner)
    path = [str(part) for part in problem["loc"] if part != KEY_OF_A_MAPPING]
    key = prefix + ".".join(path)
    if isinstance(inner, UsageError):  # an unknown name: the sentence says which are known
        text = str(inner)
        return f"Key '{key}': {text[0].lower()}{text[1:]}"
    if problem["type"] == "extra_forbidden":
        record = _record_at(config, path[:-1])
        known = sorted(record.model_fields) if record else []
        if record and path[-1] in record.renamed:
            now = prefix + ".".join([*path[:-1], record.renamed[path[-1]]])
            return f"Key '{key}' is '{now.rstrip('.')}' now: write it there."
        hint = nearest(path[-1], known)
        suggestion = f", did you mean '{hint}'?" if hint else f"; known here: {', '.join(known)}."
        return f"Unknown key '{key}'{suggestion}"
    if problem["type"] == "missing":
        if path[-1].isdigit():  # of a list that is too short
            return f"Key '{key.rpartition('.')[0]}': value {int(path[-1]) + 1} is missing."
        return f"Key '{key}' is missing."
    if problem["type"] == "too_long":
        got = shortened(repr(problem["input"]))
        return f"Key '{key}': expected at most {problem['ctx']['max_length']} values, got {got}."
    message = problem["msg"].removeprefix("Value error, ")
    if not path:
        return f"{message}."
    hint = ""
    if problem["type"] == "literal_error":  # pydantic lists what it takes as text: 'a', 'b' or 'c'
        hint = did_you_mean(str(problem["input"]), re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
    return f"Key '{key}': {message[0].lower()}{message[1:]}, got {shortened(repr(problem['input']))}.{hint}"


def _record_at(config: type[Config], path: Sequence[str]) -> type[Config] | None:
    """The record that stands at `path`; numbers in a path (list positions) and union tags are passed over."""
    here: type[Config] | None = config
    for part in path:
        field = here.model_fields.get(part) if here else None
        if field is not None:
            here = _config_inside(field)
    return here


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
