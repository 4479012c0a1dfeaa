"""What the machine is: device, number format, versions, cost. Asked for when a command begins, never at import."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from d3s2.base.errors import UsageError
from d3s2.base.machine.cores import crowding, num_cores
from d3s2.base.names import did_you_mean
from d3s2.base.progress import Progress

DEVICES = ("cpu", "cuda")

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What launchers set for each process of a group."""

REPORTED_PACKAGES = ("d3s2", "torch", "diffusers", "transformers", "safetensors", "numpy", "pyarrow", "pillow")


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, or the best there is; raises UsageError when it is not there.

    Of several processes that torchrun or accelerate launched on one machine, each gets a GPU of its own.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before its first use: the same sums each time
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        hint = "" if name.partition(":")[0] in DEVICES else did_you_mean(name, DEVICES)
        raise UsageError(
            f"Device '{name}' is not available on this machine: `d3s2 doctor` lists what is; try --device cpu.{hint}"
        ) from None
    return device


def wait_for(device: torch.device) -> None:
    """Waits until the device has done what it was given, so that a clock read now counts it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def num_launched() -> int:
    """How many processes torchrun or accelerate launched together, this one among them; 1 where it is alone.

    Raises:
        UsageError: the environment names only parts of such a group, as no launcher does.
    """
    found = {name: os.environ[name] for name in LAUNCHED if name in os.environ}
    if "RANK" not in found and "WORLD_SIZE" not in found:
        return 1
    numbers = [found.get(name, "") for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")]
    if len(found) < len(LAUNCHED) or not all(number.isdecimal() for number in numbers):
        missing = ", ".join(name for name in LAUNCHED if name not in found) or "no number in one of them"
        raise UsageError(
            f"The environment says that this process is one of a group ({', '.join(map('='.join, found.items()))}), "
            f"but not of which ({missing}); start the group with torchrun or accelerate launch, or unset RANK and "
            "WORLD_SIZE."
        )
    rank, count = int(found["RANK"]), int(found["WORLD_SIZE"])
    if rank >= count:
        raise UsageError(
            f"RANK is {rank} and WORLD_SIZE {count}: ranks go from 0 to {count - 1}; correct or unset them."
        )
    return count


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of those that torchrun or accelerate launched."""
    return os.environ.get("RANK", "0") == "0"


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The reduced format in which training runs well on `device`; None where only float32 does."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and "avx512_bf16" in _cpu_flags():
        return torch.bfloat16
    return None


def reduced(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Networks compute in the reduced format `dtype` within the block; None leaves them as they are."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def unreduced(device: torch.device) -> AbstractContextManager[object]:
    """Tensors keep their format within the block, whatever block of `reduced` it stands in."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def versions() -> dict[str, str]:
    """Version of Python and of each package that results depend on."""
    found = {"python": platform.python_version()}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if tracked.returncode == 0 else None


def hardware() -> dict[str, Any]:
    """Processor, cores, memory and accelerator, for results that others compare with."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found: dict[str, Any] = {"cpu": _cpu_name(), "cores": num_cores(), "memory_gib": round(memory_gib, 1)}
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "tf32": tf32()}
    return found


def tf32() -> str:
    """What a GPU multiplies with factors rounded to ten bits where tensors are float32: it may change results.

    torch's own settings, which stay: convolutions alone, unless the user or an environment variable says otherwise.
    """
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(convolutions, "conv"):  # the names of before raise where these were used
        rounded = {"convolutions": convolutions.conv.fp32_precision, "matrix products": products.fp32_precision}
        chosen = [name for name, precision in rounded.items() if precision == "tf32"]
    else:
        allowed = {"convolutions": convolutions.allow_tf32, "matrix products": products.allow_tf32}
        chosen = [name for name, is_allowed in allowed.items() if is_allowed]
    return ", ".join(chosen) or "nothing"


def peak_memory_gib() -> float:
    """The most memory that this process and its finished children ever held, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return float(max(own, children) * unit / 2**30)


@dataclass
class Stopwatch:
    """Seconds of wall time; `wall_s` is final once the block ends."""

    wall_s: float = 0.0


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Lets torch use `count` threads within the block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_threads() -> int:
    """Threads that torch uses here `within_cores`: no more than the user and the cores allow."""
    return min(torch.get_num_threads(), num_cores())


@contextmanager
def within_cores(progress: Progress) -> Iterator[None]:
    """Lets torch use no more threads within the block than there are cores for this process.

    Tells where these cores have other work already.
    """
    threads = num_threads()
    said = crowding(threads)
    if said is not None:
        progress.say(said)
    with torch_threads(threads):
        yield


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measures the block."""
    watch, start = Stopwatch(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.wall_s = time.perf_counter() - start


def _cpu_flags() -> str:
    return _cpu_info("flags")


def _cpu_name() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
