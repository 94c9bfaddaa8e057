"""Pickles of numpy arrays, read without running anything that they name.

A pickle is a program: it names functions and has them called. Here every name stands for a stand-in of ours that can
do nothing but hold numbers; everything else is refused. numpy's own restoring code is not called either, because it
trusts what it is told about memory.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError

_KINDS = "biuf"  # bool, signed, unsigned, float


def load_arrays(path: Path) -> Any:
    """Content of a pickle file: dicts, lists, tuples, text, bytes, numbers and numpy arrays of numbers.

    Raises:
        InputError: no such file, no pickle, or one that names anything else.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file, encoding="latin1").load())
    except InputError as error:
        raise InputError(f"{path}: {error.cause}", error.remedy) from error
    except (OSError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Download it again.") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is no pickle of arrays ({reason}).", "Download it again.") from error


class _DType:
    """Stand-in for numpy.dtype: a number type, whose byte order may be set afterwards."""

    def __init__(self, code: Any, *_: Any) -> None:
        name = code.decode("ascii") if isinstance(code, bytes) else code
        self.dtype = np.dtype(name) if isinstance(name, str) else np.dtype(object)
        if self.dtype.kind not in _KINDS:
            raise InputError(f"it holds values of the type {name!r}.", "Only numbers can be read.")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.dtype = np.dtype(f"{order}{self.dtype.kind}{self.dtype.itemsize}")


class _Array:
    """Stand-in for an array: empty until its state arrives."""

    array: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        self.array = _from_bytes(raw, kind, shape, "F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(raw: Any, kind: Any, shape: Any, order: str = "C", *_: Any) -> _Array:
    made = _Array()
    made.array = _from_bytes(raw, kind, shape, order)
    return made


def _scalar(kind: Any, raw: Any) -> Any:
    return _from_bytes(raw, kind, (1,), "C")[0]


def _encode(text: Any, encoding: str = "latin1") -> bytes:
    """How older protocols store bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise InputError("it encodes text in an unusual way.", "Only numbers can be read.")
    return text.encode("latin1")


def _empty() -> bytes:
    """How older protocols store no bytes."""
    return b""


def _from_bytes(raw: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(kind, _DType):
        raise InputError("it holds an array without a type of number.", "Only numbers can be read.")
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)  # text where Python 2 wrote it
    return np.frombuffer(data, kind.dtype).reshape(tuple(shape), order="F" if order == "F" else "C")


class _NoType:
    """Stand-in for numpy.ndarray, which is only ever handed on."""


_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NoType,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty,
    ("builtins", "bytes"): _empty,
    **{(module, "_reconstruct"): _reconstruct for module in _MODULES},
    **{(module, "scalar"): _scalar for module in _MODULES},
    **{(module, "_frombuffer"): _frombuffer for module in _NUMERIC},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise InputError(
                f"this pickle wants to call {module}.{name}.",
                "A data set has no need for that: do not open it with anything else, download it again.",
            ) from None


def _plain(value: Any) -> Any:
    """Stand-ins replaced by what they hold."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, tuple):
        return tuple(_plain(entry) for entry in value)
    if isinstance(value, _DType | _NoType):
        raise InputError("it holds more than arrays.", "Only numbers can be read.")
    return value
