"""Light and shadow of worlds: penumbrae against brute force, the sun, lamps, the sky, compiled steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.worlds.cameras.photos import look_at
from worldline.worlds.rendering import trace
from worldline.worlds.rendering.shadows import disc_points, smooth
from worldline.worlds.rendering.sky import Dome
from worldline.worlds.world import (
    BOX,
    ELLIPSOID,
    MATERIAL_WIDTH,
    Builder,
    CameraSet,
    Motion,
    Part,
    PhotoEffects,
    Sky,
    Thing,
    World,
    material_slices,
)

CPU = torch.device("cpu")


def material(color: float, *, gloss: float = 0.0, emission: float = 0.0) -> np.ndarray:
    row, columns = np.zeros(MATERIAL_WIDTH, np.float32), material_slices()
    for name in ("color_a", "color_b", "color_c"):
        row[columns[name]] = color
    row[columns["scale"]] = row[columns["ratio"]] = 1.0
    row[columns["gloss"]], row[columns["emission"]] = gloss, emission
    return row


def outdoors(parts: list[Part], light: np.ndarray, radius: float, *, eye, target, clouds: float = 0.0) -> World:
    """Solids on a plain, under one light of radiant intensity 2 per square metre of distance."""
    builder = Builder()
    builder.material(0, material(0.5))
    builder.material(0, material(0.5, emission=4.0))
    builder.material(0, material(0.05, gloss=1.0))
    builder.place(Thing(parts, (0, 0), 0), np.zeros(3), 0.0)
    away = float(np.linalg.norm(light))
    cameras = CameraSet.photos(
        look_at(np.array(eye, float), np.array(target, float), 0.0)[None], np.ones(1), np.zeros((1, 2))
    )
    return World(
        "test", 0, np.array([-80.0, -80.0, 0.0]), np.array([80.0, 80.0, 50.0]), np.zeros(6, np.int64),
        Sky(np.array([0.2, 0.4, 0.8]), np.array([0.7, 0.8, 0.9]), clouds, 4), builder.primitives(), Motion.still(),
        np.array(builder.material_kind), np.stack(builder.material_rows), light[None], np.full((1, 3), 2.0 * away**2),
        -light[None] / away, np.zeros(1), np.full(1, radius), np.full(3, 0.3), cameras, PhotoEffects.none(1),
    )  # fmt: skip


def looked_at(world: World, size: int):
    """Shares of light [y x light], points and surface ids of the first view."""
    stage, tiling = trace.Stage([world], CPU), trace.Tiling(1, world.views, size, size)
    matrices = torch.as_tensor(trace.intrinsics(world.cameras, size, size))
    packets, _, _ = tiling.packets(matrices, torch.as_tensor(world.cameras.world_from_cam))
    with torch.no_grad():
        hits = stage.strike(packets)
        surface, normals, points = (tiling.untile(t) for t in (hits.surface, hits.normals, hits.points))
        lit = tiling.untile(stage.shadows(packets, hits, trace.aims(tiling, CPU)))
        lit = smooth(lit, surface, normals, stage.paint.light_radius > 0)
    return lit[0, 0], points[0, 0].double(), surface[0, 0]


def seen_share(points: torch.Tensor, center: np.ndarray, half: np.ndarray, light: np.ndarray, radius: float):
    """Share of the light's disc that a box leaves free, by 2000 float64 rays per point."""
    rng = np.random.default_rng(0)
    spot = rng.normal(size=(2000, 2))
    spot *= (np.sqrt(rng.random(2000)) / np.linalg.norm(spot, axis=1))[:, None] * radius
    free = np.zeros(len(points))
    for index, point in enumerate(points.numpy()):
        axis = (light - point) / np.linalg.norm(light - point)
        right = np.cross(axis, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        way = light - point + spot[:, :1] * right + spot[:, 1:] * np.cross(axis, right)
        first, second = ((s * half + center - point) / way for s in (-1.0, 1.0))
        near, far = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
        free[index] = 1.0 - ((near <= far) & (far > 1e-9) & (near < 1.0)).mean()
    return torch.as_tensor(free)


LAMP, SUN = np.array([0.4, -0.3, 4.0]), 2000.0 * np.array([0.3, -0.2, np.sqrt(0.87)])


@pytest.mark.parametrize(("light", "radius"), [(LAMP, 0.4), (SUN, 250.0)])
def test_penumbra_is_the_share_of_the_light_that_is_seen(light, radius):
    center, half = np.array([0.0, 0.0, 1.5]), np.array([0.5, 0.5, 0.05])
    world = outdoors([Part(BOX, center, half, 0)], light, radius, eye=(0.1, -2.5, 1.2), target=(0, 0.3, 0))
    lit, points, surface = looked_at(world, 160)
    ground = surface == 4
    chosen = ground.nonzero()[:: int(ground.sum()) // 800]
    exact = seen_share(points[chosen[:, 0], chosen[:, 1]], center, half, light, radius)
    found = lit[chosen[:, 0], chosen[:, 1], 0].double()
    partly = (exact > 0.02) & (exact < 0.98)
    assert partly.sum() > 30
    assert (exact < 0.02).sum() > 10
    assert (found - exact).abs()[~partly].mean() < 0.01  # no noise beside the penumbra
    assert (found - exact).abs()[partly].mean() < 0.06  # sixteen rays in a window
    assert ((found - exact)[partly]).mean().abs() < 0.02  # and no bias


def test_hard_shadow_of_a_distant_sun_begins_at_the_foot():
    """The way to the light is 2 km long, and a box of 1 cm on the ground still throws its shadow."""
    center, half = np.array([0.0, 0.0, 0.005]), np.array([0.3, 0.3, 0.005])
    sun = 2000.0 * np.array([0.6, 0.0, 0.8])
    world = outdoors([Part(BOX, center, half, 0)], sun, 0.0, eye=(-0.42, -0.06, 0.1), target=(-0.3, 0.0, 0.0))
    lit, points, surface = looked_at(world, 128)
    ground = surface == 4
    x, y = points[..., 0], points[..., 1]
    inside = ground & (y.abs() < 0.29) & (x < -0.3012) & (x > -0.3 - 0.01 * 0.75 + 0.0005)
    outside = ground & ((x < -0.3 - 0.0075 - 0.0005) | (y.abs() > 0.301))
    assert inside.sum() > 20
    assert (lit[..., 0][inside] == 0).all()
    assert (lit[..., 0][outside] == 1).all()
    assert (lit[..., 0][surface == 6] == 1).all()  # nothing shades itself


def test_every_light_throws_its_own_shadow_and_lamps_shine_out_of_their_globes():
    ball = Part(ELLIPSOID, np.array([0.0, 0.0, 0.5]), np.full(3, 0.3), 0)
    globe = Part(ELLIPSOID, LAMP, np.full(3, 0.2), 1)
    world = outdoors([ball, globe], SUN, 0.0, eye=(0, -3, 3), target=(0, 0.4, 0))
    both = replace(
        world, light_position=np.stack([SUN, LAMP]), light_color=np.stack([world.light_color[0], np.full(3, 9.0)]),
        light_axis=np.repeat(world.light_axis, 2, 0), light_focus=np.zeros(2), light_radius=np.zeros(2),
    )  # fmt: skip
    lit, _, surface = looked_at(both, 160)
    shaded = (lit == 0) & (surface == 4)[..., None]
    assert (shaded.sum((0, 1)) > 30).all()
    assert (shaded[..., 0] ^ shaded[..., 1]).sum() > 30
    assert (lit[..., 1] == 1).float().mean() > 0.8  # the globe around the lamp does not hide it


def test_disc_points_are_uniform_and_centred():
    points = disc_points(CPU)
    assert points.norm(dim=1).max() < 1.0
    assert points.mean(0).abs().max() < 0.03
    assert torch.allclose((points**2).sum(1).mean(), torch.tensor(0.5), atol=0.01)  # as over the whole disc


def test_sky_shows_sun_horizon_and_as_many_clouds_as_asked_for():
    def sky(clouds: float, view: torch.Tensor) -> torch.Tensor:
        world = outdoors(
            [Part(BOX, np.zeros(3), np.ones(3), 0)], SUN, 9.3, eye=(0, -5, 1), target=(0, 0, 1), clouds=clouds
        )
        return Dome([world], CPU).light(torch.zeros(1, dtype=torch.int64), view, 1e-3)

    sun = torch.as_tensor(SUN / 2000.0).float()[None]
    assert sky(0.0, sun).min() > 10 * sky(0.0, -sun * torch.tensor([1.0, 1.0, -1.0])).max()
    level = torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.allclose(sky(0.0, level), torch.tensor([[0.7, 0.8, 0.9]]), atol=0.05)
    view = torch.nn.functional.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    view[:, 2] = view[:, 2].abs() * 0.8 + 0.2
    view = torch.nn.functional.normalize(view, dim=1)
    clear = sky(0.0, view)
    hidden = [((sky(share, view) - clear).abs().sum(1) > 0.02).float().mean() for share in (0.2, 0.5, 0.9)]
    assert hidden[0] < hidden[1] < hidden[2]
    assert abs(hidden[1] - 0.5) < 0.35


def test_emissive_and_glossy_surfaces_are_brighter_than_plain_ones():
    def mean(kind: int) -> torch.Tensor:
        ball = Part(ELLIPSOID, np.array([0.0, 0.0, 0.6]), np.full(3, 0.5), kind)
        world = outdoors([ball], SUN, 9.3, eye=(0, -3, 0.6), target=(0, 0, 0.6))
        seen = trace.see([world], 48, 48, CPU)[0]
        return seen.light[0][seen.instance[0] >= 6]

    plain, shining, mirror = mean(0), mean(1), mean(2)
    assert shining.mean() > 3 * plain.mean()
    assert mirror.amax() > 0.5  # a dark ball shows the sun's highlight
    edge = mirror[mirror.sum(1) < mirror.sum(1).quantile(0.95)]
    assert edge.amax() > 4 * edge.median()  # and the sky at its outline (Fresnel)


def test_light_of_a_batch_is_that_of_each_world():
    described = [worlds.describe("rooms", seed, views=1) for seed in worlds.TEST_SEEDS[:2]]
    described[1] = replace(described[1], light_radius=np.full(len(described[1].light_focus), 0.2))
    together = trace.see(described, 40, 40, CPU)
    for world, moment in zip(described, together, strict=True):
        alone = trace.see([world], 40, 40, CPU)[0]
        assert torch.equal(alone.instance, moment.instance)
        difference = (alone.light - moment.light).abs().amax(-1)
        assert (difference > 1e-4).float().mean() < 0.05  # rays that graze an edge may fall either way, by an ulp
        assert difference.mean() < 2e-3


@pytest.mark.slow
def test_compiled_steps_give_the_same_photos():
    world = worlds.describe("rooms", worlds.TEST_SEEDS[0], views=2)
    plain = worlds.render([world], height=64, width=64)[0]
    fused = worlds.render([world], height=64, width=64, compile=True)[0]
    assert (plain.instance == fused.instance).float().mean() > 0.999
    same = plain.instance == fused.instance
    assert torch.allclose(plain.depth[same], fused.depth[same], rtol=1e-4, atol=1e-4)
    assert (plain.images.int() - fused.images.int()).abs().float().mean() < 0.2


def test_rendering_goes_on_without_a_compiler(monkeypatch):
    from worldline.worlds.rendering import kernels

    def broken(*_, **__):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", broken)
    kernels.compiled.cache_clear()
    with pytest.warns(UserWarning, match=r"without compilation.*no C\+\+ compiler"):
        assert kernels.compiled() is kernels.EAGER
    kernels.compiled.cache_clear()
