"""From a seed to a rendered sample: describe a world, render it, in batches on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from torch import Tensor

from worldline.errors import InputError
from worldline.worlds import cast as casting
from worldline.worlds import rooms
from worldline.worlds.cameras import sample_cameras
from worldline.worlds.shading import photograph
from worldline.worlds.trace import Stage, edges, soften
from worldline.worlds.views import Tiling, intrinsics
from worldline.worlds.world import CameraSet, PhotoEffects, World

# Seeds are positions in one number line; the three ranges never overlap, whatever the layout.
TRAIN_SEEDS = range(0, 1_000_000_000)
VALIDATION_SEEDS = range(1_000_000_000, 1_001_000_000)
TEST_SEEDS = range(2_000_000_000, 2_001_000_000)

LAYOUTS = {"rooms": 1}  # name -> number that separates the random streams of layouts
_ALIASES = {"room": "rooms"}
_MAX_PHOTOS = 64


@dataclass(frozen=True)
class WorldSample:
    """Photos of one world with exact ground truth. Torch tensors on the device that rendered them.

    Depth is along the optical axis, in metres; points and normals are in the world frame (metres, z up); pixel
    centres are at integers. ``instance`` is 0..5 for the room's faces (-x, +x, -y, +y, floor, ceiling), 6 and more
    for objects, -1 where nothing was hit. Intrinsics and poses stay float64.
    """

    images: UInt8[Tensor, "view height width 3"]
    depth: Float32[Tensor, "view height width"]
    points: Float32[Tensor, "view height width 3"]
    normals: Float32[Tensor, "view height width 3"]
    instance: Int32[Tensor, "view height width"]
    valid: Bool[Tensor, "view height width"]
    intrinsics: Float64[Tensor, "view 3 3"]
    world_from_cam: Float64[Tensor, "view 4 4"]
    layout: str
    seed: int


def canonical_layout(layout: str) -> str:
    """Full name of a layout.

    Raises:
        InputError: unknown name; lists the choices.
    """
    name = _ALIASES.get(layout, layout)
    if name not in LAYOUTS:
        raise InputError(f"Unknown layout {layout!r}.", f"Choose one of: {', '.join(sorted(LAYOUTS))}.")
    return name


def describe(
    layout: str, seed: int, *, views: int, focal_per_view: bool = False, principal_offset: float = 0.0
) -> World:
    """Draw a world from its seed: geometry, materials, lights, cameras. CPU only, no pixels yet.

    Args:
        layout: "rooms".
        seed: any non-negative integer; take it from TRAIN_SEEDS, VALIDATION_SEEDS or TEST_SEEDS.
        views: number of photos; the first n cameras of a longer set are the set of n.
        focal_per_view: draw a focal length per view instead of one per set (the field of view stays in 50-90 degrees).
        principal_offset: largest shift of the principal point, as a share of the longer image side.

    Raises:
        InputError: unknown layout, or a number of views that is not in 1..64.
    """
    layout = canonical_layout(layout)
    if not 1 <= views <= _MAX_PHOTOS:
        raise InputError(f"{views} views were asked for.", f"Ask for 1 to {_MAX_PHOTOS}.")
    if seed < 0:
        raise InputError(f"The seed {seed} is negative.", "Seeds start at 0.")
    attempt = 0
    while True:  # a crowded room may have no place for the photographer: the seed then draws another room
        scene_rng, camera_rng, photo_rng = (
            np.random.default_rng([LAYOUTS[layout], seed, attempt, stream]) for stream in range(3)
        )
        room, shell, lights = rooms.furnish(scene_rng)
        primitives = room.builder.primitives()
        draft = World(
            layout, seed, room.low, room.high, shell, primitives,
            np.array(room.builder.material_kind), np.stack(room.builder.material_rows),
            lights.position, lights.color, lights.axis, lights.focus, _ambient(scene_rng),
            CameraSet(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))), _photo_effects(photo_rng, views),
        )  # fmt: skip
        try:
            cameras = sample_cameras(
                camera_rng, casting.pack([draft], "cpu"), room.low, room.high, primitives, views,
                focal_per_view=focal_per_view, principal_offset=principal_offset,
            )  # fmt: skip
        except InputError:
            attempt += 1
            if attempt == 8:
                raise
            continue
        return replace(draft, cameras=cameras)


def _ambient(rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    warmth = rng.uniform(-0.1, 0.15)
    return rng.uniform(0.25, 0.6) * np.array([1 + warmth, 1.0, 1 - warmth])


def _photo_effects(rng: np.random.Generator, views: int) -> PhotoEffects:
    """Drawn view by view, so that a longer set starts like a shorter one."""
    strength, grain, shade = rng.uniform(0.05, 0.3), rng.uniform(0.002, 0.012), rng.uniform(0.0, 0.35)
    set_balance = 1.0 + rng.normal(0, 0.06, 3)
    set_exposure = rng.normal(0, 0.3)
    rows = rng.normal(size=(_MAX_PHOTOS, 4))[:views]
    seeds = rng.integers(0, 2**62, _MAX_PHOTOS)[:views]
    balance = set_balance * (1.0 + 0.02 * rows[:, 1:])
    return PhotoEffects(
        set_exposure + strength * rows[:, 0], balance, np.full(views, shade), np.full(views, grain), seeds
    )


def render(
    worlds: Sequence[World], *, height: int, width: int, device: torch.device | str = "cpu"
) -> list[WorldSample]:
    """Photograph worlds with equally many cameras each, as one batch.

    Returns one sample per world; the tensors of the samples are slices of the batch.
    """
    if height < 1 or width < 1:
        raise InputError(f"An image of {height} x {width} pixels has no content.", "Ask for at least 1 x 1.")
    with torch.inference_mode(mode=False), torch.no_grad():
        return _render(worlds, height, width, torch.device(device))


def _render(worlds: Sequence[World], height: int, width: int, device: torch.device) -> list[WorldSample]:
    scenes, views = len(worlds), len(worlds[0].cameras.fov)
    matrices = torch.as_tensor(np.stack([intrinsics(w.cameras, height, width) for w in worlds]), device=device)
    poses = torch.as_tensor(np.stack([w.cameras.world_from_cam for w in worlds]), device=device)
    images = (matrices.flatten(0, 1), poses.flatten(0, 1))
    stage, tiling = Stage(worlds, device), Tiling(scenes, views, height, width)
    hits = stage.trace(*tiling.packets(*images))
    surface, normals, lit = (tiling.untile(t) for t in (hits.surface, hits.normals, hits.lit))
    light = tiling.untile(hits.light)
    light = soften(stage, light, edges(surface, normals, lit, light), *images, tiling)
    depth = tiling.untile(hits.depth)
    photos, points, instance = photograph(light, worlds), tiling.untile(hits.points), tiling.untile(hits.instance)
    return [
        WorldSample(
            images=photos[i],
            depth=depth[i],
            points=points[i],
            normals=normals[i],
            instance=instance[i],
            valid=torch.isfinite(depth[i]),
            intrinsics=matrices[i],
            world_from_cam=poses[i],
            layout=world.layout,
            seed=world.seed,
        )
        for i, world in enumerate(worlds)
    ]


def sample(
    layout: str, seed: int, *, views: int, height: int = 224, width: int = 224, device: torch.device | str = "cpu",
    focal_per_view: bool = False, principal_offset: float = 0.0,
) -> WorldSample:  # fmt: skip
    """One world of a layout, photographed: the same scene at every resolution. See :func:`describe`."""
    world = describe(layout, seed, views=views, focal_per_view=focal_per_view, principal_offset=principal_offset)
    return render([world], height=height, width=width, device=device)[0]


def sample_batch(
    layout: str, seeds: Sequence[int], *, views: int, height: int = 224, width: int = 224,
    device: torch.device | str = "cpu", focal_per_view: bool = False, principal_offset: float = 0.0,
) -> list[WorldSample]:  # fmt: skip
    """Several worlds rendered as one batch, in the order of the seeds."""
    described = [
        describe(layout, seed, views=views, focal_per_view=focal_per_view, principal_offset=principal_offset)
        for seed in seeds
    ]
    return render(described, height=height, width=width, device=device) if described else []
