"""What a campaign remembers between calls (campaign.json), and how long the present call may go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldline.errors import InputError
from worldline.files import write_json

CAMPAIGN = "campaign.json"
PHASES = ("check", "fill", "profile", "train", "evaluate", "verdict", "results")
DONE, OPEN, FAILED = "done", "open", "failed"
_VERSION = 1


def now() -> str:
    """Date and time of day, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Paused(Exception):
    """A phase ended before it was done, because the slice is over or somebody asked for it; the next call goes on."""


class Deadline:
    """When the present call has to end: by the clock, or because it was asked to.

    Args:
        seconds: from now on; None: no limit.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._end = None if seconds is None else self._start + seconds
        self.signal: int | None = None  # that asked for the end
        self.on_stop: Callable[[], object] | None = None  # called once when it is asked for

    @property
    def spent(self) -> float:
        """Seconds since the start of the call."""
        return self._clock() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, infinity without a limit, 0 once somebody asked for the end."""
        if self.signal is not None:
            return 0.0
        return float("inf") if self._end is None else max(0.0, self._end - self._clock())

    def stop(self, signal: int) -> None:
        """Ask for the end; safe in a signal handler."""
        self.signal = signal
        if self.on_stop is not None:
            self.on_stop()

    def over(self, reserve: float = 0.0) -> bool:
        """Whether no more than ``reserve`` seconds are left."""
        return self.left <= reserve

    def check(self, reserve: float = 0.0) -> None:
        """Raise :class:`Paused` where no more than ``reserve`` seconds are left."""
        if self.over(reserve):
            raise Paused


class Journal:
    """The phases of a campaign with their times, results and errors; on disk after every change, whole or not at all.

    Raises:
        InputError: ``campaign.json`` is there and cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CAMPAIGN
        self.values: dict[str, Any] = {"version": _VERSION, "settings": {}, "calls": [], "phases": {}}
        if self.path.exists():
            try:
                self.values = json.loads(self.path.read_text(encoding="utf-8"))
                known = self.values["version"] == _VERSION
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path} cannot be read ({error}).", "Choose another folder with -o.") from error
            if not known:
                raise InputError(f"{self.path} is of another version of worldline.", "Choose another folder with -o.")

    def save(self) -> None:
        """Write everything."""
        write_json(self.path, self.values)

    def phase(self, name: str) -> dict[str, Any]:
        """The record of a phase, made where there is none."""
        phase: dict[str, Any] = self.values["phases"].setdefault(name, {"state": OPEN, "seconds": 0.0, "result": {}})
        return phase

    def result(self, name: str) -> dict[str, Any]:
        """What a phase found; changes are written with the next :meth:`save`."""
        result: dict[str, Any] = self.phase(name)["result"]
        return result

    def done(self, name: str) -> bool:
        """Whether a phase came to its end."""
        return bool(self.phase(name)["state"] == DONE)

    @contextmanager
    def recording(self, name: str) -> Iterator[dict[str, Any]]:
        """Account for one turn at a phase: yields its result, to be filled.

        A turn that raises :class:`Paused` leaves the phase open, any other error leaves it failed; both go on upwards.
        """
        phase, started = self.phase(name), time.monotonic()
        phase.setdefault("start", now())
        phase["state"] = OPEN
        phase.pop("error", None)
        self.save()
        try:
            yield phase["result"]
            phase["state"] = DONE
        except Paused:
            raise
        except BaseException as error:
            phase |= {"state": FAILED, "error": f"{type(error).__name__}: {error}"}
            raise
        finally:
            phase["end"] = now()
            phase["seconds"] = round(phase["seconds"] + time.monotonic() - started, 2)
            self.save()
