"""A small run through the command line that is stopped, starved or disturbed at some moment, and then resumed.

A trial is one fault at one moment: what the call said, what `d3s2 verify` says of what it left, and whether the same
call then gives the bytes of a run that nothing happened to. Another fault is one function and its line in `FAULTS`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from io import StringIO
from pathlib import Path
from random import Random

from tiny_run import TINY, call, content
from unknown_data import two_folders

RECIPE = ("scenes", *TINY, "synthesize.batch=1")
VARIANTS = ("evaluate.seeds=1", "evaluate.sets=[random, distilled]", "--vary", "synthesize.steps=3,2")
LINES = {"evaluate": RECIPE, "ablate": (*RECIPE, *VARIANTS)}
"""Commands that lead from the data to a table, with what they are called with."""
OWN_DATA = (
    "teacher.train={iterations: 2, batch: 2, width: 8}",
    "generator.fit={steps: 2, batch: 2, channels: [32, 32]}",
    "synthesize={steps: 6, batch: 1, measure_cost: false}",
)
EXECUTORS = {
    "one process": ("--workers", "1"),
    "two workers": ("--workers", "2"),
    "shares": (),
    "ray": ("--executor", "ray", "--workers", "2"),
}
WITHIN_S = 400.0
HEARS_CTRL_C = (
    "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'd3s2'; "
    "runpy.run_module('d3s2.cli', run_name='__main__', alter_sys=True)"
)
"""What runs in the background ignores Ctrl-C otherwise."""
OBEYS_PERMISSIONS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
"""Before a command of root's, who may read everything otherwise."""
UNREADABLE = (".", "census", "models", "students", "images", "unguided", "traces", "shared", "variants")
WORKED_STEPS = ("feature bank", "synthesize", "students")
"""Those that have workers, of a data set whose census one process takes."""
DATA_SAYS = re.compile(r"holds a distilled set of a different call|other data|changed")


@dataclass
class Scene:
    """One run that something is about to happen to.

    Args:
        folder: of the run.
        executor: a key of EXECUTORS.
        random: what moments and sizes are drawn from.
        whole: the folder of a run that nothing happened to.
        times: how often it happens, to one call after the other.
        line: a key of LINES.
    """

    folder: Path
    executor: str
    random: Random
    whole: Path
    times: int = 1
    line: str = "evaluate"
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    moments: list["Moment"] = field(default_factory=list)

    def begin(self, *words: str, before: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """Begins `d3s2 WORDS --out FOLDER` in a process group of its own."""
        command = [*before, sys.executable, "-c", HEARS_CTRL_C, *words, "--out", str(self.folder), "--device", "cpu"]
        with self.said(len(self.started)).open("wb") as said:
            process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.started.append(process)
        return process

    def begin_line(self, before: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """Begins the whole line."""
        return self.begin(self.line, *LINES[self.line], *EXECUTORS[self.executor], before=before)

    def begin_share(self, number: int, count: int, joined: bool = False) -> "subprocess.Popen[bytes]":
        """Begins a share of the sets, or of the students where the sets are `joined`."""
        command = self.line if joined or self.line == "ablate" else "distill"
        return self.begin(command, *LINES[self.line], "--shard", f"{number}/{count}")

    def said(self, number: int) -> Path:
        """What the call of this number wrote to standard error."""
        return self.folder.with_name(f"{self.folder.name}-said-{number}.txt")

    def wait_for_moment(self, process: "subprocess.Popen[bytes]", share: float = 1.0) -> None:
        """Until the folder holds so many files, of those to come up to `share` of them all, and a moment more."""
        there, last = len(files_in(self.folder)), int(share * (len(files_in(self.whole)) - 4))
        at_files = self.random.randint(there + 1, max(there + 1, last))
        while process.poll() is None and len(files_in(self.folder)) < at_files:
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 0.2))
        self.note(process.poll() is None)

    def note(self, happened: bool) -> None:
        """That something comes over the run now; not `happened` where it had ended before."""
        self.moments.append(Moment(len(files_in(self.folder)), _last_step(self.folder), happened))


@dataclass(frozen=True)
class Moment:
    """When something came over a run.

    Args:
        at_files: files that the folder held then.
        step: the last step in the log then.
        happened: False where the call had ended before.
    """

    at_files: int
    step: str
    happened: bool


@dataclass(frozen=True)
class Trial:
    """One fault, at one moment or at several of one run.

    Args:
        line: the command that it came over.
        exit_status: of each process of the disturbed call.
        said: the last line of each.
        verified: "clean", or what `d3s2 verify` said.
        problems: what should not have been; empty where all promises were kept.
    """

    fault: str
    executor: str
    line: str
    moments: tuple[Moment, ...]
    exit_status: tuple[int, ...]
    said: tuple[str, ...]
    verified: str
    wall_s: float
    problems: tuple[str, ...]

    @property
    def happened(self) -> tuple[Moment, ...]:
        """Those moments at which the run had not ended."""
        return tuple(one for one in self.moments if one.happened)


def sigkill(scene: Scene) -> set[int]:
    """The process that was called; its workers have to end by themselves."""
    return _signalled(scene, lambda process: process.kill(), -signal.SIGKILL)


def sigkill_of_all(scene: Scene) -> set[int]:
    """With all its workers, as at a power cut."""
    return _signalled(scene, lambda process: os.killpg(process.pid, signal.SIGKILL), -signal.SIGKILL)


def sigterm(scene: Scene) -> set[int]:
    """As a scheduler ends a job."""
    return _signalled(scene, lambda process: process.terminate(), 143)


def ctrl_c(scene: Scene) -> set[int]:
    """As a terminal sends it: to all."""
    return _signalled(scene, lambda process: os.killpg(process.pid, signal.SIGINT), 130)


def worker_killed(scene: Scene) -> set[int]:
    """One of two workers, in any step that has some; Ray goes on without it."""
    process = scene.begin_line()
    kill_worker(scene, process, scene.random.choice(WORKED_STEPS), set())
    process.wait(WITHIN_S)
    return {1, 0}  # 0: it had ended what it had to do


def each_worker_killed(scene: Scene) -> set[int]:
    """Both workers of one step, one after the other: two of Ray in one call, two of this machine in one call each."""
    killed, step = set[int](), scene.random.choice(WORKED_STEPS)
    process = scene.begin_line()
    for _ in range(2):
        if process.poll() is not None:
            process = scene.begin_line()
        killed |= kill_worker(scene, process, step, killed)
        if scene.executor != "ray":
            process.wait(WITHIN_S)
    process.wait(WITHIN_S)
    return {1, 0}


def each_share_killed(scene: Scene) -> set[int]:
    """Each of four shares, once it has done a piece; in the end nobody is left who could take over."""
    left = {number: scene.begin_share(number, 4) for number in range(1, 5)}
    while left:
        for number, process in [*left.items()]:
            if process.poll() is not None or (scene.folder / f"log-{number}-of-4.jsonl").exists():
                scene.note(process.poll() is None)
                process.kill()
                process.wait()
                del left[number]
        time.sleep(0.01)
    return {-signal.SIGKILL}


def full_disk(scene: Scene) -> set[int]:
    """A small file system of its own, which is made larger before the run is resumed."""
    size = sum(path.stat().st_size for path in files_in(scene.whole))
    scene.folder.mkdir()
    room = int(size * scene.random.uniform(0.02, 0.9))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "d3s2-faults", str(scene.folder)], check=True)
    scene.begin_line().wait(WITHIN_S)
    scene.note(True)
    subprocess.run(["mount", "-o", "remount,size=1g", str(scene.folder)], check=True)
    return {1}


def file_limit(scene: Scene) -> set[int]:
    """No file may grow beyond a limit (ulimit -f)."""
    sizes = sorted(path.stat().st_size for path in files_in(scene.whole))
    blocks = max(8, scene.random.choice(sizes[len(sizes) // 3 :]) // 1024)  # room for what the call says
    scene.begin_line(before=("bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash")).wait(WITHIN_S)
    scene.note(True)
    return {1}


def unreadable(scene: Scene) -> set[int]:
    """A folder of the run may not be entered any more."""
    process = scene.begin_line(before=OBEYS_PERMISSIONS if os.geteuid() == 0 else ())
    scene.wait_for_moment(process)
    closed = scene.random.choice([path for name in UNREADABLE if (path := scene.folder / name).is_dir()])
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        process.wait(WITHIN_S)
    finally:
        closed.chmod(mode)
    return {1, 0}  # 0: nothing of it was needed any more


def two_processes(scene: Scene) -> set[int]:
    """A second call on the same folder is refused, and the first one is not disturbed."""
    first = scene.begin_line()
    scene.wait_for_moment(first)
    second = scene.begin_line()
    second.wait(WITHIN_S)
    happened = first.poll() is None
    first.wait(WITHIN_S)
    scene.moments[-1] = replace(scene.moments[-1], happened=happened)
    assert not happened or "another d3s2 process is at work in this folder" in scene.said(1).read_text()
    return {0, 1}


def dead_lock(scene: Scene) -> set[int]:
    """The locks of dead processes, of another machine's too, and files that a killed one left half-written."""
    expected = sigkill_of_all(scene)
    (scene.folder / ".d3s2-locks").mkdir(exist_ok=True, parents=True)
    for name in (".d3s2.lock", ".d3s2-locks/share-1-of-2.lock", ".d3s2-locks/census.lock", ".run.json.lock"):
        (scene.folder / name).write_text("4194304\nelsewhere\n")
    (scene.folder / "images").mkdir(exist_ok=True)
    (scene.folder / "images/.000003.png.0123abcd.d3s2.part").write_bytes(b"half")
    return expected


def clock_set_back(scene: Scene) -> set[int]:
    """What a killed run left is from tomorrow."""
    expected = sigkill_of_all(scene)
    tomorrow = time.time() + 86_400
    for path in files_in(scene.folder):
        os.utime(path, (tomorrow, tomorrow))
    return expected


FAULTS: dict[str, Callable[[Scene], set[int]]] = {
    "SIGKILL": sigkill,
    "SIGKILL of all": sigkill_of_all,
    "SIGTERM": sigterm,
    "Ctrl-C": ctrl_c,
    "worker killed": worker_killed,
    "each worker killed": each_worker_killed,
    "each share killed": each_share_killed,
    "full disk": full_disk,
    "file limit": file_limit,
    "unreadable folder": unreadable,
    "two processes": two_processes,
    "lock of a dead process": dead_lock,
    "clock set back": clock_set_back,
}


def undisturbed(folder: Path, command: str = "evaluate") -> Path:
    """A run that nothing happens to, made in this process."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
        status = call(command, *LINES.get(command, RECIPE), "--workers", "1", "--out", str(folder), "--device", "cpu")
    assert status == 0, said.getvalue()
    return folder


def tried(fault: str, executor: str, line: str, scratch: Path, whole: Path, random: Random, times: int = 1) -> Trial:
    """Lets one fault come over a run in the folder `scratch`, so many times; then resumes it, and compares."""
    began, folder = time.monotonic(), scratch / "run"
    with _cleared(scratch), ended(scene := Scene(folder, executor, random, whole, times, line)):
        problems: list[str] = []
        try:
            expected = FAULTS[fault](scene)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            expected, problems = set(), [f"{type(error).__name__}: {error}"]
            for process in scene.started:
                process.kill()
        disturbed = list(scene.started)
        statuses = tuple(process.wait(WITHIN_S) for process in disturbed)
        said = tuple(_last_line(scene.said(number)) for number in range(len(disturbed)))
        problems += [
            f"ended with {status} without a word"
            for status, words in zip(statuses, said, strict=True)
            if status > 0 and not words
        ]
        left = _left_over(disturbed)
        verified, untoward = _verified(folder)
        problems += untoward
        if any(one.happened for one in scene.moments) and not set(statuses) <= expected | {0}:
            problems.append(f"ended with {statuses}, expected {sorted(expected)}")
        resumed = _resumed(scene)
        problems += [f"resumed: {one}" for one in resumed]
        for number in range(len(scene.started)):
            problems += _untoward(scene.said(number).read_text(errors="replace"))
        problems += [f"a process was left: {one}" for one in left]
        if not resumed:
            problems += [f"other bytes than undisturbed: {one}" for one in differences(folder, whole)]
            problems += [f"left half-written: {path.name}" for path in files_in(folder) if path.suffix == ".part"]
    wall_s = round(time.monotonic() - began, 1)
    return Trial(fault, executor, line, tuple(scene.moments), statuses, said, verified, wall_s, tuple(problems))


def changed_data(scratch: Path) -> tuple[str, ...]:
    """A data set that changes between two calls: the second one is refused; with the old data it resumes."""
    problems = []
    with _cleared(scratch):
        data, out = two_folders(scratch / "data"), scratch / "run"
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            assert call("init", str(data), "--out", str(scratch / "mine"), "--device", "cpu") == 0
        words = (str(scratch / "mine/run.yaml"), *OWN_DATA)
        whole = Scene(scratch / "whole", "one process", Random(0), scratch)
        assert whole.begin("distill", *words).wait(WITHIN_S) == 0, whole.said(0).read_text()
        for changed in (data / "masks/000003.png", data / "images/000003.jpg"):
            scene = Scene(out, "one process", Random(0), whole.folder)
            with ended(scene):
                process = scene.begin("distill", *words)
                while process.poll() is None and not list((out / "images").glob("*.png")):
                    time.sleep(0.01)
                process.kill()
                process.wait()
                before, twin = changed.read_bytes(), changed.with_stem("000005")
                changed.write_bytes(twin.read_bytes())
                refused = scene.begin("distill", *words).wait(WITHIN_S)
                if refused != 1 or not DATA_SAYS.search(_last_line(scene.said(1))):
                    problems.append(f"{changed.name} was changed: {refused}, {_last_line(scene.said(1))}")
                changed.write_bytes(before)
                again = scene.begin("distill", *words).wait(WITHIN_S)
                if again:
                    problems.append(f"{changed.name} is as it was: {again}, {_last_line(scene.said(2))}")
                problems += [f"{changed.name}: other bytes: {one}" for one in differences(out, whole.folder)]
                shutil.rmtree(out)
    return tuple(problems)


def differences(folder: Path, whole: Path) -> list[str]:
    """Names of what does not have the same bytes: files of the sets, weights, manifests, students' counts."""
    here, there = evidence(folder), evidence(whole)
    return sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))


def evidence(folder: Path) -> dict[str, object]:
    """All of a run, or of the runs of an ablation, that must be the same from run to run."""
    found: dict[str, object] = {}
    for run in runs_in(folder):
        for name, of_bytes in content(run).items():
            found[f"{run.relative_to(folder)}/{name}"] = of_bytes
        for path in filter(Path.exists, (run / "manifest.json", run / "unguided/manifest.json")):
            manifest = json.loads(path.read_text())
            # Where the run lies, and what was committed to the code meanwhile, is no part of what the run makes.
            del manifest["cost"], manifest["manifest_sha256"], manifest["commit"]
            del manifest["models"]["generator"]["model"]
            found[str(path.relative_to(folder))] = manifest
    for path in sorted(folder.glob("**/models/**/*.safetensors")):
        found[str(path.relative_to(folder))] = path.read_bytes()
    for path in sorted(folder.glob("students/*.json")):
        found[f"students/{path.name}"] = json.loads(path.read_text())["confusion"]
    return found


def runs_in(folder: Path) -> list[Path]:
    """The folders of distilled sets: those of an ablation's variants, or the folder itself."""
    return sorted(folder.glob("variants/*")) or [folder]


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder that others write in."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def _signalled(scene: Scene, send: Callable[["subprocess.Popen[bytes]"], None], status: int) -> set[int]:
    for _ in range(scene.times):
        if scene.executor == "shares":
            joined = _joined(scene)
            share = 1.0 if joined else 0.6  # they end before the students
            begun = [scene.begin_share(number, 2, joined) for number in (1, 2)]
        else:
            begun, share = [scene.begin_line()], 1.0
        chosen = scene.random.choice(begun)
        scene.wait_for_moment(chosen, share)
        if chosen.poll() is None:
            with suppress(ProcessLookupError):
                send(chosen)
        for process in begun:
            process.wait(WITHIN_S)
    return {status}


def _joined(scene: Scene) -> bool:
    """Whether the sets of shares are whole; finishes them where they can be."""
    if not all((run / "selection.json").exists() for run in runs_in(scene.folder)):
        return False
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return call("join", str(scene.folder)) == 0


def kill_worker(scene: Scene, process: "subprocess.Popen[bytes]", step: str, but: set[int]) -> set[int]:
    """Kills a worker of a step as soon as the log names one that is not in `but`; returns its id."""
    workers = list[int]()
    while process.poll() is None and not (workers := sorted({*_workers_of(scene, step)} - but)):
        time.sleep(0.01)
    scene.note(bool(workers))
    if not workers:
        return set()
    chosen = scene.random.choice(workers)
    with suppress(ProcessLookupError):
        os.kill(chosen, signal.SIGKILL)
    return {chosen}


def _resumed(scene: Scene) -> list[str]:
    """Calls again until the run is whole; what went wrong."""
    if scene.executor == "shares":
        problem = _ended(scene, scene.begin_share(1, 2))
        if problem is None and not all((run / "manifest.json").exists() for run in runs_in(scene.folder)):
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
                status = call("join", str(scene.folder))
            problem = f"`d3s2 join` ended with {status}: {said.getvalue().strip()}" if status else None
        if problem is not None:
            return [problem]
    problem = _ended(scene, scene.begin_line())
    return [] if problem is None else [problem]


def _ended(scene: Scene, process: "subprocess.Popen[bytes]") -> str | None:
    """What went wrong in a call that nothing disturbs."""
    status = process.wait(WITHIN_S)
    return f"a call ended with {status}: {_last_line(scene.said(len(scene.started) - 1))}" if status else None


def _verified(folder: Path) -> tuple[str, list[str]]:
    """What `d3s2 verify` says of a run; of an ablation, of the first variant that is not clean."""
    found = [_verified_run(run) for run in runs_in(folder)]
    return next((one for one in found if one[0] != "clean"), found[0])


def _verified_run(folder: Path) -> tuple[str, list[str]]:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as said:
        status = call("verify", str(folder))
    text = (out.getvalue() + said.getvalue()).strip()
    if status == 0:
        return "clean", []
    named = status == 1 and str(folder) in text
    return text.replace(str(folder), "RUN"), ([] if named else [f"verify: {status}, {text}"]) + _untoward(text)


def _untoward(said: str) -> list[str]:
    """Lines that no user should read. What Python's resource tracker says after a SIGKILL is nobody's to prevent."""
    lines = [line for line in said.splitlines() if "resource_tracker" not in line]
    return [line[:300] for line in lines if re.search(r"Traceback|: a defect;|Warning", line)]


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].replace(str(path.parent), "")[:300] if lines else ""


def _last_step(folder: Path) -> str:
    records = _records(folder, "log*.jsonl")
    return max(records, key=lambda record: record["time"])["step"] if records else "before the first piece"


def _records(folder: Path, name: str) -> list[dict[str, str]]:
    """The lines of all logs below a folder; the last line of each may not be whole yet."""
    walk = os.walk(folder)  # passes over folders that the run removes meanwhile, at which rglob fails
    logs = [Path(place, file) for place, _, files in walk for file in sorted(files) if fnmatch(file, name)]
    return [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.endswith("}")]


def _workers_of(scene: Scene, step: str) -> list[int]:
    """Process ids of the workers of a step, as the log names them."""
    records = _records(scene.folder, "log.jsonl")
    named = {int(record["worker"].rpartition(":")[2]) for record in records if record["step"] == step}
    called = {process.pid for process in scene.started}
    return sorted(one for one in named - called if Path(f"/proc/{one}").exists())


def _left_over(processes: Sequence["subprocess.Popen[bytes]"]) -> list[str]:
    """Processes of the groups that still live a while after the ones that were called."""
    until, groups = time.monotonic() + 10, {process.pid for process in processes}
    while (left := _members(groups)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _members(groups: set[int]) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if state != "Z" and int(group) in groups:
                found.append(path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
    return found


@contextmanager
def ended(scene: Scene) -> Iterator[None]:
    """No process outlives the block."""
    try:
        yield
    finally:
        for process in scene.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _cleared(scratch: Path) -> Iterator[None]:
    """The folder is there, and gone at the end; a file system that was mounted in it too."""
    scratch.mkdir(parents=True)
    try:
        yield
    finally:
        if os.path.ismount(scratch / "run"):
            subprocess.run(["umount", "--lazy", str(scratch / "run")], check=True)
        shutil.rmtree(scratch)


def can_mount(scratch: Path) -> bool:
    """Whether this process may mount a small file system."""
    scratch.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "d3s2-faults", str(scratch)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
    if mounted:
        subprocess.run(["umount", str(scratch)], check=True)
    return mounted
