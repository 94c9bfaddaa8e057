"""Weights: what exists, where it comes from, and how it becomes a network.

Folders in our own format hold JSON and safetensors only. Published pickles are read once, by :mod:`.published`, the
one module that touches them, and converted.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# name -> module; torch is imported only when a name that needs it is used
_PUBLIC = {
    "ModelInfo": "model_info",
    "MODELS": "registry",
    "config_of": "fetch",
    "convert": "conversion",
    "count_parameters": "folder",
    "from_official": "official",
    "info": "fetch",
    "is_available": "fetch",
    "load_model": "storage",
    "read_info": "folder",
    "resolve": "fetch",
    "save_model": "storage",
    "verify": "fetch",
}

if TYPE_CHECKING:
    from worldline.weights.conversion import convert
    from worldline.weights.fetch import config_of, info, is_available, resolve, verify
    from worldline.weights.folder import count_parameters, read_info
    from worldline.weights.model_info import ModelInfo
    from worldline.weights.official import from_official
    from worldline.weights.registry import MODELS
    from worldline.weights.storage import load_model, save_model

__all__ = [
    "MODELS",
    "ModelInfo",
    "config_of",
    "convert",
    "count_parameters",
    "from_official",
    "info",
    "is_available",
    "load_model",
    "read_info",
    "resolve",
    "save_model",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'worldline.weights' has no attribute {name!r}")
    return getattr(importlib.import_module(f"worldline.weights.{_PUBLIC[name]}"), name)
