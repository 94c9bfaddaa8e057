"""Drafting batches in other processes, for a device that must not wait for Python.

Drafting is numpy and small pieces of Python. In threads of the training process it takes turns with the one thread that
feeds the device, at every call of either. So for a GPU every thread of the feed has a process of its own that drafts;
the thread only waits, maps what the process wrote, and copies it into page-locked memory. What is drafted depends on
the request alone: processes and threads give the same batches.

A process is started by its own command line, not by ``multiprocessing``: it needs neither a guarded main module nor
shared memory of a given size. It reads requests from its standard input and answers on its standard output; arrays
go through a file that has no name any more when training begins, so nothing is left behind, however a run ends.
"""

from __future__ import annotations

import contextlib
import io
import logging
import mmap
import os
import pickle
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import torch
from torch import Tensor

from worldline.train.feed import Request
from worldline.train.recipes import TrainRecipe
from worldline.train.tasks import AnyDraft, task_of

log = logging.getLogger(__name__)

_ROOM = 4 << 30  # bytes that must be free where the files lie in memory
_ALIGNED = 64  # bytes, of arrays in the file
_START = "import sys; sys.path[:] = {paths!r}; from worldline.train.drafting import serve; serve({file!r})"


class Draftsmen:
    """Processes that draft requests, one for each thread that asks at the same time."""

    def __init__(self, recipe: TrainRecipe, rank: int, count: int) -> None:
        """Start so many processes; they are ready when they first answer."""
        self.seconds = 0.0  # of processors, that the processes have spent drafting
        self._all = [_Process(recipe, rank) for _ in range(count)]
        self._free: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.close()

    @contextlib.contextmanager
    def drafts(self, request: Request) -> Iterator[list[AnyDraft] | None]:
        """The drafts of a request, in memory that is used again after the context; None: no process is left.

        Raises:
            Exception: what the drafting raised in the other process.
        """
        process = self._free.get()
        if process is None:
            self._free.put(None)  # for the other threads
            yield None
            return
        try:
            answer = process.ask(request)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            log.warning("a process that drafts batches has ended (%r), its thread drafts without it", error)
            process.close()
            self._free.put(None)
            yield None
            return
        try:
            if isinstance(answer, Exception):
                raise answer
            self.seconds += process.seconds
            yield answer
        finally:
            self._free.put(process)


class _Process:
    """One of them, seen from the training."""

    def __init__(self, recipe: TrainRecipe, rank: int) -> None:
        handle, name = tempfile.mkstemp(prefix="worldline-drafts-", dir=_folder())
        self._name, self._file = Path(name), os.fdopen(handle, "r+b")
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(paths=sys.path, file=name)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._recipe: tuple[TrainRecipe, int] | None = (recipe, rank)
        self._map: mmap.mmap | None = None
        self.seconds = 0.0  # that the last answer took

    def ask(self, request: Request) -> list[AnyDraft] | Exception:
        """Drafts whose tensors lie in the file of this process, or what went wrong there."""
        if self._recipe is not None:
            self._tell(self._recipe)
            self._hear()
            self._recipe = None
            self._name.unlink(missing_ok=True)  # both have it open
        self._tell(request)
        answer = self._hear()
        if isinstance(answer, Exception):
            return answer
        head, spans, size, self.seconds = answer
        if size and (self._map is None or len(self._map) < size):
            self._map = mmap.mmap(self._file.fileno(), size)
        whole = memoryview(self._map or b"")
        drafts: list[AnyDraft] = pickle.loads(head, buffers=[whole[start:end] for start, end in spans])
        return drafts

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        for stream in (self._process.stdin, self._process.stdout, self._file):
            with contextlib.suppress(OSError, AttributeError):
                stream.close()  # type: ignore[union-attr]
        self._name.unlink(missing_ok=True)

    def _tell(self, message: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin, protocol=5)
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)  # an EOFError where the process has ended


def use_processes(recipe: TrainRecipe, device: torch.device) -> bool:
    """Whether batches of a recipe are drafted in processes of their own: on request, else for CUDA, from a pool."""
    if recipe.drafting == "auto":
        return device.type == "cuda" and recipe.pool is not None
    return recipe.drafting == "processes"


def _folder() -> str:
    """Where the files are in memory, if there is room."""
    memory = "/dev/shm"
    try:
        return memory if shutil.disk_usage(memory).free > _ROOM else tempfile.gettempdir()
    except OSError:
        return tempfile.gettempdir()


def serve(name: str) -> None:
    """The other side: draft until the training closes the pipe or ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not print into the answers
    questions = sys.stdin.buffer
    torch.set_num_threads(1)
    with Path(name).open("r+b") as file, contextlib.suppress(EOFError, BrokenPipeError):
        recipe, rank = pickle.load(questions)
        task, source = task_of(recipe), None
        _answer(answers, None)
        while True:
            request: Request = pickle.load(questions)
            started = time.process_time()
            try:
                source = source or task.source(recipe)
                found = _written(request.drafts(task, source, recipe, rank), file)
                message: Any = (*found, time.process_time() - started)
            except Exception as error:  # noqa: BLE001 -- the training raises it
                message = _sendable(error)
            _answer(answers, message)


def _answer(stream: IO[bytes], message: Any) -> None:
    pickle.dump(message, stream, protocol=5)
    stream.flush()


def _written(drafts: list[AnyDraft], file: IO[bytes]) -> tuple[bytes, list[tuple[int, int]], int]:
    """Numbers into the file, from its beginning; the rest as a pickle. Returns that, the spans, the bytes used."""
    buffers: list[pickle.PickleBuffer] = []
    head = io.BytesIO()
    _Pickler(head, protocol=5, buffer_callback=buffers.append).dump(drafts)
    spans, end = [], 0
    file.seek(0)
    for buffer in buffers:
        raw = buffer.raw()
        start = -(-end // _ALIGNED) * _ALIGNED
        file.seek(start)
        file.write(raw)
        end = start + raw.nbytes
        spans.append((start, end))
    file.flush()
    return head.getvalue(), spans, end


class _Pickler(pickle.Pickler):
    """Takes the numbers of tensors out of the pickle. Arrays stay inside: they are few, and not copied afterwards."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            array = np.ascontiguousarray(value.numpy())
            numbers = pickle.PickleBuffer(array)  # type: ignore[arg-type]
            return _tensor, (numbers, array.dtype.str, array.shape)
        return value.__reduce_ex__(4) if isinstance(value, np.ndarray) else NotImplemented


def _tensor(numbers: Any, kind: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor on top of memory."""
    found = np.frombuffer(numbers, kind) if len(numbers) else np.empty(0, kind)
    return torch.from_numpy(found.reshape(shape))


def _sendable(error: Exception) -> Exception:
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # noqa: BLE001 -- its arguments may not be those of its constructor, whatever that raises then
        log.debug("%s cannot be sent", type(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
