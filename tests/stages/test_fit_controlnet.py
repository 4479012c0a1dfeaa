"""`d3s2 fit` and a ControlNet of one's own: made from the U-Net, kept whole, used by the run, the same after a stop."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file
from tiny_run import TINY, call
from tiny_stable_diffusion import write_pipeline

from d3s2.store.verification import verify

WEIGHTS = "models/generator/diffusion_pytorch_model.safetensors"
TUNE = "fit: {steps: 6, batch: 2, lr: 0.001, warmup_steps: 1}"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    base = write_pipeline(tmp_path_factory.mktemp("base"))
    return ["scenes", *TINY, f"generator={{kind: controlnet, model: {base}, offline: true, {TUNE}}}", "--device", "cpu"]


@pytest.fixture(scope="module")
def fitted(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "run"
    assert call("fit", *words, "--out", str(out)) == 0
    return out


def test_diffusers_reads_the_fitted_controlnet_and_its_provenance_is_there(fitted: Path) -> None:
    controlnet = ControlNetModel.from_pretrained(fitted / "models" / "generator")
    assert controlnet.controlnet_mid_block.weight.abs().max() > 0  # zero when it was new
    record = json.loads((fitted / "models" / "generator" / "fitted.json").read_text())
    assert record["started_from"] is None
    assert record["settings"]["palette"] is None
    assert set(record["weights_sha256_before"]) == {"controlnet", "text_encoder", "unet", "vae"}
    assert (fitted / "models" / "generator" / "previews" / "step-000006.png").exists()


def test_the_run_goes_on_with_the_controlnet_it_fitted(words: list[str], fitted: Path) -> None:
    before = (fitted / WEIGHTS).stat().st_mtime_ns
    assert call("distill", *words, "--out", str(fitted)) == 0
    assert (fitted / WEIGHTS).stat().st_mtime_ns == before
    assert verify(fitted).sound
    settings = json.loads((fitted / "manifest.json").read_text())["models"]["generator"]["settings"]
    assert settings["controlnet"] == str(fitted / "models" / "generator")


def test_a_controlnet_that_is_there_is_gone_on_from(words: list[str], fitted: Path, tmp_path: Path) -> None:
    start = f"generator.controlnet={fitted / 'models' / 'generator'}"
    again = [*words, start, "generator.palette=label-space", "generator.fit.lr=1e-12"]
    assert call("fit", *again, "--half", "--out", str(tmp_path / "run")) == 0
    first, second = load_file(fitted / WEIGHTS), load_file(tmp_path / "run" / WEIGHTS)
    assert all(tensor.dtype == torch.float16 for tensor in second.values())
    assert all(torch.equal(tensor.half(), second[name]) for name, tensor in first.items())


def test_killed_after_a_checkpoint_and_run_again_gives_the_same_bytes(
    words: list[str], fitted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    words = [*words, "generator.fit.checkpoint_s=0.001", "--out", str(folder)]
    process = subprocess.Popen([sys.executable, "-m", "d3s2.cli", "fit", *words], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while not (folder / "models/generator/checkpoint.pt").exists() and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "models/generator/fitted.json").exists()
    assert call("fit", *words) == 0
    assert (folder / WEIGHTS).read_bytes() == (fitted / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_two_processes_on_two_nodes_give_the_weights_of_one(words: list[str], fitted: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launch += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    call = ["-m", "d3s2.cli", "fit", *words, "--out", str(tmp_path / "two")]
    nodes = [subprocess.Popen([*launch, f"--node-rank={rank}", *call]) for rank in range(2)]
    try:
        assert [node.wait(timeout=400) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    one, two = load_file(fitted / WEIGHTS), load_file(tmp_path / "two" / WEIGHTS)
    for name in ("controlnet_down_blocks.0.weight", "controlnet_down_blocks.3.weight", "controlnet_mid_block.weight"):
        # zero when it was new, so its size is what was learnt; sums in another order differ, reduced formats more
        assert (two[name] - one[name]).abs().mean() < 0.05 * one[name].abs().mean()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("compact", "Unknown key 'generator.fit.warmup_steps'"),
        ("freestyle", "Unknown key 'generator.fit'"),
    ],
)
def test_only_controlnets_are_tuned(
    kind: str, said: str, words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("fit", *words, f"generator.kind={kind}", "--out", str(tmp_path / "run")) == 2
    assert said in capfd.readouterr().err


def test_the_plan_names_the_fitting(words: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("fit", *words, "--dry-run", "--out", str(tmp_path / "run")) == 0
    assert "ControlNet, new, on " in capfd.readouterr().out
