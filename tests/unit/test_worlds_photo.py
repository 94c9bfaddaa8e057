"""Photo effects: each one does to the light what its formula says."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError
from worldline.worlds.rendering import jpeg, optics, photo
from worldline.worlds.world import PhotoEffects, choose_rows

SIZE = 65
MATRIX = torch.tensor([[80.0, 0, 32], [0, 80.0, 32], [0, 0, 1]], dtype=torch.float64)[None]


class Shot:
    """What photograph() reads of a world."""

    def __init__(self, **effects: np.ndarray) -> None:
        self.photo = replace(PhotoEffects.none(1), **effects)


def flat(value: float = 0.2, size: int = SIZE) -> torch.Tensor:
    return torch.full((1, size, size, 3), value)


def edge() -> torch.Tensor:
    light = flat(0.1)
    light[:, :, SIZE // 2 + 1 :] = 0.9
    return light


def spread(row: torch.Tensor) -> float:
    """Variance of the line spread function of an edge, in pixels squared."""
    change = row.diff().double()
    x = torch.arange(len(change)).double()
    share = change / change.sum()
    return float((share * x * x).sum() - (share * x).sum() ** 2)


def linear(image: torch.Tensor) -> torch.Tensor:
    return (image.double() / 255) ** 2.2


@pytest.mark.parametrize("diameter", [1.5, 3.0, 6.0, 12.0])
def test_defocus_spreads_an_edge_like_a_disc(diameter):
    widths = []
    for place in range(24, 40):  # the pyramid has a phase: its blur is exact on average
        light = flat(0.1)
        light[:, :, place:] = 0.9
        blurred = optics.defocus(light, torch.full((1, SIZE, SIZE), diameter))[0, 32, :, 0]
        widths.append(spread(blurred))
        change = blurred.diff()
        assert float((change * torch.arange(SIZE - 1)).sum() / change.sum()) == pytest.approx(place - 1, abs=0.01)
    assert np.mean(widths) == pytest.approx(diameter**2 / 16, rel=0.04)
    assert np.ptp(widths) < 0.5 * np.mean(widths)


def test_circles_follow_the_thin_lens():
    depth = torch.tensor([[[1.0, 2.0], [4.0, 0.0]]])
    lens = (torch.tensor([80.0]), torch.tensor([0.02]), torch.tensor([[0.9, 0.1]]))
    circle = optics.circles_of_confusion(depth, *lens, torch.zeros(1))
    assert torch.allclose(circle, 80 * 0.02 * torch.tensor([[[0.5, 0.0], [0.25, 0.5]]]))  # in focus at 2 m; sky last
    missed = optics.circles_of_confusion(depth, *lens, torch.tensor([0.25]))
    assert float(missed[0, 0, 1]) == pytest.approx(80 * 0.02 * 0.25)


def test_what_is_in_focus_stays_sharp_and_keeps_its_outline():
    light, depth = edge(), torch.full((1, SIZE, SIZE), 2.0)
    depth[:, :, SIZE // 2 + 1 :] = 0.0  # the bright half is sky
    shot = {"aperture": np.array([0.1]), "focus_at": np.array([[0.2, 0.5]])}
    sharp = photo.photograph(light, depth, MATRIX, Shot())
    taken = photo.photograph(light, depth, MATRIX, Shot(**shot))
    assert torch.equal(taken[:, :, : SIZE // 2], sharp[:, :, : SIZE // 2])
    assert (taken.int() - sharp.int()).abs().max() < 12  # little of the sharp half leaks into the blurred sky
    assert torch.equal(photo.photograph(light, depth * 0 + 2, MATRIX, Shot(**shot)), sharp)


def test_trails_are_the_motion_of_projected_points():
    turn, move = torch.tensor([[0.004, -0.006, 0.01]]), torch.tensor([[0.004, 0.003, -0.006]])
    depth = torch.linspace(0.5, 3.0, SIZE * SIZE).view(1, SIZE, SIZE)
    found = optics.trails(depth, MATRIX, turn, move)[0].double()
    y, x = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(MATRIX[0]).T * depth[0, ..., None]
    skew = torch.tensor([[0, -turn[0, 2], turn[0, 1]], [turn[0, 2], 0, -turn[0, 0]], [-turn[0, 1], turn[0, 0], 0]])
    first_from_second = torch.linalg.matrix_exp(skew.double())
    moved = (points - move[0].double()) @ first_from_second  # second_from_first is the transpose
    pixel = moved @ MATRIX[0].T
    expected = pixel[..., :2] / pixel[..., 2:] - torch.stack([x, y], -1)
    assert expected.abs().max() > 0.7
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()


def test_shake_spreads_an_edge_by_its_length_and_not_across_it():
    trail = torch.zeros(1, SIZE, SIZE, 2)
    trail[..., 0] = 6.0
    assert spread(optics.shake(edge(), trail)[0, 32, :, 0]) == pytest.approx(36 / 12, rel=0.08)
    assert torch.allclose(optics.shake(edge(), trail.flip(-1)), edge(), atol=1e-5)
    assert optics.shake(edge(), 0.02 * trail).equal(edge())
    middle = optics.shake(edge(), trail)[0, 32, :, 0]
    crossing = float((middle < 0.5).sum())
    assert abs(crossing - float((edge()[0, 32, :, 0] < 0.5).sum())) <= 1  # the middle of the exposure is the pinhole's


def natural(height: int, width: int) -> torch.Tensor:
    """A photo-like picture: a world, in colour."""
    return worlds.sample("rooms", 3, views=2, height=height, width=width, effects=0.0).images


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 75)])
@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_is_what_a_file_would_be(height, width, quality):
    images = natural(height, width)
    ours = jpeg.compress(images, np.full(2, quality)).numpy().astype(int)
    for view in range(2):
        memory = io.BytesIO()
        Image.fromarray(images[view].numpy()).save(memory, "JPEG", quality=quality, subsampling="4:2:0")
        theirs = np.asarray(Image.open(memory)).astype(int)
        assert np.abs(ours[view] - theirs).mean() < 1.1  # coefficients that are rounded the other way
        assert (np.abs(ours[view] - theirs) <= 6).mean() > 0.95


def test_jpeg_of_several_qualities_is_each_on_its_own():
    images = natural(32, 48)
    both = jpeg.compress(images, np.array([30, 90]))
    assert torch.equal(both[1:], jpeg.compress(images[1:], np.array([90])))
    error = (both.int() - images.int()).abs().float().mean((1, 2, 3))
    assert error[0] > 1.5 * error[1] > 0


def test_noise_has_the_variance_of_shots_and_reading():
    effects = replace(PhotoEffects.none(2), seed=np.array([5, 6]))
    light = torch.cat([flat(0.1, 200), flat(0.4, 200)])
    noisy = photo.add_noise(light, replace(effects, read_noise=np.full(2, 0.01), shot_noise=np.full(2, 0.001)))
    variance = (noisy - light).double().pow(2).mean((1, 2, 3))
    assert variance[0] == pytest.approx(1e-4 + 1e-4, rel=0.04)
    assert variance[1] == pytest.approx(1e-4 + 4e-4, rel=0.04)
    assert (noisy - light).mean().abs() < 5e-4
    grey = (noisy - light).double().mean(-1).var()
    assert grey < 0.8 * (noisy - light).double().var()  # the rest is colour
    assert photo.add_noise(light, effects).equal(light)


def test_exposure_white_balance_and_vignetting_scale_linear_light():
    light, depth = flat(), torch.full((1, SIZE, SIZE), 2.0)
    plain = linear(photo.photograph(light, depth, MATRIX, Shot()))
    doubled = linear(photo.photograph(light, depth, MATRIX, Shot(exposure=np.array([1.0]))))
    assert float((doubled / plain).mean()) == pytest.approx(2.0, rel=0.02)
    gains = np.array([[1.5, 1.0, 0.6]])
    tinted = linear(photo.photograph(light, depth, MATRIX, Shot(white_balance=gains)))
    assert np.allclose((tinted / plain).mean((0, 1, 2)).numpy(), gains[0], rtol=0.02)
    dark = linear(photo.photograph(light, depth, MATRIX, Shot(vignetting=np.array([0.4])))) / plain
    assert float(dark[0, 32, 32, 0]) == pytest.approx(1.0, abs=0.01)
    assert float(dark[0, 0, 0, 0]) == pytest.approx(0.6, rel=0.03)
    assert float(dark[0, 0, 32, 0]) == pytest.approx(0.8, rel=0.03)


def test_tone_saturation_and_sharpening():
    curve = photo.tone_curve(torch.linspace(0, 20, 4001))
    assert (curve.diff() >= 0).all()
    assert curve[0] == 0
    assert 0.99 < curve[-1] <= 1
    assert curve.diff().max() < 0.2
    light, depth = edge() * torch.tensor([1.0, 0.6, 0.3]), torch.full((1, SIZE, SIZE), 2.0)
    grey = photo.photograph(light, depth, MATRIX, Shot(saturation=np.zeros(1)))
    assert (grey.int() - grey[..., :1].int()).abs().max() <= 1
    shown = photo.tone_curve(edge())
    crisp = photo.sharpen(shown, torch.tensor(0.8))
    assert torch.allclose(crisp[:, :, :30], shown[:, :, :30], atol=1e-6)
    assert crisp[0, 32, 32, 0] < shown[0, 32, 32, 0]
    assert crisp[0, 32, 33, 0] > shown[0, 32, 33, 0]
    low, high = (
        photo.photograph(edge(), depth, MATRIX, Shot(contrast=np.array([c]))).float().std() for c in (-0.7, 0.7)
    )
    assert low < high


def test_metering_goes_from_the_first_view_to_each_its_own():
    light = torch.cat([flat(0.1), flat(0.4)])
    locked = photo.meter(light, np.zeros(2)).flatten()
    assert locked[0] == locked[1]
    own = photo.meter(light, np.ones(2)).flatten()
    assert float(own[0] / own[1]) == pytest.approx(4.0)
    half = photo.meter(light, np.full(2, 0.5)).flatten()
    assert float(half[0] / half[1]) == pytest.approx(2.0)


def test_effects_of_a_longer_set_begin_like_those_of_a_shorter_one():
    for seed in range(6):
        short = photo.draw_effects(np.random.default_rng(seed), 3, steady=bool(seed % 2))
        long = photo.draw_effects(np.random.default_rng(seed), 200, steady=bool(seed % 2))
        for name, value in ((f.name, getattr(short, f.name)) for f in fields(short)):
            assert np.array_equal(value, getattr(choose_rows(long, np.arange(3)), name)), name


def test_effects_stay_in_range_and_differ_between_sets():
    sets = [photo.draw_effects(np.random.default_rng(seed), 4) for seed in range(200)]
    quality = np.concatenate([s.jpeg for s in sets])
    assert ((quality == 0) | ((quality >= 30) & (quality <= 98))).all()
    assert 0.15 < (quality == 0).mean() < 0.4
    assert all(((s.white_balance >= 0.5) & (s.white_balance <= 2)).all() for s in sets)
    strength = np.array([s.read_noise[0] for s in sets])
    assert (strength < 0.0005).mean() > 0.1  # ideal ones
    assert (strength > 0.002).mean() > 0.1  # hard ones
    blurred = np.array([s.aperture[0] for s in sets])
    assert 0.3 < (blurred > 0).mean() < 0.6
    steady = [photo.draw_effects(np.random.default_rng(seed), 4, steady=True) for seed in range(50)]
    assert np.mean([s.exposure.std() for s in steady]) < 0.5 * np.mean([s.exposure.std() for s in sets[:50]])


def test_effects_scale_down_to_ideal_photos():
    drawn = photo.draw_effects(np.random.default_rng(4), 5)
    none = PhotoEffects.none(5)
    for name in (f.name for f in fields(none)):
        assert np.array_equal(getattr(photo.scale_effects(drawn, 0.0), name), getattr(none, name)), name
        assert np.array_equal(getattr(photo.scale_effects(drawn, 1.0), name), getattr(drawn, name)), name
    half = photo.scale_effects(drawn, 0.5)
    assert np.allclose(half.exposure, 0.5 * drawn.exposure)
    assert np.allclose(half.white_balance**2, drawn.white_balance)
    fixed = photo.draw_effects(np.random.default_rng(4), 5, light_change=0.0)
    assert np.ptp(fixed.exposure) == 0
    assert not fixed.metering.any()
    stops = photo.draw_effects(np.random.default_rng(4), 400, light_change=1.5).exposure
    assert stops.std() == pytest.approx(1.5, rel=0.15)


@pytest.mark.slow
def test_photos_depend_neither_on_the_batch_nor_on_later_views():
    seeds = [worlds.TEST_SEEDS[0] + i for i in range(3)]
    batch = worlds.sample_batch("rooms", seeds, views=3, height=40, width=48, effects=2.0)
    for one in batch:
        alone = worlds.sample("rooms", one.seed, views=3, height=40, width=48, effects=2.0)
        assert (alone.images.int() - one.images.int()).abs().float().mean() < 0.1
        longer = worlds.sample("rooms", one.seed, views=5, height=40, width=48, effects=2.0)
        assert (longer.images[:3].int() - alone.images.int()).abs().float().mean() < 0.1
        assert torch.equal(longer.depth[:3], alone.depth)


def test_all_views_together_are_each_on_its_own():
    """A GPU develops all photos at once and a CPU one by one."""
    sample = worlds.sample("rooms", 8, views=3, height=40, width=48, effects=2.0)
    effects = replace(
        sample.world.photo, aperture=np.array([0.03, 0.0, 0.02]), jpeg=np.array([50, 0, 80]),
        shake_turn=np.full((3, 3), 0.01) * np.array([[1], [2], [0]]),
    )  # fmt: skip
    light = sample.images.float() / 255
    together = photo._develop(light, sample.depth, sample.intrinsics, effects)
    for view in range(3):
        one = slice(view, view + 1)
        alone = photo._develop(
            light[one], sample.depth[one], sample.intrinsics[one], choose_rows(effects, np.array([view]))
        )
        assert (alone.int() - together[one].int()).abs().float().mean() < 0.05


def test_blur_is_the_same_at_every_resolution():
    coarse = worlds.describe("rooms", 8, views=1, effects=0.0)
    hard = replace(coarse.photo, aperture=np.array([0.04]), shake_turn=np.array([[0.0, 0.02, 0.0]]))
    blurred = replace(coarse, photo=hard)
    small, large = (worlds.render([blurred], height=h, width=h)[0].images for h in (48, 144))
    reduced = torch.nn.functional.avg_pool2d(large.permute(0, 3, 1, 2).float(), 3).permute(0, 2, 3, 1)
    assert (reduced - small.float()).abs().mean() < 6


def test_ideal_photos_are_asked_for_by_an_option():
    world = worlds.describe("rooms", 11, views=2, effects=0.0)
    assert not world.photo.jpeg.any()
    assert not world.photo.read_noise.any()
    with pytest.raises(InputError):
        worlds.describe("rooms", 11, views=2, effects=3.0)
