"""What the result of each step of a run depends on: one digest for a step, whoever asks."""

from typing import Any

from d3s2.base.config import Config
from d3s2.base.fingerprint import digest_of, touching
from d3s2.pipeline.config import RunConfig

STEPS: dict[str, tuple[str, ...]] = {
    "fit": ("seed", "data", "teacher", "generator"),
    "synthesize": ("name", "seed", "data", "select", "teacher", "generator", "synthesize"),
}
"""Step -> the parts of a run's config that it reads; their fields declare which of these steps they touch."""


def content_of(config: RunConfig, step: str) -> dict[str, Any]:
    """What the result of a step depends on of a config, as JSON values; fields with their default are left out."""
    parts = {name: getattr(config, name) for name in STEPS[step]}
    return {name: touching(part, step) if isinstance(part, Config) else part for name, part in parts.items()}


def fingerprint(config: RunConfig, step: str, **inputs: Any) -> str:
    """The digest of all that the result of a step depends on, in hex.

    Args:
        inputs: what the config does not say, as JSON values: digests of data and weights.
    """
    return digest_of(step, {"config": content_of(config, step), **inputs})
