"""Patterns and materials: bounded, continuous, repeatable, and without aliasing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldline.errors import InputError
from worldline.worlds.appearance import noise, palettes, textures
from worldline.worlds.appearance.families import FAMILIES
from worldline.worlds.appearance.materials import material
from worldline.worlds.world import MATERIAL_WIDTH, Builder, material_slices

COLUMNS = material_slices()
KINDS = sorted(textures.PATTERNS)
NAMES = [textures.PATTERNS[kind].__name__ for kind in KINDS]


def row(contrast: float = 0.6, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = np.zeros(MATERIAL_WIDTH, np.float32)
    for name in ("color_a", "color_b", "color_c"):
        values[COLUMNS[name]] = rng.uniform(0.1, 0.8, 3)
    values[COLUMNS["scale"]] = 0.4
    values[COLUMNS["ratio"]] = 1.0
    values[COLUMNS["offset"]] = rng.uniform(0, 50, 3)
    values[COLUMNS["contrast"]] = contrast
    return torch.tensor(values)[None]


def look(kind: int, x: torch.Tensor, y: torch.Tensor, footprint: float, material_row: torch.Tensor) -> torch.Tensor:
    """Albedo of points of an upright plane, in metres."""
    x, y = x.flatten(), y.flatten()
    point = torch.stack([x, torch.full_like(x, 0.21), y], -1)
    rows = material_row.expand(len(x), -1)
    return textures.albedo(kind, point, torch.stack([x, y], -1), rows, torch.full_like(x, footprint))


def plane(size: int, extent: float) -> tuple[torch.Tensor, torch.Tensor]:
    line = (torch.arange(size) + 0.5) / size * extent
    return torch.meshgrid(line, line, indexing="xy")


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_albedo_is_bounded_repeatable_and_per_point(kind):
    x, y = plane(48, 3.0)
    wild = row(contrast=1.0, seed=3)
    for footprint in (0.001, 0.05, 2.0):
        color = look(kind, x - 1.4, y - 1.1, footprint, wild)
        assert color.shape == (48 * 48, 3)
        assert color.isfinite().all()
        assert (color >= 0.003).all()
        assert (color <= 0.95).all()
        assert torch.equal(color[7:9], look(kind, (x - 1.4).flatten()[7:9], (y - 1.1).flatten()[7:9], footprint, wild))
    assert look(kind, x, y, 0.002, wild).std() > 1e-3


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_patterns_go_to_their_mean_where_they_are_not_resolved(kind):
    """Far away a surface has the colour that its near view has on average."""
    x, y = plane(160, 24.0)
    calm = row(contrast=0.3, seed=5)
    near, far = look(kind, x, y, 0.015, calm), look(kind, x[:40, :40], y[:40, :40], 4.0, calm)
    assert (near.mean(0) - far.mean(0)).abs().max() < 0.2 * near.mean() + 0.02
    assert far.std(0).max() < 0.02 + 0.05 * far.mean()


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_coarse_view_is_the_average_of_a_fine_one(kind):
    """Perhaps softer than the average, where detail fades early, but without its aliases."""
    extent, factor = 1.6, 6
    x, y = plane(40 * factor, extent)
    calm = row(contrast=0.5, seed=2)
    fine = look(kind, x, y, extent / (40 * factor), calm).view(1, 40 * factor, 40 * factor, 3).permute(0, 3, 1, 2)
    average = torch.nn.functional.avg_pool2d(fine, factor)[0]
    coarse = look(kind, *plane(40, extent), extent / 40, calm).view(40, 40, 3).permute(2, 0, 1)
    sampled = fine[0, :, factor // 2 :: factor, factor // 2 :: factor]  # what one ray per pixel would see
    assert (coarse - average).abs().mean() < 0.07
    assert coarse.std() < 1.02 * sampled.std() + 0.002  # less contrast than aliasing would leave


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_patterns_are_continuous(kind):
    """Half the distance, about half the change: but for a handful of places where a cell begins."""
    x = torch.linspace(0.0, 2.0, 4001)
    material_row = row(contrast=0.5, seed=4)
    footprint = 0.02
    y = torch.full_like(x, 0.613)
    change = look(kind, x, y, footprint, material_row).diff(dim=0).abs().amax(1)
    assert (change > 0.08).double().mean() < 0.008
    assert change.median() < 0.02


def test_noise_is_smooth_uniform_enough_and_stable():
    p = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 60
    value = noise.noise(p)
    assert 0.45 < value.mean() < 0.55
    assert value.min() >= 0
    assert value.max() <= 1
    assert (noise.noise(p + 1e-3) - value).abs().max() < 0.01
    assert (noise.noise2(p[:, 0] + 1e-3, p[:, 1]) - noise.noise2(p[:, 0], p[:, 1])).abs().max() < 0.01
    first = noise.cell_randoms(torch.tensor([3.0]), torch.tensor([-70.0]))
    assert torch.equal(first, noise.cell_randoms(torch.tensor([3.0]), torch.tensor([-70.0])))
    cells = noise.cell_randoms(*(c.flatten() for c in plane(100, 100.0)))
    assert (cells.mean(0) - 0.5).abs().max() < 0.02
    for footprint in (torch.tensor([3.0]), torch.tensor([50.0])):
        assert noise.fbm(p[:1], 4, footprint) == 0
        assert noise.fbm2(p[:1, 0], p[:1, 1], 4, footprint) == 0


def test_voronoi_centres_are_nearest_and_borders_are_halfway():
    x, y = (c.flatten() for c in plane(200, 12.0))
    away, border, own = noise.voronoi(x, y)
    left, low = torch.meshgrid(torch.arange(-2.0, 15.0), torch.arange(-2.0, 15.0), indexing="ij")
    random = noise.cell_randoms(left.flatten(), low.flatten(), 5)
    centre = torch.stack([left.flatten() + 0.22 + 0.56 * random[:, 0], low.flatten() + 0.22 + 0.56 * random[:, 1]], -1)
    ordered = torch.cdist(torch.stack([x, y], -1), centre).sort(1)
    assert ((away - ordered.values[:, 0]).abs() < 1e-4).double().mean() > 0.99
    exact = 0.5 * (ordered.values[:, 1] - ordered.values[:, 0])
    near = exact < 0.08
    assert ((border - exact).abs()[near] < 1e-4).double().mean() > 0.99
    assert (own == random[ordered.indices[:, 0]]).all(1).double().mean() > 0.99


def test_coverage_of_a_line_is_its_share():
    x = torch.linspace(0, 1, 1001)
    for footprint in (0.001, 0.1, 0.4, 1.0, 5.0):
        covered = noise.line(x, 0.08, torch.full_like(x, footprint))
        assert float(covered.mean()) == pytest.approx(0.16, abs=0.01)
    assert noise.line(torch.tensor([0.0]), 0.08, torch.tensor([0.5])) == pytest.approx(0.32)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_materials_are_drawn_from_their_family(family):
    builder, rng = Builder(), np.random.default_rng(1)
    for _ in range(60):
        material(builder, rng, family)
    table = np.stack(builder.material_rows)
    assert set(builder.material_kind) <= {recipe.pattern for recipe in FAMILIES[family]}
    low, high = (f(f(r.scale) for r in FAMILIES[family]) for f in (min, max))
    scale = table[:, COLUMNS["scale"]]
    assert ((scale >= 0.999 * low) & (scale <= 1.001 * high)).all()
    for name in ("color_a", "color_b", "color_c", "contrast", "gloss"):
        assert ((table[:, COLUMNS[name]] >= 0) & (table[:, COLUMNS[name]] <= 1)).all(), name
    assert len(np.unique(table[:, COLUMNS["color_a"]], axis=0)) == 60


def test_a_material_takes_one_number_from_the_scene():
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    material(Builder(), one, "wall")
    material(Builder(), other, "foliage")
    assert one.random() == other.random()


def test_low_texture_surfaces_exist_and_vivid_ones_too():
    builder, rng = Builder(), np.random.default_rng(2)
    for _ in range(300):
        material(builder, rng, "wall")
    table, kinds = np.stack(builder.material_rows), np.array(builder.material_kind)
    quiet = (kinds == textures.PLAIN) & (table[:, COLUMNS["contrast"]][:, 0] < 0.12)
    assert 0.05 < quiet.mean() < 0.4
    x, y = plane(64, 1.0)
    for index in np.flatnonzero(quiet)[:5]:
        shown = look(textures.PLAIN, x, y, 0.005, torch.tensor(table[index : index + 1])) ** (1 / 2.2)
        assert 0 < (shown / shown.mean(0)).std() < 0.05
    color = table[:, COLUMNS["color_a"]] ** (1 / 2.2)
    chroma = color.max(1) - color.min(1)
    assert (chroma > 0.5).mean() > 0.01
    assert (chroma < 0.15).mean() > 0.3


def test_unknown_families_are_explained():
    with pytest.raises(InputError) as caught:
        material(Builder(), np.random.default_rng(0), "wll")
    assert "wall" in caught.value.remedy


def test_every_palette_and_pattern_is_used():
    recipes = [recipe for family in FAMILIES.values() for recipe in family]
    assert {recipe.pattern for recipe in recipes} == set(textures.PATTERNS)
    assert {recipe.palette for recipe in recipes} <= {None, *palettes.PALETTES}
    drawn = {recipe.palette for recipe in recipes} | {"vivid", "pastel", "dark", "contrast"}
    assert set(palettes.PALETTES) <= drawn
