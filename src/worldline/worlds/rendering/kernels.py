"""The elementwise steps of rendering, plain or compiled: where the time goes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from worldline.worlds.appearance import textures
from worldline.worlds.rendering.cast import Visit, visit
from worldline.worlds.rendering.shading import radiance
from worldline.worlds.world import BOX, CONE, CYLINDER, ELLIPSOID, POLYTOPE

_COMPILED = (BOX, ELLIPSOID, CYLINDER, POLYTOPE, CONE)  # height fields march as far as their rays need: no fixed loop


@dataclass(frozen=True)
class Kernels:
    """The steps that a stage is made of."""

    visit: Visit
    radiance: Callable[..., Tensor]
    albedo: Callable[..., Tensor]


EAGER = Kernels(visit, radiance, textures.albedo)


@cache
def compiled() -> Kernels:
    """One compiled step per kind of solid, per pattern and for the light; compiled when first used, once per process.

    Where nothing can be compiled, a warning says so and the plain steps are returned.
    """
    build: Any = partial(torch.compile, dynamic=True)
    try:
        build(lambda x: x * x + 1.0)(torch.ones(8))
    except Exception as problem:  # noqa: BLE001  the compiler's own errors, of many kinds
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        warnings.warn(f"Worlds are rendered without compilation: torch.compile failed here ({reason}).", stacklevel=2)
        return EAGER
    steps = {kind: build(partial(visit, kind)) for kind in _COMPILED}

    def step(kind: int, *arguments: Any) -> tuple[Tensor, Tensor]:
        return steps[kind](*arguments) if kind in steps else visit(kind, *arguments)

    return Kernels(step, build(radiance), textures.albedo)
