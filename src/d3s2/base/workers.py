"""Worker processes that do not outlive the process that started them, however that one ends."""

import ctypes
import os
import signal
import sys
import threading
from multiprocessing import parent_process

ORPHANED = 1  # exit status
PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that this process gets when the one that started it ends


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone; the initializer of a pool of spawned processes.

    A pool's workers wait for work on a pipe that they themselves hold open, so a killed parent would leave them
    waiting for ever. On Linux the kernel ends them: a thread of their own needs the interpreter's lock, which a process
    that torch interrupted in the middle of a collective never gives back. The thread serves other systems, and a parent
    that was gone before.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait, name="end-with-parent", daemon=True).start()


def _wait() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
