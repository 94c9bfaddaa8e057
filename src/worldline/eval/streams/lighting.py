"""Light and weather of a drive: the same street at another hour (rendered), glare and rain (drawn into the images)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy import ndimage

from worldline.types import Camera
from worldline.worlds.layouts.street import SUN_DISTANCE
from worldline.worlds.world import Sky, World

LIGHTS = ("own", "noon", "dusk", "night", "glare")
_GLARE_HEIGHT = 12.0  # degrees above the horizon
_LAMPS, _LAMP_HEIGHT, _LAMP_POWER = 3, 7.5, 260.0  # along the way; metres; radiant intensity


def relit(world: World, light: str) -> World:
    """A street under another light; geometry, motion and materials stay.

    * own: the daylight that the seed drew, between clear and overcast, the sun 15 to 65 degrees high.
    * noon: a clear sky, the sun 62 degrees high: hard, short shadows.
    * dusk: the sun 3 degrees high and a tenth as bright, a dim, reddish sky, half a stop too dark, grainy.
    * night: no sun, a black sky, three street lamps along the way; one stop too dark, very grainy.
    * glare: as noon, but the sun stands 12 degrees above the road ahead; :func:`add_glare` draws what the lens makes
      of it.
    """
    if light == "own" or world.sky is None:
        return world
    if light == "noon":
        return _sunny(world, _azimuth(world) + 2.0, 62.0, 2.7, np.array([1.0, 0.98, 0.94]))
    if light == "glare":
        return _sunny(world, _azimuth(world), _GLARE_HEIGHT, 2.6, np.array([1.0, 0.93, 0.8]))
    if light == "dusk":
        sky = Sky(np.array([0.05, 0.07, 0.16]), np.array([0.5, 0.26, 0.14]), 0.3, world.sky.seed)
        dim = _sunny(world, _azimuth(world) + 1.2, 3.0, 0.26, np.array([1.0, 0.55, 0.3]))
        return _grainy(replace(dim, sky=sky, ambient=np.array([0.13, 0.13, 0.19])), stops=-0.5, grain=0.012)
    return _grainy(_lamps(world), stops=-1.0, grain=0.02)


def sun_direction(world_from_rig: Float64[np.ndarray, "step 4 4"]) -> Float64[np.ndarray, "3"]:
    """Where the sun of "glare" stands, world frame: above the direction in which the car drives at first."""
    yaw = np.arctan2(world_from_rig[0, 1, 0], world_from_rig[0, 0, 0])
    return _towards(float(yaw), _GLARE_HEIGHT)


def add_glare(
    image: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    sun: Float64[np.ndarray, "3"],
    sky: Bool[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Veil of stray light around the sun; none where something in the image stands before the sun.

    Args:
        image: of that camera.
        camera: its intrinsics and pose.
        sun: unit vector to the sun, world frame.
        sky: pixels that show the sky.
    """
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.intrinsics).T
    rays = rays @ camera.world_from_cam[:3, :3].T
    cosine = (rays @ sun) / np.linalg.norm(rays, axis=-1)
    place = np.unravel_index(int(cosine.argmax()), cosine.shape)
    if cosine[place] > np.cos(np.radians(1.0)) and not sky[place]:
        return image
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    veil = np.clip(0.75 * np.exp(-((angle / 14.0) ** 2)) + 0.45 * np.exp(-angle / 28.0), 0, 1)[..., None]
    return (image * (1 - veil) + 255.0 * veil).astype(np.uint8)


def add_rain(
    image: UInt8[np.ndarray, "height width 3"], strength: float, seed: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Rain as an image shows it, not as physics has it: contrast lost to a grey veil, bright streaks, drops that blur.

    Args:
        image: a photo.
        strength: 0: none; 1: half of the contrast lost, one streak per 60 pixels, five drops on the lens.
        seed: of streaks and drops.
    """
    if strength <= 0:
        return image
    rng, (height, width) = np.random.default_rng([seed, 77]), image.shape[:2]
    shown = image.astype(np.float64)
    shown += 0.5 * strength * (0.8 * shown.mean() + 25.0 - shown)
    seeds = np.zeros((height, width))
    seeds[rng.integers(0, height, n := int(strength * height * width / 60)), rng.integers(0, width, n)] = 1.0
    length = max(3, height // 10)
    line = np.zeros((length, length))
    line[np.arange(length), (length // 2 + 0.25 * (np.arange(length) - length / 2)).astype(int)] = 1.0
    streaks = np.clip(ndimage.convolve(seeds, line, mode="constant"), 0, 1)[..., None]
    shown += 0.35 * streaks * (235.0 - shown)
    blurred = ndimage.gaussian_filter(shown, (height / 32, height / 32, 0))
    rows, columns = np.mgrid[:height, :width]
    for _ in range(round(5 * strength)):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), height * rng.uniform(0.03, 0.08)
        inside = np.clip(1.5 - np.hypot(rows - row, columns - column) / radius, 0, 1)[..., None]
        shown = inside * blurred + (1 - inside) * shown
    return np.clip(shown, 0, 255).astype(np.uint8)


def _azimuth(world: World) -> float:
    """Direction in which the rig drives at first."""
    assert world.world_from_rig is not None
    return float(np.arctan2(world.world_from_rig[0, 1, 0], world.world_from_rig[0, 0, 0]))


def _towards(azimuth: float, degrees: float) -> Float64[np.ndarray, "3"]:
    height = np.radians(degrees)
    return np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])


def _sunny(world: World, azimuth: float, degrees: float, strength: float, tint: Float64[np.ndarray, "3"]) -> World:
    """A clear day with the sun in a given place; further lights go."""
    towards = _towards(azimuth, degrees)
    assert world.sky is not None
    sky = Sky(np.array([0.18, 0.37, 0.82]), np.array([0.68, 0.86, 1.05]), 0.15, world.sky.seed)
    return replace(
        world, sky=sky, light_position=SUN_DISTANCE * towards[None], light_axis=-towards[None],
        light_color=strength * tint[None] * SUN_DISTANCE**2, light_focus=np.zeros(1),
        light_radius=np.full(1, SUN_DISTANCE * np.tan(np.radians(0.27))), ambient=0.55 * np.array([0.85, 0.97, 1.2]),
    )  # fmt: skip


def _lamps(world: World) -> World:
    """Lamps beside the way of the rig, on alternating sides."""
    assert world.world_from_rig is not None and world.sky is not None
    path = world.world_from_rig[:, :3, 3]
    ahead, left = world.world_from_rig[0, :3, 0], world.world_from_rig[0, :3, 1]
    far = float(np.linalg.norm(path[-1] - path[0])) + 30.0
    spots = np.linspace(-4.0, far, _LAMPS)
    side = np.where(np.arange(_LAMPS) % 2 == 0, 4.5, -4.5)
    places = path[0] + spots[:, None] * ahead + side[:, None] * left + np.array([0.0, 0.0, _LAMP_HEIGHT])
    down = np.tile([0.0, 0.0, -1.0], (_LAMPS, 1))
    sky = Sky(np.full(3, 0.002), np.array([0.008, 0.007, 0.006]), 0.0, world.sky.seed)
    return replace(
        world, sky=sky, light_position=places, light_axis=down, light_focus=np.full(_LAMPS, 0.5),
        light_color=_LAMP_POWER * np.tile([1.0, 0.82, 0.55], (_LAMPS, 1)), light_radius=np.full(_LAMPS, 0.15),
        ambient=np.array([0.02, 0.02, 0.03]),
    )  # fmt: skip


def _grainy(world: World, stops: float, grain: float) -> World:
    """Photos that are too dark by so many stops, with at least so much noise of the sensor."""
    photo = world.photo
    noise = np.maximum(photo.read_noise, grain)
    return replace(world, photo=replace(photo, exposure=photo.exposure + stops, read_noise=noise, metering=0 * noise))
