"""Ray casting against closed forms and against a brute-force twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.worlds.rendering import cast as casting
from worldline.worlds.rendering import trace
from worldline.worlds.rendering.packets import Frusta, Pairs
from worldline.worlds.rendering.surfaces import hit_geometry
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    HEIGHT_FIELD,
    POLYTOPE,
    SHELL_FACES,
    cone,
    height_field,
    material_slices,
    random_rotation,
)

ROTATION = torch.as_tensor(random_rotation(np.random.default_rng(5)), dtype=torch.float32)
HALF = torch.tensor([0.5, 0.3, 0.8])
CENTER = torch.tensor([0.4, -0.2, 3.0])
ORIGIN = torch.tensor([0.1, 0.2, -0.3])


def one_table(kind: int, rotation: torch.Tensor, half: torch.Tensor, planes: torch.Tensor | None = None):
    planes = torch.zeros(1, 4) if planes is None else planes
    table = casting.KindTable(
        CENTER.view(1, 1, 3), rotation.view(1, 1, 3, 3), half.view(1, 1, 3), planes.view(1, 1, -1, 4),
        torch.ones(1, 1, dtype=torch.bool), torch.full((1, 1), SHELL_FACES, dtype=torch.int32),
    )  # fmt: skip
    room = torch.full((1, 3), 20.0)
    return casting.SceneTables(-room, room, torch.zeros(1, dtype=torch.bool), {kind: table})


def fan(count: int = 4096) -> torch.Tensor:
    """Directions around the line of sight to the solid, some of which miss it."""
    generator = torch.Generator().manual_seed(3)
    return (CENTER - ORIGIN) + 0.9 * torch.randn(count, 3, generator=generator)


def shoot(tables, directions: torch.Tensor):
    rays = tuple(directions[:, i].view(-1, 64) for i in range(3))
    packets = casting.Packets(ORIGIN.expand(len(rays[0]), 3), rays, 1)
    distance, surface = casting.cast(tables, packets)
    return distance.flatten(), surface.flatten() == SHELL_FACES


def local_hits(directions, distance, hit, rotation):
    points = ORIGIN + distance[hit, None] * directions[hit]
    return (points - CENTER) @ rotation


@pytest.mark.parametrize("kind", [BOX, ELLIPSOID, CYLINDER])
def test_hits_lie_on_the_surface_and_misses_stay_outside(kind):
    half = torch.tensor([0.4, 0.4, 0.8]) if kind == CYLINDER else HALF
    level = {
        BOX: lambda p: (p.abs() / half).amax(-1),
        ELLIPSOID: lambda p: (p / half).norm(dim=-1),
        CYLINDER: lambda p: torch.maximum(p[..., :2].norm(dim=-1) / half[0], p[..., 2].abs() / half[2]),
    }[kind]
    directions = fan()
    distance, hit = shoot(one_table(kind, ROTATION, half), directions)
    assert 0.1 < hit.float().mean() < 0.9
    assert torch.allclose(level(local_hits(directions, distance, hit, ROTATION)), torch.ones(int(hit.sum())), atol=2e-5)
    # densely sampled along each ray, the solid is entered exactly where the hit says, or never
    steps = torch.linspace(0.0, 3.0, 1500)
    along = (ORIGIN + steps[:, None, None] * directions[None, :256] - CENTER) @ ROTATION
    inside = level(along) < 1.0
    entered = inside.any(0)
    first = steps[inside.float().argmax(0)]
    assert not entered[~hit[:256]].any()
    assert (hit[:256] & ~entered).sum() <= 3  # cuts across an edge that are shorter than a step
    both = entered & hit[:256]
    assert (first[both] - distance[:256][both]).abs().max() < 3.0 / 1500 + 1e-4


def test_sphere_distance_is_the_closed_form():
    radius = 0.6
    directions = torch.nn.functional.normalize(fan(), dim=-1)
    distance, hit = shoot(one_table(ELLIPSOID, ROTATION, torch.full((3,), radius)), directions)
    offset, d = (ORIGIN - CENTER).double(), directions.double()
    b = d @ offset
    discriminant = b * b - (offset @ offset - radius**2)
    clear = discriminant.abs() > 1e-5
    assert torch.equal(hit[clear], (discriminant > 0)[clear])
    expected = -b - discriminant.clamp_min(0).sqrt()
    assert torch.allclose(distance[hit & clear].double(), expected[hit & clear], atol=2e-4)
    assert (distance[hit & clear].double() - expected[hit & clear]).abs().median() < 1e-6


def test_axis_aligned_rays_hit_box_and_cylinder_at_known_distances():
    straight = torch.tensor([[0.0, 0.0, 1.0]]).repeat(64, 1)
    ahead = CENTER[2] - ORIGIN[2]
    box, hit = shoot(one_table(BOX, torch.eye(3), HALF.clone().fill_(0.9)), straight)
    assert hit.all()
    assert torch.allclose(box, (ahead - 0.9).expand(64))
    cylinder, hit = shoot(one_table(CYLINDER, torch.eye(3), torch.tensor([0.9, 0.9, 0.4])), straight)
    assert hit.all()  # parallel to the axis: enters by the cap
    assert torch.allclose(cylinder, (ahead - 0.4).expand(64))
    shell, hit = shoot(one_table(BOX, torch.eye(3), torch.full((3,), 0.1)), straight)
    assert not hit.any()
    assert torch.allclose(shell, torch.full((64,), 20.3))


def test_polytope_of_six_planes_is_a_box():
    planes = torch.cat([torch.cat([torch.eye(3), -torch.eye(3)]), torch.cat([HALF, HALF])[:, None]], 1)
    directions = fan()
    as_box = shoot(one_table(BOX, ROTATION, HALF), directions)
    as_polytope = shoot(one_table(POLYTOPE, ROTATION, HALF, planes), directions)
    assert torch.equal(as_box[1], as_polytope[1])
    assert torch.allclose(as_box[0], as_polytope[0], rtol=1e-5, atol=1e-5)


def test_culling_never_loses_a_hit(monkeypatch):
    """The packets' frusta against the same cast with every solid visited."""
    world = worlds.describe("rooms", worlds.TEST_SEEDS[3], views=2)
    matrices = torch.as_tensor(intrinsics(world.cameras, 64, 80))
    tables = casting.pack([world], "cpu")
    packets, _, _ = Tiling(1, 2, 64, 80).packets(matrices, torch.as_tensor(world.cameras.world_from_cam))
    fast = casting.cast(tables, packets)

    def all_of_them(frusta, bounds):
        real = bounds.radius[0].isfinite().nonzero().squeeze(1)
        row = torch.arange(len(frusta.normal)).repeat_interleave(len(real))
        solid = real.repeat(len(frusta.normal))
        return Pairs(row, solid, torch.full((len(row),), -torch.inf))

    monkeypatch.setattr(Frusta, "meet", all_of_them)
    slow = casting.cast(tables, packets)
    assert torch.equal(fast[1], slow[1])
    assert torch.equal(fast[0], slow[0])


def test_shadows_agree_with_an_independent_march():
    """A point is lit if and only if no solid contains a point of the way to the light."""
    world = worlds.describe("rooms", worlds.TEST_SEEDS[5], views=1)
    stage = trace.Stage([world], torch.device("cpu"))
    matrices = torch.as_tensor(intrinsics(world.cameras, 32, 32))
    packets, _, _ = Tiling(1, 1, 32, 32).packets(matrices, torch.as_tensor(world.cameras.world_from_cam))
    hits = stage.strike(packets)
    light_reaches = stage.shadows(packets, hits, torch.zeros_like(hits.surface, dtype=torch.int64))[..., 0]
    light = torch.as_tensor(world.light_position[0])
    solids = world.primitives
    emission = world.material_table[solids.material, material_slices()["emission"]]
    chosen = np.isin(solids.kind, (BOX, ELLIPSOID)) & (emission == 0).ravel()  # what shines lets light pass
    points = hits.points.reshape(-1, 3).double()
    steps = torch.linspace(0.02, 0.99, 600, dtype=torch.float64)
    blocked = torch.zeros(len(points), dtype=torch.bool)
    for kind, center, turn, half in zip(
        solids.kind[chosen], solids.center[chosen], solids.rotation[chosen], solids.half[chosen], strict=True
    ):
        a = (points - torch.as_tensor(center)) @ torch.as_tensor(turn) / torch.as_tensor(half)
        b = (light - torch.as_tensor(center)) @ torch.as_tensor(turn) / torch.as_tensor(half)
        way = a[None] + steps[:, None, None] * (b - a)[None]
        level = way.abs().amax(-1) if kind == BOX else way.norm(dim=-1)
        blocked |= (level < 0.99).any(0)
    lit = light_reaches.flatten() > 0.5
    facing = (hits.normals.reshape(-1, 3) * (light - points)).sum(1) > 1e-3  # elsewhere the question does not arise
    lit, blocked = lit[facing], blocked[facing]
    assert 0.05 < lit.float().mean() < 0.999
    assert (blocked & lit).float().mean() < 0.002  # the march may step over nothing that the rays see
    assert (~blocked & ~lit).float().mean() < 0.05  # thin solids between two steps, other kinds of solids


@pytest.mark.parametrize("kind", [BOX, ELLIPSOID, CYLINDER, POLYTOPE])
def test_normals_are_perpendicular_to_the_surface(kind):
    """Against the tangents spanned by the hits of two slightly turned rays."""
    half = torch.tensor([0.4, 0.4, 0.8]) if kind == CYLINDER else HALF
    planes = torch.cat([torch.cat([torch.eye(3), -torch.eye(3)]), torch.cat([half, half])[:, None]], 1)
    planes[0] = torch.tensor([0.8, 0.6, 0.0, 0.4])  # a slanted cut
    table = one_table(kind, ROTATION, half, planes)
    directions = torch.nn.functional.normalize(fan(), dim=-1)
    step = 2e-3 * torch.tensor([[1.0, 0.3, 0.0], [-0.2, 1.0, 0.1]])
    points, hits = [], []
    for turned in (directions, directions + step[0], directions + step[1]):
        distance, hit = shoot(table, turned)
        points.append(ORIGIN + distance[:, None] * turned)
        hits.append(hit)
    chosen = hits[0] & hits[1] & hits[2]
    frames = (torch.tensor([kind]), CENTER[None], ROTATION[None], half[None], planes[None])
    index, surface = torch.zeros(int(chosen.sum()), dtype=torch.int64), torch.full((int(chosen.sum()),), SHELL_FACES)
    normal, local, _ = hit_geometry(frames, index, surface, points[0][chosen], directions[chosen])
    assert torch.allclose(local, (points[0][chosen] - CENTER) @ ROTATION, atol=1e-5)
    assert ((normal * directions[chosen]).sum(-1) <= 0).all()
    tangent = torch.linalg.cross(points[1][chosen] - points[0][chosen], points[2][chosen] - points[0][chosen])
    agreement = (torch.nn.functional.normalize(tangent, dim=-1) * normal).sum(-1).abs()
    assert (agreement > 0.995).float().mean() > 0.93  # the rest straddle an edge or graze the outline
    assert agreement.median() > 0.9999


def of_part(part):
    """The tables of a single solid at CENTER."""
    numbers = [torch.as_tensor(v, dtype=torch.float32) for v in (part.half, part.planes)]
    return one_table(part.kind, ROTATION, *numbers)


def geometry(part, directions, distance, hit):
    """Normals and local points of hits, and the directions in the solid's frame, in float64."""
    half, planes = (torch.as_tensor(v, dtype=torch.float32)[None] for v in (part.half, part.planes))
    frames = (torch.tensor([part.kind]), CENTER[None], ROTATION[None], half, planes)
    count = int(hit.sum())
    points = ORIGIN + distance[hit, None] * directions[hit]
    index, surface = torch.zeros(count, dtype=torch.int64), torch.full((count,), SHELL_FACES)
    normal, local, uv = hit_geometry(frames, index, surface, points, directions[hit])
    return (normal @ ROTATION).double(), local.double(), uv


def first_inside(inside, directions, far: float = 4.0, steps: int = 4000):
    """Entry into a solid by brute force in float64: dense samples, then bisection. Infinite where there is none."""
    start, turn = (ORIGIN - CENTER).double() @ ROTATION.double(), directions.double() @ ROTATION.double()
    t = torch.linspace(0.0, far, steps, dtype=torch.float64)
    within = torch.stack([inside(start + s * turn) for s in t])
    found, first = within.any(0), within.float().argmax(0)
    low, high = t[(first - 1).clamp_min(0)], t[first]
    for _ in range(45):
        middle = 0.5 * (low + high)
        there = inside(start + middle[:, None] * turn)
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return torch.where(found, high, torch.inf)


@pytest.mark.parametrize(("bottom", "top"), [(0.5, 0.2), (0.1, 0.6), (0.45, 0.0), (0.0, 0.9), (0.4, 0.4)])
def test_cone_is_entered_where_brute_force_says(bottom, top):
    part = cone(CENTER.numpy(), bottom, top, 0.4, 0)
    directions = fan(1024)
    distance, hit = shoot(of_part(part), directions)
    widen, radius = (top - bottom) / 0.8, 0.5 * (top + bottom)
    exact = first_inside(
        lambda p: (p[:, :2].norm(dim=1) <= radius + widen * p[:, 2]) & (p[:, 2].abs() <= 0.4), directions
    )
    assert 0.05 < hit.float().mean() < 0.9
    assert (hit != exact.isfinite()).sum() <= 4  # cuts across an edge, shorter than a step
    both = hit & exact.isfinite()
    error = (distance[both].double() - exact[both]).abs()
    assert error.median() < 1e-6
    assert (error < 2e-5).float().mean() > 0.99  # the rest graze the outline
    normal, local, _ = geometry(part, directions, distance, hit)
    side = local[:, 2].abs() < 0.4 - 1e-4
    slope = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64) * local
    slope = torch.nn.functional.normalize(slope, dim=1) - widen * torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(normal[side], torch.nn.functional.normalize(slope, dim=1)[side], atol=1e-4)
    ends = ~side & (local[:, :2].norm(dim=1) < radius + widen * local[:, 2] - 1e-3)
    assert torch.allclose(normal[ends, 2].abs(), torch.ones(int(ends.sum()), dtype=torch.float64))


def test_cones_tip_is_not_hit_by_the_other_nappe():
    part = cone(CENTER.numpy(), 0.5, 0.0, 0.4, 0)
    tables = one_table(CONE, torch.eye(3), *(torch.as_tensor(v, dtype=torch.float32) for v in (part.half, part.planes)))
    along = torch.tensor([[0.0, 0.0, 1.0]]).repeat(64, 1)
    along[:32, 0] = (CENTER[0] - ORIGIN[0]) / (CENTER[2] - ORIGIN[2])
    along[:32, 1] = (CENTER[1] - ORIGIN[1]) / (CENTER[2] - ORIGIN[2])
    distance, hit = shoot(tables, along)
    assert hit[:32].all()
    assert (distance[:32] < CENTER[2] - ORIGIN[2]).all()  # the wide end comes first, at z - 0.4
    assert torch.allclose(distance[:32], (CENTER[2] - ORIGIN[2] - 0.4).expand(32))


WAVES = np.array([[3.0, 1.0, 0.3, 0.12], [-2.0, 5.0, 1.0, 0.05], [9.0, -7.0, 2.0, 0.02]])


def ground(p):
    """Height of WAVES and its slope, in float64."""
    k = torch.as_tensor(WAVES)
    angle = p[:, 0:1] * k[:, 0] + p[:, 1:2] * k[:, 1] + k[:, 2]
    swing = k[:, 3] * angle.cos()
    return (k[:, 3] * angle.sin()).sum(1), (swing * k[:, 0]).sum(1), (swing * k[:, 1]).sum(1)


def test_height_field_is_entered_where_brute_force_says():
    part = height_field(CENTER.numpy(), (0.9, 0.7), WAVES, 0)
    half = torch.as_tensor(part.half)
    directions = fan(1024)
    distance, hit = shoot(of_part(part), directions)
    exact = first_inside(lambda p: (p.abs() <= half).all(1) & (p[:, 2] <= ground(p)[0]), directions)
    assert 0.1 < hit.float().mean() < 0.9
    assert (hit != exact.isfinite()).sum() <= 4
    both = hit & exact.isfinite()
    error = (distance[both].double() - exact[both]).abs()
    assert error.median() < 1e-6
    assert (error < 3e-5).float().mean() > 0.985
    normal, local, uv = geometry(part, directions, distance, hit)
    height, along_x, along_y = ground(local)
    top = (local[:, 2] - height).abs() < 1e-5
    walls = ((local.abs() - half).abs() < 1e-5).any(1)
    assert (top | walls).all()
    assert top.sum() > 50
    assert walls.sum() > 20
    slope = torch.nn.functional.normalize(torch.stack([-along_x, -along_y, torch.ones_like(height)], 1), dim=1)
    upper = top & ~walls
    assert ((normal[upper] * slope[upper]).sum(1).abs() > 1 - 1e-6).all()
    assert torch.allclose(uv[upper].double(), local[upper, :2])  # patterns lie flat, without seams
    assert torch.allclose(
        normal[walls & ~top].abs().amax(1), torch.ones(int((walls & ~top).sum()), dtype=torch.float64)
    )


def test_rolling_ground_has_no_holes_up_to_the_horizon():
    """From inside the bound, at grazing angles: what brute force meets is met, and nothing before it."""
    waves = np.array([[0.3, 0.1, 0.0, 0.5], [-0.9, 0.6, 1.0, 0.12], [3.1, 2.0, 2.0, 0.02]])
    part = height_field(np.zeros(3), (80.0, 80.0), waves, 0)
    eye = torch.tensor([0.0, 0.0, 0.9])
    angle = torch.linspace(-0.5, 0.5, 64)
    down = torch.linspace(-0.08, 0.04, 32)
    rays = torch.stack([angle.cos() * torch.ones(32, 1), angle.sin() * torch.ones(32, 1), down[:, None].expand(-1, 64)])
    table = casting.KindTable(
        torch.zeros(1, 1, 3), torch.eye(3).view(1, 1, 3, 3), torch.as_tensor(part.half).float().view(1, 1, 3),
        torch.as_tensor(part.planes).float().view(1, 1, -1, 4), torch.ones(1, 1, dtype=torch.bool),
        torch.full((1, 1), SHELL_FACES, dtype=torch.int32),
    )  # fmt: skip
    room = torch.full((1, 3), 200.0)
    tables = casting.SceneTables(-room, room, torch.ones(1, dtype=torch.bool), {HEIGHT_FIELD: table})
    distance, _ = casting.cast(tables, casting.Packets(eye.expand(32, 3), tuple(r.contiguous() for r in rays), 1))
    t = torch.linspace(0.0, 78.0, 20000, dtype=torch.float64)[1:]
    k = torch.as_tensor(waves)
    for row in range(32):
        d = rays[:, row].double().T
        way = eye.double() + t[:, None, None] * d
        phase = way[..., 0:1] * k[:, 0] + way[..., 1:2] * k[:, 1] + k[:, 2]
        below = way[..., 2] <= (k[:, 3] * phase.sin()).sum(-1)
        first = torch.where(below.any(0), t[below.float().argmax(0)], torch.inf)
        found = torch.where(distance[row] < 78, distance[row], torch.inf).double()
        assert ((first - found).abs().nan_to_num(0.0) < 0.02).float().mean() > 0.96
        assert (found <= first + 0.01).float().mean() == 1.0  # nothing is skipped
