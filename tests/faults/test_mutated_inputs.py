"""Damaged files: each reader ends well or with a sentence, within a time and a size, whatever is in the file.

D3S2_MUTATIONS=10000 sets the number of inputs; benchmarks/mutated_inputs.py keeps the figures of such a run.
"""

import json
import os
import random
import resource
import shutil
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mutations import ODD_YAML, mutated
from readers import READERS, Reader, make_run
from safetensors.torch import load_file, save_file
from tiny_run import call

from d3s2.base.errors import D3S2Error, ModelError
from d3s2.generator.compact.network import load_generator

COUNT = int(os.environ.get("D3S2_MUTATIONS", "300"))
SEED = int(os.environ.get("D3S2_MUTATIONS_SEED", "20261127"))
LONGEST_SENTENCE = 20_000  # a file may hold a class name of thousands of letters, which is then told
LONGEST_S = 60
"""A reader takes milliseconds; a machine that many share may stop it for a while."""

LARGEST_GIB, ADDRESS_GIB = 1.0, 3.0
"""What one input may take of main memory, and of addresses, beyond which the system itself refuses."""


class HangsError(BaseException):
    pass


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "run"
    make_run(folder)
    return folder


@contextmanager
def bounded() -> Iterator[None]:
    """Ends what takes too long or too much memory."""

    def stop(*_: object) -> None:
        raise HangsError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(ADDRESS_GIB * 2**30), limits[1]))
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(reader: Reader, folder: Path) -> str:
    """'accepted', 'named', or what went wrong and where."""
    try:
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except D3S2Error as error:
        text = str(error)
        return "named" if "a defect" not in text and len(text) < LONGEST_SENTENCE else f"no sentence: {text[:200]}"
    except HangsError:
        return f"took more than {LONGEST_S} s"
    except Exception as error:
        frames = reversed(traceback.extract_tb(error.__traceback__))
        place = next((frame for frame in frames if "d3s2/" in frame.filename), None)
        where = f"{Path(place.filename).name}:{place.lineno}" if place else "?"
        return f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:160]}"
    return "accepted"


def peak_gib(anew: bool = False) -> float:
    """The most main memory that this process held, since it began or since it was measured `anew`."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def attack(folder: Path, count: int, seed: int) -> tuple[Counter[tuple[str, str]], dict[str, str]]:
    """How often each reader ended how, and the first input (its number) of each bad end."""
    names, shares = list(READERS), [reader.share for reader in READERS.values()]
    ends: Counter[tuple[str, str]] = Counter()
    first: dict[str, str] = {}
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        name = names[number] if number < len(names) else rng.choices(names, shares)[0]
        reader = READERS[name]
        path = sorted(folder.glob(reader.file))[0]
        content = path.read_bytes()
        path.write_bytes(mutated(content, reader.kind, rng))
        before_gib = peak_gib(anew=True)
        end = outcome(reader, folder)
        if peak_gib() - before_gib > LARGEST_GIB:
            end = f"took {peak_gib() - before_gib:.1f} GiB"
        path.write_bytes(content)
        ends[name, end if end in ("accepted", "named") else "bad"] += 1
        if end not in ("accepted", "named"):
            first.setdefault(f"{name}: {end}", f"input {number}")
    return ends, first


def test_each_reader_reads_the_whole_file(run_folder: Path) -> None:
    for name, reader in READERS.items():
        assert outcome(reader, run_folder) == "accepted", name


def test_damaged_files_end_in_a_sentence(run_folder: Path) -> None:
    _, bad = attack(run_folder, COUNT, SEED)
    assert not bad, "\n".join(f"{problem} ({where})" for problem, where in bad.items())


def without(key: str) -> Callable[[Any], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def set_to(value: Any, *keys: Any) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return content

    return change


BY_HAND = [
    ("cost", lambda _: None, "cost.json: input should be an object, got None; delete it to have it made again."),
    ("cost", set_to("x", "select", "wall_s"), "key 'select.wall_s': input should be a valid number, got 'x'"),
    ("selection", lambda _: {}, "selection.json: key 'method': field required; delete it and run the same call again."),
    ("selection", set_to(3, "settings", "force"), "selection.json: key 'settings.force' is no list of masks; delete"),
    ("trace", lambda _: [], "guided-000001.json: input should be an object, got a list of 0"),
    ("trace", set_to([], "noise"), "guided-000001.json: holds other numbers of steps or items than it should"),
    ("fitted", lambda _: [], "fitted.json: input should be an object, got a list of 0"),
    ("fitted", set_to([], "weights"), "fitted.json: key 'weights': input should be an object, got a list of 0"),
    ("manifest", without("label_space"), "manifest.json: key 'label_space': field required; was it changed by hand?"),
    (
        "manifest",
        set_to([1, 2, 300], "label_space", "palette", 0),
        "key 'label_space.palette.0.2': input should be",
    ),
    ("manifest", set_to("road", "label_space", "names", 0), "manifest.json: scenes: class name 'road' is given twice"),
    ("results", set_to(-1, "sets", 0, "items"), "holds -1, expected no size, time, seed or deviation below 0."),
    ("results", set_to(1.5, "sets", 0, "per_seed", "miou", 0), "holds 1.5, expected every score as a share, 0 to 1."),
    ("judges", set_to(7, "rows", 0, "teacher_miou"), "key 'rows.0.teacher_miou': input should be less than or equal"),
    ("run", lambda _: [], "run.json: input should be an object, got a list of 0; restore it from a copy"),
    ("generator config", lambda _: {}, "config.json: key '_class_name': field required; get the folder again, or make"),
    ("generator config", set_to([16, 16], "channels"), "key 'channels.0': input should be a multiple of 32, got 16"),
    ("generator schedule", set_to("x", "shift"), "scheduler_config.json: key 'shift': input should be a valid number"),
    ("teacher config", set_to(9, "width"), "config.json: key 'width': input should be a multiple of 8, got 9"),
    ("manifest", set_to("x", "cost"), "manifest.json: key 'cost': input should be an object, got 'x'"),
    ("segformer config", set_to(2**31, "depths", 1), "config.json: key 'depths' asks for more than 1,000 layers; get"),
    ("teacher classes", set_to(["a"], "class_names"), "classes.json names 1 classes, the network has 18"),
]


@pytest.mark.parametrize(("name", "change", "sentence"), BY_HAND)
def test_cases_by_hand(run_folder: Path, name: str, change: Callable[[Any], Any], sentence: str) -> None:
    path = next(run_folder.glob(READERS[name].file))
    content = path.read_bytes()
    path.write_text(json.dumps(change(json.loads(content))))
    try:
        with pytest.raises(D3S2Error) as caught:
            READERS[name].read(run_folder)
    finally:
        path.write_bytes(content)
    assert sentence in str(caught.value)


def test_the_command_line_ends_with_a_sentence_and_a_status(
    run_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = run_folder / "selection.json"
    content = path.read_bytes()
    path.write_text("{}")
    assert call("report", str(run_folder), "--device", "cpu") == 1
    path.write_bytes(content)
    assert "selection.json: key 'method': field required" in capsys.readouterr().err
    (tmp_path / "laughs.yaml").write_text(ODD_YAML[0])
    assert call("distill", str(tmp_path / "laughs.yaml"), "--out", str(tmp_path / "run")) == 2
    assert "laughs.yaml: cannot be read as YAML: it stands for more than 100,000 values" in capsys.readouterr().err
    deep = ".".join("a" * 5000) + "=1"
    assert call("distill", "scenes", deep, "--out", str(tmp_path / "run")) == 2
    assert "names a key of more than 64 parts" in capsys.readouterr().err
    manifest = run_folder / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    os.mkfifo(manifest)
    assert call("verify", str(run_folder)) == 1
    manifest.unlink()
    manifest.write_bytes(content)
    assert "manifest.json: is a pipe, expected a regular file" in capsys.readouterr().err


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_in_a_generators_folder_is_not_opened(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "generator"
    shutil.copytree(run_folder / "models" / "generator", folder)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"x": Evil(tmp_path / "ran")}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"generator: cannot be read as a compact generator .*get the folder again"):
        load_generator(folder, 18)
    assert not (tmp_path / "ran").exists()


def test_a_generator_without_a_weight_or_with_one_that_is_not_finite_is_named(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "generator"
    shutil.copytree(run_folder / "models" / "generator", folder)
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "refine.0.bias": weights["refine.0.bias"] * torch.nan}, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weight 'refine\.0\.bias' holds numbers that are not finite"):
        load_generator(folder, 18)
    del weights["refine.0.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights of a compact generator are missing \(refine\.0\.bias\)"):
        load_generator(folder, 18)
