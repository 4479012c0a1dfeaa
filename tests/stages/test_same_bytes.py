"""On a CPU the stored bytes depend on neither the threads of torch nor the size of a batch, nor on a stop."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import call, content

from d3s2.base.machine.runtime import torch_threads

WORDS = (
    "data.options={count: {train: 18, test: 4}}",
    "select.num_masks=4",
    "synthesize.steps=4",
    "synthesize.candidates=2",
    "synthesize.filter=1.25",
    "synthesize.soft={}",
    "synthesize.measure_cost=false",
    "select.ratio=null",
)


def distilled(folder: Path, threads: int, batch: int) -> dict[str, bytes]:
    """The shipped networks of `scenes`, four masks."""
    with torch_threads(threads):
        words = ("distill", "scenes", *WORDS, f"synthesize.batch={batch}", "--out", str(folder), "--device", "cpu")
        assert call(*words) == 0
    (bank,) = (load_file(path) for path in (folder / "models").glob("bank-*.safetensors"))
    return content(folder) | {key: tensor.numpy().tobytes() for key, tensor in bank.items()}


def energies(folder: Path, kind: str) -> list[list[float]]:
    """Both energies of each item at each step, in the order of items."""
    traces = [json.loads(path.read_text()) for path in sorted((folder / "traces").glob(f"{kind}-*.json"))]
    steps = range(len(traces[0]["noise"]))
    return [
        [value for trace in traces for value in trace["energies"][name][step]]
        for name in ("segmentation", "features")
        for step in steps
    ]


@pytest.fixture(scope="module")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("bytes") / "run"
    return folder, distilled(folder, threads=1, batch=4)


@pytest.mark.parametrize(("threads", "batch"), [(2, 3), (1, 1)])
def test_bytes_depend_on_neither_threads_nor_batch(
    one_thread: tuple[Path, dict[str, bytes]], threads: int, batch: int, tmp_path: Path
) -> None:
    folder, expected = one_thread
    found = distilled(tmp_path / "run", threads, batch)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    for kind in ("guided", "unguided"):
        assert energies(tmp_path / "run", kind) == energies(folder, kind)


def test_a_set_that_is_gone_on_with_on_more_threads_has_the_same_bytes(
    one_thread: tuple[Path, dict[str, bytes]],
) -> None:
    folder, expected = one_thread
    sorted((folder / "images").iterdir())[1].unlink()
    sorted((folder / "unguided/soft").iterdir())[3].unlink()
    found = distilled(folder, threads=2, batch=4)
    assert [name for name in expected if found[name] != expected[name]] == []
