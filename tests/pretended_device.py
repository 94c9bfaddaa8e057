"""A device on a machine that has none: real numbers on the processor that say they lie elsewhere.

Inside :func:`pretended_device`, tensors put on ``DEVICE`` behave as on CUDA in what mistakes are made of: operations on
tensors of two devices fail (numbers without an axis may take part, indices may lie on the processor), numpy cannot read
them, a generator of the processor cannot fill them. What makes the host wait for a device, and what is copied to it
from the processor, is counted. So a network or a renderer runs through here with its real values, data-dependent
branches and gradients; only the kernels are not those of a GPU. The device is called ``meta`` because that is the one
name besides ``cpu`` which every build of PyTorch can hand to autograd.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")

_COPIES = {"aten::copy_", "aten::_to_copy"}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
_WAITS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::bincount", "aten::equal",
}  # fmt: skip
_BUILDERS = (torch.tensor, torch.as_tensor, torch.asarray)


class Pretended(torch.Tensor):
    """Says that it lies on ``DEVICE``; ``held`` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        with torch.inference_mode(False):  # what is made in inference mode has no versions, which wrappers need
            made = torch.Tensor._make_wrapper_subclass(
                cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
                device=DEVICE,
            )  # fmt: skip
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, None)

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("A tensor on a device cannot be read by numpy. Use Tensor.cpu() first.")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def new_tensor(self, data: Any, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.tensor(data, **{"dtype": self.dtype, **kwargs}).to(DEVICE)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return super().__getitem__(_with_lists_there(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_with_lists_there(index), value)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.held!r})"


def _with_lists_there(index: Any) -> Any:
    """Lists become tensors of the device, as on CUDA."""
    if isinstance(index, tuple):
        return tuple(map(_with_lists_there, index))
    return torch.tensor(index).to(DEVICE) if isinstance(index, list) else index


class Traffic:
    """What passed between host and device, by the operation."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()  # the host needed a result
        self.uploads: Counter[str] = Counter()  # a tensor of the processor was copied to the device


class _Operations(TorchDispatchMode):
    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled() and func._can_decompose():  # without autograd nobody took it apart
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return _run(func, args, kwargs or {}, self.traffic)


class _Builders(TorchFunctionMode):
    """``torch.tensor(…, device=DEVICE)`` builds on the processor and copies, unseen by dispatch modes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if func in _BUILDERS and device is not None and torch.device(device) == DEVICE:
            del kwargs["device"]
            return func(*args, **kwargs).to(DEVICE)
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any], traffic: Traffic | None) -> Any:
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = [leaf for leaf in tensors if isinstance(leaf, Pretended)]
    away = [leaf for leaf in tensors if not isinstance(leaf, Pretended)]
    assert not any(leaf.is_meta for leaf in away), f"{name}: a true tensor of {DEVICE} has got in, without numbers"
    asked = kwargs.get("device")
    target = torch.device(asked) if asked is not None else (DEVICE if here else torch.device("cpu"))
    _check(name, args, kwargs, here, away, target)
    if traffic is not None:
        _count(name, args, kwargs, here, away, target, traffic)
    inner = dict(kwargs)
    if asked is not None:
        inner["device"] = torch.device("cpu")
    result = func(*tree_map(_held, args), **tree_map(_held, inner))
    if name == "aten::copy_" and not isinstance(args[0], Pretended):
        return args[0]
    if target != DEVICE:
        return result
    wrapped = tree_map(lambda leaf: Pretended(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if here else wrapped


def _check(name: str, args: Any, kwargs: dict[str, Any], here: list, away: list, target: torch.device) -> None:
    generator = kwargs.get("generator")
    if generator is not None and target == DEVICE:
        raise RuntimeError(f"{name}: expected a generator of the device, got one of {generator.device}.")
    if name in _COPIES or not here:
        return
    if name in _INDEXED:  # indices may lie on the processor, everything else may not
        away = [leaf for leaf in away if not any(leaf is index for index in args[1])]
        if away and not isinstance(args[0], Pretended):
            raise RuntimeError(f"{name}: expected an indexed tensor on the device of its indices.")
    wrong = [tuple(leaf.shape) for leaf in away if leaf.dim()]
    if wrong:
        raise RuntimeError(f"{name}: expected all tensors on one device, {wrong} lie on the processor.")


def _count(
    name: str, args: Any, kwargs: dict[str, Any], here: list, away: list, target: torch.device, traffic: Traffic
) -> None:
    from_device = bool(here) and (target != DEVICE or (name == "aten::copy_" and not isinstance(args[0], Pretended)))
    masks = name in _INDEXED and here and any(
        index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )  # fmt: skip
    if (here and name in _WAITS) or from_device or masks:
        traffic.waits[name] += 1
    if name == "aten::repeat_interleave" and here and kwargs.get("output_size") is None:
        traffic.waits[name] += 1
    if (name in _COPIES and away and target == DEVICE and not from_device) or (name in _INDEXED and here and away):
        traffic.uploads[name] += 1


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Pretended) else leaf


@contextmanager
def pretended_device() -> Iterator[Traffic]:
    """A device to put tensors and modules on; see the module's text."""
    traffic = Traffic()
    autocast = torch.autocast

    def only_elsewhere(device_type: str, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        return nullcontext() if device_type == DEVICE.type else autocast(device_type, *args, **kwargs)

    _forget_tables()
    try:
        with _Operations(traffic), _Builders(), mock.patch("torch.autocast", only_elsewhere):
            yield traffic
    finally:
        _forget_tables()


def _forget_tables() -> None:
    """What the package keeps per device: whoever uses the true ``meta`` device must not find pretended tensors."""
    for name, module in list(sys.modules.items()):
        if name.startswith("worldline."):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


def numbers(value: torch.Tensor) -> torch.Tensor:
    """What a tensor holds, on the processor, outside of autograd."""
    return _held(value).detach()
