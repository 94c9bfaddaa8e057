"""Measuring masks of motion: exact speeds agree with the truth of the worlds, and counts with the exact masks."""

from __future__ import annotations

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.eval.motion import MOVES, Count, mask_table, measure_masks, point_motion, smooth_noise
from worldline.scene.motion import MotionOptions
from worldline.worlds import VALIDATION_SEEDS, WorldSample, describe, render
from worldline.worlds.truth import flow

SEED = VALIDATION_SEEDS[1]


@pytest.mark.slow
def test_exact_speeds_agree_with_scene_flow() -> None:
    world = describe("street", SEED, views=12, shooting="rig", rate=12.0)
    sample = render([world], height=48, width=84)[0]
    for sensor in (0, 1):
        speed, seen = point_motion(sample, 6 + sensor, sensor)
        truth = flow(world, 1, 0, height=48, width=84, sensor=sensor)
        expected = 12.0 * np.linalg.norm(truth.scene_flow, axis=-1)
        np.testing.assert_allclose(speed[truth.valid], expected[truth.valid], atol=0.02, rtol=1e-3)
        assert (seen == (truth.valid & ~truth.occluded))[truth.valid].mean() > 0.95


def test_counts_are_those_of_the_exact_masks() -> None:
    pytest.importorskip("cv2")
    moving, images = 0, 0

    def look(sample: WorldSample, view: int, found: np.ndarray, exact: np.ndarray) -> None:
        nonlocal moving, images
        moving, images = moving + int((exact & sample.valid[view].numpy()).sum()), images + 1

    options = MotionOptions(refiner="none")
    reports = measure_masks(
        [SEED], rates=[12.0], geometry=["exact"], steps=2, height=48, width=84, options=options, look=look
    )
    (report,) = reports
    assert report.images == images == 6 and report.all.pixels == moving
    assert sum(count.pixels for count in report.speeds.values()) == moving
    assert report.seen_before.pixels + report.hidden_before.pixels == moving
    assert 0 <= report.false_positives < 0.05
    assert mask_table(reports).count("\n") == 2 and MOVES == 0.5


def test_small_parts() -> None:
    count = Count()
    yes, no = np.array([[True]]), np.array([[False]])
    for found, moving in ((yes, yes), (no, yes), (yes, no), (no, no)):
        count.add(found, moving, yes)
    assert (count.hit, count.missed, count.false) == (1, 1, 1)
    assert count.recall == 0.5 and count.iou == pytest.approx(1 / 3) and np.isnan(Count().iou)
    noise = smooth_noise(np.random.default_rng(0), (64, 96))
    assert noise.shape == (64, 96) and 0.5 < noise.std() < 1.5 and np.abs(np.diff(noise, axis=1)).max() < 0.5
    with pytest.raises(InputError, match="Unknown geometry"):
        measure_masks([SEED], geometry=["perfect"])
