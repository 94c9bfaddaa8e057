"""Where a step makes the host wait for its device: a training step on a GPU should do so nowhere.

A kernel is queued in microseconds; a number that the host wants to read is there only when everything queued before it
has run, and meanwhile nothing new is queued. :func:`counted_syncs` lists such operations with the lines that asked for
them. It sees calls, not time, so it works without a GPU: on tensors of the device ``meta``, which has shapes and no
numbers, it is exact about who reads what, and a step that runs there at all decides nothing on the host.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# the result, or its shape, depends on numbers: the host reads them
_READING = frozenset(
    [
        "_local_scalar_dense",
        "is_nonzero",
        "nonzero",
        "nonzero_numpy",
        "argwhere",
        "masked_select",
        "equal",
        "allclose",
        "_linalg_check_errors",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
        "histc",
        "multinomial",
        "tensor_split",
        "to_sparse",
    ]
)
_INDEXING = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"})
_MAKING = frozenset({"tensor", "as_tensor", "asarray", "new_tensor", "scalar_tensor"})  # from numbers of the host
_LISTING = frozenset({"tolist", "numpy", "__array__"})  # of a tensor on the processor: seen by no dispatcher
_HERE = Path(__file__).resolve()
_PACKAGE = _HERE.parents[1]
_WARNING = "synchronizing CUDA operation"


@dataclass(frozen=True)
class Sync:
    """One operation that makes the host wait."""

    operation: str
    line: str  # "train/loop.py:120" of this package, "" where nothing of it is on the stack (a backward pass)


@dataclass
class Syncs:
    """What was found."""

    found: list[Sync] = field(default_factory=list)  # by the operations that were called
    warned: list[Sync] = field(default_factory=list)  # by CUDA itself, on a CUDA device
    operations: int = 0  # of any kind that compute something: about as many kernels
    on_cuda: bool = False

    @property
    def count(self) -> int:
        """Waits: as CUDA counts them where there is one, else as the operations tell."""
        return len(self.warned if self.on_cuda else self.found)

    def lines(self) -> dict[str, int]:
        """How often which line waits, the worst first: ``{"train/loop.py:120 nonzero": 2}``."""
        places = Counter(f"{sync.line or 'backward'} {sync.operation}" for sync in self.warned or self.found)
        return dict(places.most_common())


@contextmanager
def counted_syncs(device: torch.device | str | None = None) -> Iterator[Syncs]:
    """Record what would make the host wait, until the context ends. Threads started before are not looked at.

    Args:
        device: whose tensors count (``cuda``, or ``meta`` in its place): reading their numbers, shapes that depend on
            them, copies between it and the processor that are not asked to run beside. None: those of any device, the
            processor's own included, where nothing is copied; that is what *would* wait, were they all on a GPU, and
            so a little too much: numbers that never leave the host are read there, too.
    """
    kind = None if device is None else torch.device(device).type
    syncs = Syncs(on_cuda=torch.cuda.is_available() and torch.cuda.is_initialized() and kind in (None, "cuda"))
    with ExitStack() as stack:
        if syncs.on_cuda:
            stack.enter_context(_warnings_of_cuda(syncs))
        stack.enter_context(_Calls(syncs, kind))
        stack.enter_context(_Operations(syncs, kind))
        yield syncs


@contextmanager
def _warnings_of_cuda(syncs: Syncs) -> Iterator[None]:
    """PyTorch's own debug mode says when a stream is waited for."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        show = warnings.showwarning

        def note(message: Warning | str, *rest: Any, **more: Any) -> None:
            if _WARNING in str(message):
                syncs.warned.append(Sync("waits for CUDA", _own_line()))
            else:
                show(message, *rest, **more)

        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


class _Operations(TorchDispatchMode):
    """What reaches the dispatcher, that of the backward pass included."""

    def __init__(self, syncs: Syncs, kind: str | None) -> None:
        super().__init__()
        self.syncs, self.kind = syncs, kind

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.syncs.operations += not func.is_view
        name = func.overloadpacket.__name__
        if _waits(name, func._overloadname, args, kwargs, self.kind):
            self.syncs.found.append(Sync(name.strip("_"), _own_line()))
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """What Python asks for and the dispatcher does not see: numbers and lists of the host that become tensors."""

    def __init__(self, syncs: Syncs, kind: str | None) -> None:
        super().__init__()
        self.syncs, self.kind = syncs, kind

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _MAKING and self._makes(name, args, kwargs):
            self.syncs.found.append(Sync(name, _own_line()))
        elif name in ("__getitem__", "__setitem__") and _on(args[:1], self.kind) and _lists(args[1]):
            self.syncs.found.append(Sync("index by a list", _own_line()))
        elif name in _LISTING and self.kind is None and _on(args[:1], "cpu"):
            self.syncs.found.append(Sync(name, _own_line()))
        return func(*args, **kwargs)

    def _makes(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether numbers of the host go to a device, for which PyTorch waits."""
        source = args[1] if name == "new_tensor" and len(args) > 1 else args[0] if args else None
        if isinstance(source, Tensor):
            return False  # a copy, if anything: the dispatcher sees it
        like = args[0].device if name == "new_tensor" else torch.get_default_device()
        target = torch.device(kwargs.get("device") or like).type
        return target == self.kind if self.kind is not None else target != "cpu"


def _waits(name: str, overload: str, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str | None) -> bool:
    if name in ("_to_copy", "copy_"):
        return _copies(name, args, kwargs, kind)
    if name in _INDEXING and _on(args[:1], kind):
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        masks = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        return masks or any(index.device.type != args[0].device.type for index in indices)
    if name == "repeat_interleave":
        return overload in ("Tensor", "self_Tensor") and kwargs.get("output_size") is None and _on(args, kind)
    return name in _READING and _on(tree_leaves((args, kwargs)), kind)


def _copies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str | None) -> bool:
    """Copies between devices: to the processor always, from it unless they may run beside the computation."""
    if name == "copy_":
        target, source = args[0].device, args[1].device
        beside = bool(args[2]) if len(args) > 2 else bool(kwargs.get("non_blocking"))
    else:
        source = args[0].device
        target = torch.device(kwargs.get("device") or source)
        beside = bool(kwargs.get("non_blocking"))
    kinds = {source.type, target.type}
    if len(kinds) == 1 or (kind is not None and kind not in kinds):
        return False
    return target.type == "cpu" or not beside


def _on(values: Iterable[Any], kind: str | None) -> bool:
    """Whether one of the values is a tensor on such a device."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return any(kind is None or tensor.device.type == kind for tensor in tensors)


def _lists(index: Any) -> bool:
    """Whether an index has parts that must become tensors first."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list | range | np.ndarray) for part in parts)


def _own_line() -> str:
    """The innermost line of this package on the stack, as ``train/loop.py:120``."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if _PACKAGE in path.parents and path != _HERE:
            return f"{path.relative_to(_PACKAGE).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
