"""Published and embedded weights."""

from __future__ import annotations

from typing import Any

__all__ = ["from_official"]


def __getattr__(name: str) -> Any:
    if name == "from_official":  # on demand: it imports torch and the networks
        from worldline.weights.official import from_official

        return from_official
    raise AttributeError(f"module 'worldline.weights' has no attribute {name!r}")
