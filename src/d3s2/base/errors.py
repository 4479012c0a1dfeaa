"""The exceptions of d3s2.

    D3S2Error
    ├── UsageError (ValueError)        the call is wrong            exit status 2
    │   └── ConfigError                a key or value in a config
    └── WorkError                      the call is right, the work failed   exit status 1
        ├── DataError (ValueError)     images, masks, label spaces
        ├── ModelError (RuntimeError)  weights missing, refused or not fitting
        ├── StoreError (OSError)       a folder or file that d3s2 writes
        ├── NumericError (ArithmeticError)  numbers that are not finite
        └── NoMemoryError (MemoryError)     of the machine or the GPU

Every message is a sentence that says where, what was found, what was expected and what to do.
"""

import errno
import re

REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE)
"""What an operating system says of a file that it does not give: no defect of the program, wherever it is met."""


class D3S2Error(Exception):
    """Anything that d3s2 itself refuses."""

    exit_status = 1

    def __str__(self) -> str:
        # OSError would print a tuple for two arguments; ours always carry one sentence.
        return str(self.args[0]) if self.args else type(self).__name__


class UsageError(D3S2Error, ValueError):
    """The call is wrong: an argument, a name or a combination of them."""

    exit_status = 2


class ConfigError(UsageError):
    """A config holds an unknown key or a value outside its range."""


class WorkError(D3S2Error):
    """The call is right and the work could not be done."""


class DataError(WorkError, ValueError):
    """An image, a mask or a label space is not what it should be."""


class ModelError(WorkError, RuntimeError):
    """Weights are missing, refused, or do not fit the data."""


class StoreError(WorkError, OSError):
    """A folder or file that d3s2 writes is locked, full, damaged or foreign."""


class NumericError(WorkError, ArithmeticError):
    """A computation gave numbers that are not finite more often than is allowed."""


class NoMemoryError(WorkError, MemoryError):
    """The memory of the machine or of the GPU is too small for what was asked for."""


def refused_file(error: BaseException) -> StoreError | None:
    """A sentence for a file that the operating system does not give; None for anything else."""
    if isinstance(error, D3S2Error) or not isinstance(error, OSError) or error.filename is None:
        return None
    if error.errno not in REFUSALS:
        return None
    return StoreError(
        f"{error.filename}: cannot be used ({error.strerror}); check the file, its folder and their permissions, and "
        "run the same call again; it resumes."
    )


def out_of_memory(error: BaseException) -> NoMemoryError | None:
    """A sentence for a MemoryError, or for what torch raises in its place on a CPU or a GPU; None for anything else."""
    if isinstance(error, D3S2Error):
        return None
    text = " ".join(str(error).split())
    on_gpu = type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text
    if not (on_gpu or isinstance(error, MemoryError) or "DefaultCPUAllocator" in text):
        return None
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+) (\w+)", text)
    more = ""
    if wanted:
        size = f"{float(wanted[1]) / 2**30:.2f} GiB" if wanted[2] == "bytes" else f"{wanted[1]} {wanted[2]}"
        more = f" ({size} more were asked for)"
    return NoMemoryError(
        f"Out of memory{' on the GPU' if on_gpu else ''}{more}: lower synthesize.batch, generator.fit.batch, "
        "teacher.train.batch, evaluate.train.batch, evaluate.workers, data.memory_gib or data.size, and run the same "
        "call again; it resumes."
    )
