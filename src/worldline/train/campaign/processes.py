"""Processes of a campaign: none outlives the one that started it, none is waited for without end."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence

_KILL_SECONDS = 10.0
_LOOK_SECONDS = 1.0


def end(processes: Sequence[subprocess.Popen[bytes]], seconds: float = _KILL_SECONDS) -> None:
    """Ask processes to end, kill those that have not after so many seconds, and wait until all are gone."""
    for process in processes:
        process.terminate()
    ends = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone, whatever it is doing: a device must become free."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
