"""Worker processes that do not outlive the process that started them, however that one ends."""

import os
import threading
from multiprocessing import parent_process

ORPHANED = 1  # exit status


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone; the initializer of a pool of spawned processes.

    A pool's workers wait for work on a pipe that they themselves hold open, so a killed parent would leave them
    waiting for ever.
    """
    threading.Thread(target=_wait, name="end-with-parent", daemon=True).start()


def _wait() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
