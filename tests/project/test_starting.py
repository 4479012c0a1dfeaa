"""Help, the version and a mistyped name answer at once: none of the large libraries is imported for them."""

import subprocess
import sys

import pytest
from test_rules import COMMANDS

from d3s2.generator.compact.network import new_generator
from d3s2.generator.compact.settings import HEAD_CHANNELS
from d3s2.generator.kinds import GENERATORS
from d3s2.metrics.table import METRICS
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.selection.settings import METHODS
from d3s2.synthesis.settings import RULES
from d3s2.teacher.settings import ENERGIES

HUB = "huggingface_hub.file_download"  # and with it a client of HTTP
LARGE = ("torch", "transformers", "diffusers", "kornia", "accelerate", "scipy", "numpy", "pyarrow", "matplotlib", HUB)
SCRIPT = f"""
import sys
calls = {{calls!r}}
for words, expected in calls:
    sys.argv = ["d3s2", *words]
    from d3s2.cli import main
    try:
        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code or 0
    assert status == expected, (words, status)
    loaded = [name for name in {LARGE!r} if name in sys.modules]
    assert not loaded, (words, loaded)
import d3s2
assert d3s2.load_run("scenes").name == "scenes"
assert not any(name in sys.modules for name in {LARGE!r})
"""


def test_the_quick_answers_import_no_large_library() -> None:
    calls = [
        (["--version"], 0),
        (["--help"], 0),
        *((([command, "--help"]), 0) for command in COMMANDS),
        (["distill", "scense"], 2),
        (["evaluate", "scenes", "synthesize.stepz=3"], 2),
        (["evaluate", "scenes", "evaluate.architectures=[segformer-b9]"], 2),
        (["ablate", "scenes", "--axis", "strenght"], 2),
        (["fit", "scenes", "generator.fit.lr=.inf"], 2),
        (["census", "scenes", "seed"], 2),
        (["select", "scense"], 2),
        (["synthesize", "scense"], 2),
        (["demo", "--no-such"], 2),
    ]
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(calls=calls)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_stands_in_a_table_can_be_loaded() -> None:
    for table in (ARCHITECTURES, ENERGIES, GENERATORS, METHODS, METRICS, RULES):
        assert all(table.load(name) is not None for name in table)


@pytest.mark.parametrize("channels", [(32,), (32, 64)])
def test_channels_that_a_config_allows_make_a_generator(channels: tuple[int, ...]) -> None:
    assert all(count % HEAD_CHANNELS == 0 for count in channels)
    assert new_generator(0, num_classes=3, channels=channels).config.channels
