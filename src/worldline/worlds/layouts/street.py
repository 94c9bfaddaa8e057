"""The layout "street": a built-up road with traffic, seen by a six-camera car, its dash camera, or a photographer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from worldline.worlds.cameras import photos, rigs
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.layouts import blocks
from worldline.worlds.layouts.blocks import Street
from worldline.worlds.layouts.crowd import populate
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.roads import SIDES, Road, draw_road, lay_ground, paint_marks
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import Builder, CameraSet, PhotoEffects, Sky, World, choose_rows

SUN_DISTANCE = 2000.0  # metres
_EXTENT = 450.0  # half side of the ground, metres
_REACH = 10.0  # metres along the road to which photographers go from the origin
_NEARBY = 40.0  # metres around a set of photos


def build(streams: Streams, options: WorldOptions) -> World:
    """Draw a street with its traffic and photograph it.

    ``shooting``: "photos" are taken by a pedestrian or from a car that passes, at one instant; "rig" is a stream of
    six cameras on a car in the traffic, time-major, so ``views`` is a multiple of six; "video" is its front camera.

    Raises:
        InputError: views that a rig cannot take, or no place for the photographer.
    """
    sensors = {"rig": rigs.RIG_SENSORS, "video": ("CAM_FRONT",)}.get(options.shooting, ("camera",))
    instants = 1 if options.shooting == "photos" else rigs.rig_instants(options.views, len(sensors))
    street = draw_street(streams.scene, options.size, near=options.shooting == "photos")
    light = _daylight(streams.scene)
    floor = paint(street.builder, streams.scene, "asphalt")
    scene = populate(street, streams.motion, options, instants)
    draft = World(
        "street", 0, np.array([-_EXTENT, -_EXTENT, 0.0]), np.array([_EXTENT, _EXTENT, 200.0]), np.full(6, floor),
        light.sky, street.builder.primitives(), scene.motion, np.array(street.builder.material_kind),
        np.stack(street.builder.material_rows), light.position, light.color, light.axis, np.zeros(1), light.radius,
        light.ambient, CameraSet.photos(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))), PhotoEffects.none(0),
    )  # fmt: skip
    if options.shooting == "photos":
        plan = plan_photos(streams.cameras, street.road)
        return replace(draft, cameras=photos.sample_cameras(streams.cameras, _nearby(draft.at(0)), plan, options))
    calibration = rigs.draw_calibration(streams.cameras, sensors)
    return replace(
        draft, cameras=rigs.rig_cameras(calibration, scene.world_from_rig), photo=PhotoEffects.none(options.views),
        sensors=sensors, world_from_rig=scene.world_from_rig,
    )  # fmt: skip


def draw_street(rng: np.random.Generator, size: float = 1.0, near: bool = False) -> Street:
    """Everything that stands still.

    Args:
        rng: of the scene.
        size: factor on the length.
        near: only the neighbourhood of the origin will be visited: a shorter street, plain from some way on.
    """
    builder, road = Builder(), draw_road(rng, size * (0.65 if near else 1.0))
    mood = list(blocks.MOODS)[int(rng.choice(4, p=[0.35, 0.25, 0.15, 0.25]))]
    street = Street(builder, rng, road, mood, 2.0 * _REACH if near else np.inf)
    lay_ground(builder, rng, road, green=mood == "suburb" or rng.random() < 0.2)
    paint_marks(builder, rng, road)
    blocks.line_street(street)
    blocks.furnish(street)
    blocks.park_cars(street)
    blocks.stand_about(street, int(rng.integers(0, 6)))
    return street


def _nearby(world: World) -> World:
    """What matters to the choice of places: solids near the origin. It makes that choice three times as fast."""
    solids = world.primitives
    near = np.linalg.norm(solids.center[:, :2], axis=1) - np.linalg.norm(solids.half[:, :2], axis=1) < _NEARBY
    return replace(world, primitives=choose_rows(solids, near))


def plan_photos(rng: np.random.Generator, road: Road) -> PhotoPlan:
    """Somebody on a pavement, or in a car that passes; near the world's origin, where x runs along the road."""
    side = int(rng.choice(SIDES))
    kerb, front, reach = road.half(side), road.front(side), rng.uniform(0.5, 1.0) * _REACH
    if rng.random() < 0.7:
        across, height = (side * (kerb - 0.5), side * (front - 0.55)), (1.2, 2.1)
    else:
        across, height = (side * 0.2, side * (road.lanes * road.lane - 0.2)), (1.2, 2.4)
    low = np.array([-reach, min(across), height[0]])
    high = np.array([reach, max(across), height[1]])
    far = np.array([2.0 * reach, max(road.front(1), road.front(-1)) + 1.0, 4.5])
    return PhotoPlan(
        low, high, far * [-1.0, -1.0, 0.13], far, step=1.2, apart=0.5, slope=(-0.3, 0.3), nearest=0.8, middle=2.0,
        things=0.2, clearance=0.6, attract=(far * [-1.2, -1.5, 0.0], far * [1.2, 1.5, 1.5]),
    )  # fmt: skip


@dataclass(frozen=True)
class Daylight:
    """Sun, sky and what the sky sends into the shadows. See the fields of ``World``."""

    sky: Sky
    position: Float64[np.ndarray, "1 3"]
    color: Float64[np.ndarray, "1 3"]
    axis: Float64[np.ndarray, "1 3"]
    radius: Float64[np.ndarray, "1"]
    ambient: Float64[np.ndarray, "3"]


def _daylight(rng: np.random.Generator) -> Daylight:
    """Between a clear day and an overcast one, the sun 15 to 65 degrees high."""
    azimuth, height = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(15.0, 65.0))
    towards = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    overcast = 0.0 if rng.random() < 0.55 else rng.uniform(0.2, 1.0)
    warmth = 0.25 * np.exp(-np.degrees(height) / 20.0) + rng.uniform(-0.03, 0.05)
    tint = np.array([1.0 + warmth, 1.0, 1.0 - 1.5 * warmth])
    strength = rng.uniform(2.2, 3.0) * (1.0 - 0.92 * overcast)
    grey, bright = np.array([0.85, 0.9, 0.95]), rng.uniform(0.9, 1.3)
    zenith = bright * ((1 - overcast) * np.array([0.16, 0.34, 0.75]) + overcast * 0.8 * grey)
    horizon = bright * ((1 - overcast) * np.array([0.62, 0.78, 0.95]) + overcast * 0.95 * grey)
    ambient = (0.55 + 0.6 * overcast) * ((1 - overcast) * np.array([0.85, 0.97, 1.2]) + overcast * np.ones(3))
    sky = Sky(
        zenith, horizon, float(np.clip(rng.uniform(0.0, 0.5) + 0.6 * overcast, 0.0, 1.0)), int(rng.integers(2**31))
    )
    return Daylight(
        sky, SUN_DISTANCE * towards[None], strength * tint[None] * SUN_DISTANCE**2, -towards[None],
        np.full(1, SUN_DISTANCE * np.tan(np.radians(0.27))), ambient,
    )  # fmt: skip
