"""Complete runs as YAML, one a data set, shipped with the package."""

from collections.abc import Sequence
from pathlib import Path

from d3s2.base.config import build, read_yaml, with_overrides
from d3s2.base.errors import UsageError
from d3s2.base.names import did_you_mean
from d3s2.base.tracking import tracker_name
from d3s2.pipeline import RunConfig, load_own_code

FOLDER = Path(__file__).resolve().parent


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_run(recipe: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a recipe by name, or of the user's own YAML file by path, with `key=value` overrides.

    Raises:
        UsageError: neither a recipe nor a file; or the config is wrong (ConfigError); or code of the user's own that it
            names cannot be imported; or `D3S2_TRACKER` asks for a tracker that is none.

    Examples:
        >>> import d3s2
        >>> config = d3s2.load_run("scenes", ["select.ratio=0.05"])
        >>> config.select.ratio, config.synthesize.steps
        (0.05, 24)
    """
    path = FOLDER / f"{recipe}.yaml"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        files = [str(file) for file in path.parent.glob("*.y*ml")]
        raise UsageError(
            f"'{recipe}' is neither a recipe ({', '.join(recipe_names())}) nor a YAML file that is there."
            f"{did_you_mean(recipe, [*recipe_names(), *files])}"
        )
    config = build(RunConfig, with_overrides(read_yaml(path), overrides), f"{recipe}")
    load_own_code(config)
    tracker_name()  # a mistyped one would be found when the first training begins
    return config
