"""From a seed to a rendered sample: describe a world, render it, in batches on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from torch import Tensor

from worldline.errors import InputError, NoPlaceError
from worldline.worlds.layouts import LAYOUTS, Layout
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.rendering.kernels import EAGER, compiled
from worldline.worlds.rendering.photo import draw_effects, photograph
from worldline.worlds.rendering.trace import Moment, see
from worldline.worlds.world import World, material_slices

# Seeds are positions in one number line; the three ranges never overlap, whatever the layout.
TRAIN_SEEDS = range(0, 1_000_000_000)
VALIDATION_SEEDS = range(1_000_000_000, 1_001_000_000)
TEST_SEEDS = range(2_000_000_000, 2_001_000_000)

_ALIASES = {"room": "rooms", "object": "objects", "streets": "street"}
_ATTEMPTS = 8
_BATCH_PIXELS = 1_500_000  # of one batch on a CPU, where larger ones only cost memory


@dataclass(frozen=True)
class WorldSample:
    """Photos of one world with exact ground truth. Torch tensors on the device that rendered them.

    Depth is along the optical axis, in metres; points and normals are in the world frame (metres, z up); pixel
    centres are at integers. ``instance`` is 0..5 for the room's faces (-x, +x, -y, +y, floor, ceiling), 6 and more
    for objects. In the sky ``valid`` is False, ``instance`` and ``body`` are -1, depth and normals are 0, and
    the point is the camera centre. Intrinsics and poses stay float64. What the pixels do not tell (where a point is
    at another instant, what a LiDAR would see) is answered by :mod:`worldline.worlds.truth` from ``world``.
    """

    images: UInt8[Tensor, "view height width 3"]
    depth: Float32[Tensor, "view height width"]
    points: Float32[Tensor, "view height width 3"]
    normals: Float32[Tensor, "view height width 3"]
    instance: Int32[Tensor, "view height width"]
    body: Int32[Tensor, "view height width"]  # rigid body: row of world.motion; 0 never moves
    dynamic: Bool[Tensor, "view height width"]  # shows something that moves between the instants of this world
    valid: Bool[Tensor, "view height width"]
    intrinsics: Float64[Tensor, "view 3 3"]
    world_from_cam: Float64[Tensor, "view 4 4"]
    world: World

    @property
    def layout(self) -> str:
        """Kind of world."""
        return self.world.layout

    @property
    def seed(self) -> int:
        """The number it was drawn from."""
        return self.world.seed

    @property
    def frame(self) -> Int64[np.ndarray, "view"]:
        """Instant of every view: row of ``world.motion.times``."""
        return self.world.cameras.frame

    @property
    def times(self) -> Float64[np.ndarray, "view"]:
        """Seconds at which the views were taken."""
        return self.world.motion.times[self.world.cameras.frame]


def canonical_layout(layout: str) -> str:
    """Full name of a layout.

    Raises:
        InputError: unknown name; lists the choices.
    """
    name = _ALIASES.get(layout, layout)
    if name not in LAYOUTS:
        raise InputError(f"Unknown layout {layout!r}.", f"Choose one of: {', '.join(sorted(LAYOUTS))}.")
    return name


def canonical_device(device: torch.device | str) -> torch.device:
    """A device of this machine that can render worlds: the processor or a CUDA GPU (MPS knows no float64).

    Raises:
        InputError: unknown, not here, or not able to; lists the choices.
    """
    choices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if str(device).split(":")[0] not in choices:
        raise InputError(f"Worlds cannot be rendered on '{device}' here.", f"Choose one of: {', '.join(choices)}.")
    return torch.device(device)


def describe(layout: str, seed: int, *, views: int, **knobs: Any) -> World:
    """Draw a world from its seed: geometry, motion, materials, lights, cameras. CPU only, no pixels yet.

    Args:
        layout: a name in ``LAYOUTS``.
        seed: any non-negative integer; take it from TRAIN_SEEDS, VALIDATION_SEEDS or TEST_SEEDS.
        views: number of photos; the first n cameras of a longer photo set are the set of n.
        knobs: further fields of :class:`WorldOptions`, e.g. ``shooting="video"``; by default what is usual for the
            layout.

    Raises:
        InputError: unknown layout or way of shooting, or a number out of its range.
        NoPlaceError: the seed has no place for the cameras.
    """
    layout = canonical_layout(layout)
    kind = LAYOUTS[layout]
    options = _options(layout, views, knobs)
    if seed < 0:
        raise InputError(f"The seed {seed} is negative.", "Seeds start at 0.")
    world, streams = _build(kind, seed, options)
    effects = draw_effects(
        streams.photo, world.views, options.light_change, options.effects, steady=options.shooting != "photos"
    )
    return replace(_soften_patterns(world, options.texture), layout=layout, seed=seed, photo=effects)


def _build(kind: Layout, seed: int, options: WorldOptions, attempt: int = 0) -> tuple[World, Streams]:
    """A crowded place may have no room for the photographer: then the seed draws another."""
    streams = Streams.of(kind.stream, seed, attempt)
    try:
        return kind.build(streams, options), streams
    except NoPlaceError:
        if attempt + 1 == _ATTEMPTS:
            raise
    return _build(kind, seed, options, attempt + 1)


def _options(layout: str, views: int, knobs: dict[str, Any]) -> WorldOptions:
    unknown = sorted(set(knobs) - {field.name for field in fields(WorldOptions)})
    if unknown:
        raise InputError(f"Worlds have no option {unknown[0]!r}.", "See worldline.worlds.WorldOptions for the names.")
    possible = LAYOUTS[layout].shooting
    options = WorldOptions(views, **{"shooting": possible[0], **knobs})
    if options.shooting not in possible:
        raise InputError(
            f"The layout {layout} cannot be shot as {options.shooting!r}.", f"Choose one of: {', '.join(possible)}."
        )
    return options


def _soften_patterns(world: World, texture: float) -> World:
    """Draw all colours of a material towards its first one."""
    if texture == 1.0:
        return world
    table, columns = world.material_table.copy(), material_slices()
    first = table[:, columns["color_a"]]
    for name in ("color_b", "color_c"):
        table[:, columns[name]] = first + texture * (table[:, columns[name]] - first)
    table[:, columns["contrast"]] *= texture
    return replace(world, material_table=table)


def render(
    worlds: Sequence[World], *, height: int, width: int, device: torch.device | str = "cpu", compile: bool = False
) -> list[WorldSample]:
    """Photograph worlds, as few batches as possible.

    Returns one sample per world. Instants are rendered like separate worlds. ``compile`` compiles the elementwise steps
    when first used, which takes a minute and is worth it for thousands of photos; without a compiler a warning says so.

    Raises:
        InputError: an image without pixels, or a device that cannot render.
    """
    if height < 1 or width < 1:
        raise InputError(f"An image of {height} x {width} pixels has no content.", "Ask for at least 1 x 1.")
    target, kernels = canonical_device(device), compiled() if compile else EAGER
    with torch.inference_mode(mode=False), torch.no_grad():
        moments = [(index, int(frame)) for index, w in enumerate(worlds) for frame in np.unique(w.cameras.frame)]
        snapshots = [worlds[index].at(frame) for index, frame in moments]
        seen: list[Moment | None] = [None] * len(moments)
        for batch in _batches([s.views for s in snapshots], height * width, target):
            moments_of = see([snapshots[i] for i in batch], height, width, target, kernels)
            for place, moment in zip(batch, moments_of, strict=True):
                seen[place] = moment
        return [
            _develop(world, [(f, m) for (i, f), m in zip(moments, seen, strict=True) if i == index and m is not None])
            for index, world in enumerate(worlds)
        ]


def _batches(views: Sequence[int], pixels: int, device: torch.device) -> Iterator[list[int]]:
    """Snapshots with equally many views, together; on a CPU not too many."""
    for count in sorted(set(views)):
        members = [index for index, own in enumerate(views) if own == count]
        step = max(1, _BATCH_PIXELS // (count * pixels)) if device.type == "cpu" else len(members)
        yield from (members[start : start + step] for start in range(0, len(members), step))


def _develop(world: World, moments: Sequence[tuple[int, Moment]]) -> WorldSample:
    """Put the views of all instants into the order of the cameras, and apply what the cameras do to the light."""
    order = np.concatenate([np.flatnonzero(world.cameras.frame == frame) for frame, _ in moments])
    back = torch.as_tensor(np.argsort(order))

    def gather(name: str) -> Tensor:
        return torch.cat([getattr(moment, name) for _, moment in moments])[back]

    depth, body, matrices = gather("depth"), gather("body"), gather("intrinsics")
    moves = torch.as_tensor(world.motion.moves, device=body.device)
    valid = depth > 0
    return WorldSample(
        images=photograph(gather("light"), depth, matrices, world),
        depth=depth,
        points=gather("points"),
        normals=gather("normals"),
        instance=gather("instance"),
        body=body,
        dynamic=moves[body.long().clamp_min(0)] & valid,
        valid=valid,
        intrinsics=matrices,
        world_from_cam=gather("world_from_cam"),
        world=world,
    )


def sample(
    layout: str, seed: int, *, views: int, height: int = 224, width: int = 224, device: torch.device | str = "cpu",
    **knobs: Any,
) -> WorldSample:  # fmt: skip
    """One world of a layout, photographed: the same scene at every resolution. See :func:`describe`."""
    return render([describe(layout, seed, views=views, **knobs)], height=height, width=width, device=device)[0]


def sample_batch(
    layout: str, seeds: Sequence[int], *, views: int, height: int = 224, width: int = 224,
    device: torch.device | str = "cpu", compile: bool = False, **knobs: Any,
) -> list[WorldSample]:  # fmt: skip
    """Several worlds rendered as one batch, in the order of the seeds."""
    described = [describe(layout, seed, views=views, **knobs) for seed in seeds]
    return render(described, height=height, width=width, device=device, compile=compile) if described else []
