"""worldline: photos, camera-rig logs and videos to one 3D/4D scene, in a single feed-forward pass."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it; nothing heavy is imported until a name is used
_PUBLIC = {
    "reconstruct": "worldline.pipeline",
    "load": "worldline.pipeline",
    "Scene": "worldline.scene",
    "Camera": "worldline.types",
    "ImageTransform": "worldline.types",
    "Rig": "worldline.types",
    "WorldlineError": "worldline.errors",
}

if TYPE_CHECKING:
    from worldline.errors import WorldlineError
    from worldline.pipeline import load, reconstruct
    from worldline.scene import Scene
    from worldline.types import Camera, ImageTransform, Rig

__all__ = ["Camera", "ImageTransform", "Rig", "Scene", "WorldlineError", "__version__", "load", "reconstruct"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in (
        "weights",
        "worlds",
        "scene",
        "inputs",
        "outputs",
        "models",
        "geometry",
        "types",
        "errors",
        "train",
        "eval",
    ):
        return importlib.import_module(f"worldline.{name}")
    raise AttributeError(f"module 'worldline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
