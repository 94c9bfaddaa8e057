"""Cutting a long video and joining its windows: the published rule's numbers, known similarities, honest failures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from exact_video import ExactVideo
from moving_world import moving_world
from video_parts import Part
from worldline.errors import InputError
from worldline.geometry import Similarity
from worldline.scene.video.windows import (
    Seam,
    Window,
    WindowOptions,
    fit_seam,
    hand_over,
    join,
    owners,
    place,
    plan_windows,
)

VECTORS = Path(__file__).parents[1] / "parity" / "data" / "opend4rt_windows.safetensors"
PLAIN = WindowOptions(robust=False)


@pytest.mark.parametrize("case", ["0", "1"])
def test_the_published_rule_gives_the_published_similarity(case: str) -> None:
    data = {key[7:]: value for key, value in load_file(VECTORS).items() if key.startswith(f"sim3/{case}.")}
    confidence = np.minimum(data["prev_confidence"], data["curr_confidence"])
    valid = (data["prev_visible"] & data["curr_visible"]).astype(bool)
    seam = fit_seam(data["prev"], data["curr"], confidence, PLAIN, valid=valid)
    fit = seam.previous_from_current
    np.testing.assert_allclose(float(fit.scale), data["scale"][0], rtol=1e-10)
    np.testing.assert_allclose(fit.rotation, data["rotation"], atol=1e-10)
    np.testing.assert_allclose(fit.translation, data["translation"], atol=1e-10)
    assert seam.failure is None and seam.used == int(np.ceil(0.85 * seam.offered))


@pytest.mark.parametrize(
    ("frames", "window", "overlap", "expected"),
    [  # the index lists of the public re-implementation
        (64, 48, None, [(0, 48), (16, 64)]),
        (64, 32, None, [(0, 32), (16, 48), (32, 64)]),
        (100, 48, None, [(0, 48), (24, 72), (48, 96), (52, 100)]),
        (48, 48, None, [(0, 48)]),
        (97, 32, 8, [(0, 32), (24, 56), (48, 80), (65, 97)]),
        (33, 32, None, [(0, 32), (1, 33)]),
    ],
)
def test_windows_are_those_of_the_published_rule(
    frames: int, window: int, overlap: int | None, expected: list[tuple[int, int]]
) -> None:
    assert plan_windows(frames, window, overlap) == tuple(Window(*each) for each in expected)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(2, 60), st.integers(1, 59))
def test_windows_cover_every_frame_and_overlap_enough(frames: int, window: int, overlap: int) -> None:
    if frames > window and overlap >= window:
        with pytest.raises(InputError, match="cannot share"):
            plan_windows(frames, window, overlap)
        return
    windows = plan_windows(frames, window, overlap)
    assert windows[0].start == 0 and windows[-1].stop == frames
    for before, after in pairwise(windows):
        assert before.start < after.start <= before.stop - overlap and len(before) == len(after) == window
    answering = owners(windows)
    assert (np.diff(answering) >= 0).all() and all(frame in windows[row] for frame, row in enumerate(answering))


def random_similarity(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    return Similarity(
        torch.tensor(np.exp(rng.normal())), torch.from_numpy(rotation), torch.from_numpy(3 * rng.normal(size=3))
    )


def assert_same(found: Similarity, expected: Similarity, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_known_similarity_is_found_when_the_worst_admit_it(seed: int, robust: bool) -> None:
    rng, truth = np.random.default_rng(seed), random_similarity(seed)
    current = rng.normal(size=(10, 20, 3)) * (3, 2, 1)
    previous = truth.apply(torch.from_numpy(current)).numpy()
    confidence = rng.uniform(0.5, 1, (10, 20))
    wrong = np.argsort(confidence.ravel())[:28]  # 14 %: all of them are left out
    previous.reshape(-1, 3)[wrong] += rng.normal(size=(28, 3)) * 20
    seam = fit_seam(previous, current, confidence, WindowOptions(robust=robust))
    assert_same(seam.previous_from_current, truth)
    assert seam.error < 1e-6 and (seam.used, seam.offered) == (170, 200)


def test_confident_mistakes_are_weighed_down_or_show_in_the_plain_rule() -> None:
    rng, truth = np.random.default_rng(1), random_similarity(3)
    current = rng.normal((0, 0, 4), size=(400, 3))
    previous = truth.apply(torch.from_numpy(current)).numpy()
    previous[:100] += rng.normal(size=(100, 3)) * 3
    robust = fit_seam(previous, current, np.ones(400))
    plain = fit_seam(previous, current, np.ones(400), PLAIN)
    assert_same(robust.previous_from_current, truth, 0.02)
    assert plain.error > 5 * robust.error


def test_noise_does_not_shrink_the_scale_seam_by_seam() -> None:
    """Least squares takes one side to be exact: its scales are too small by the noise's share of the variance."""
    plain, robust = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = rng.normal((0, 0, 4), (1, 1, 0.7), size=(2000, 3))
        noisy = [points + 0.15 * rng.normal(size=points.shape) for _ in range(2)]
        for kept, options in ((plain, PLAIN), (robust, WindowOptions())):
            kept.append(np.log(float(fit_seam(*noisy, np.ones(2000), options).previous_from_current.scale)))
    assert np.sum(plain) < -0.4  # after 20 seams a third of the size is gone
    assert abs(np.sum(robust)) < 0.06


def test_invalid_points_are_not_used() -> None:
    rng, truth = np.random.default_rng(2), random_similarity(4)
    current = rng.normal(size=(60, 3))
    previous = truth.apply(torch.from_numpy(current)).numpy()
    previous[:5], current[5:9] = np.nan, np.inf
    previous[9:20] = 0.0
    seam = fit_seam(previous, current, np.ones(60), valid=np.arange(60) >= 20)
    assert seam.offered == 40
    assert_same(seam.previous_from_current, truth)


def test_what_cannot_be_joined_is_said_to_be_apart() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    line = rng.normal(size=(50, 1)) * (1, 2, 3)
    few = fit_seam(points[:15], points[:15], np.ones(15))
    assert few.failure is not None and "only 15 points" in few.failure
    for previous, current, whose in ((line, points, "earlier"), (points, line, "later"), (points, 0 * points, "later")):
        seam = fit_seam(previous, current, np.ones(50))
        assert seam.failure is not None and whose in seam.failure and not np.isfinite(seam.error)
        assert "falls apart before frame 12" in (seam.sentence(1, 12) or "")
    assert "units differ" in (fit_seam(1e-6 * points, points, np.ones(50)).failure or "")
    flat = points * (1, 1, 0)  # a plane leaves nothing open
    assert fit_seam(flat, flat, np.ones(50)).failure is None


def test_placements_are_chained_and_start_anew_after_a_failure() -> None:
    first, second = random_similarity(1), random_similarity(2)
    good = [Seam(each, 0.0, 20, 20) for each in (first, second)]
    broken = Seam(Similarity.identity(), np.inf, 0, 0, "no points")
    placed = place([*good, broken, good[0]])
    assert [piece for _, piece in placed] == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(placed[2][0].matrix, first.matrix @ second.matrix, atol=1e-12)
    np.testing.assert_allclose(placed[3][0].matrix, np.eye(4))
    np.testing.assert_allclose(placed[4][0].matrix, first.matrix)


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 1e-5), (0.02, 0.02)])
def test_windows_of_a_known_video_are_joined_as_their_cameras_and_units_are(noise: float, tolerance: float) -> None:
    world = moving_world()
    video = ExactVideo(world, 24, 32, noise=noise)
    windows = Window(0, 4), Window(2, 5)
    parts = Part(video, 0, 4, 0.5), Part(video, 2, 5, 3.0)
    seam = join(*parts, windows, WindowOptions(grid=12))
    poses = world.cameras.world_from_cam
    relative = np.linalg.inv(poses[0]) @ poses[2]
    fit = seam.previous_from_current
    assert float(fit.scale) == pytest.approx(0.5 / 3.0, rel=tolerance)
    np.testing.assert_allclose(fit.rotation, relative[:3, :3], atol=tolerance)
    np.testing.assert_allclose(fit.translation, 0.5 * relative[:3, 3], atol=2 * tolerance)
    assert (seam.error < 1e-6) if noise == 0 else (0.005 < seam.error < 0.06)


def test_a_track_is_handed_over_where_it_is_seen_best() -> None:
    visibility = np.array([[0.9, 0.9, 0.2], [0.1, 0.2, 0.3], [0.1, 0.6, 0.4]], np.float32)
    confidence = np.array([[0.2, 0.5, 0.9], [0.9, 0.9, 0.9], [0.9, 0.1, 0.9]], np.float32)
    frame, kept = hand_over(visibility, confidence)
    assert frame[kept].tolist() == [1, 1] and kept.tolist() == [True, False, True]


def test_senseless_options_are_refused() -> None:
    for wrong in ({"window": 1}, {"overlap": 0}, {"share": 0.0}, {"share": 1.1}, {"grid": 1}, {"least_points": 2}):
        with pytest.raises(InputError):
            WindowOptions(**wrong)  # type: ignore[arg-type]
