"""Complete runs as YAML, one a data set, shipped with the package."""

from collections.abc import Sequence
from pathlib import Path

from d3s2.base.config import build, read_yaml, with_overrides
from d3s2.base.errors import UsageError
from d3s2.base.names import nearest
from d3s2.pipeline import RunConfig, load_own_code

FOLDER = Path(__file__).resolve().parent


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_run(recipe: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a recipe by name, or of the user's own YAML file by path, with `key=value` overrides.

    Raises:
        UsageError: neither a recipe nor a file; or the config is wrong (ConfigError); or code of the user's own that it
            names cannot be imported.
    """
    path = FOLDER / f"{recipe}.yaml"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        hint = nearest(recipe, recipe_names())
        suggestion = f" Did you mean '{hint}'?" if hint else ""
        raise UsageError(
            f"'{recipe}' is neither a recipe ({', '.join(recipe_names())}) nor a YAML file that is there.{suggestion}"
        )
    config = build(RunConfig, with_overrides(read_yaml(path), overrides), f"{recipe}")
    load_own_code(config)
    return config
