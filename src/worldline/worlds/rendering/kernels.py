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
_POINTS = 6  # place of the rays' own origins among the arguments of a step, after the rows


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
    steps = {(kind, own): build(_named(kind, own)) for kind in _COMPILED for own in (False, True)}

    def step(kind: int, row: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        if kind not in _COMPILED or len(row) < 2:  # a size of one would be compiled once more, by itself
            return visit(kind, row, *arguments)
        own = arguments[_POINTS] is not None
        return steps[kind, own](row, *arguments)

    return Kernels(step, build(radiance), textures.albedo)


def _named(kind: int, own: bool) -> Visit:
    """A step for one kind with a code object of its own: the compiler counts its variants per code object."""

    def step(*arguments: Any) -> tuple[Tensor, Tensor]:
        return visit(kind, *arguments)

    step.__code__ = step.__code__.replace(co_name=f"visit_{kind}_{'own' if own else 'shared'}")
    return step
