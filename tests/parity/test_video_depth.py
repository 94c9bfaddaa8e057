"""Video depth: figures equal those of the published evaluation, exact minimisers are minima."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from worldline.eval.video import depth_alignment
from worldline.eval.video.depth_scores import DepthRules, score_depth

DATA = Path(__file__).parent / "data" / "video" / "metrics_depth"
CASES = sorted(DATA.glob("*.npz"))
PUBLISHED = {"scale": 2e-3, "scale_shift": 1e-5, "lstsq": 1e-5, "median": 1e-5}  # relative tolerances


def rules_of(case: dict[str, np.ndarray]) -> DepthRules:
    limit = float(case["opt_max_depth"])
    clip = float(case["opt_post_clip_max"]) if "opt_post_clip_max" in case else None
    return DepthRules(farthest=None if np.isnan(limit) else limit, clip=(None, clip))


def pixels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    case = dict(np.load(path))
    valid = rules_of(case).valid(case["in_gt"])
    return case["in_pred"][valid].astype(float), case["in_gt"][valid].astype(float)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("method", PUBLISHED)
def test_published_figures(path: Path, method: str) -> None:
    case = dict(np.load(path))
    found = score_depth(case["in_pred"], case["in_gt"], rules_of(case), [method])[method]
    for name in ("abs_rel", "sq_rel", "rmse", "log_rmse", "d1", "d2", "d3", "valid_pixels"):
        expected = float(case[f"out_{method}_{name}"])
        assert getattr(found, name) == pytest.approx(expected, rel=PUBLISHED[method]), name


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_exact_scale_and_shift_is_the_minimum(path: Path) -> None:
    """Against a linear program: minimise the sum of e with -e <= s p + t - g <= e."""
    p, g = (values[::5] for values in pixels(path))
    columns, count = np.column_stack([p, np.ones_like(p)]), len(p)
    above = np.block([[columns, -np.eye(count)], [-columns, -np.eye(count)]])
    free = [(None, None)] * 2 + [(0, None)] * count
    best = linprog(np.r_[0, 0, np.ones(count)], above, np.r_[g, -g], bounds=free, method="highs").fun
    found = depth_alignment.scale_shift_exact(p, g)
    assert np.abs(found.scale * p + found.shift - g).sum() == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_exact_scale_is_the_minimum(path: Path) -> None:
    p, g = pixels(path)

    def loss(s: float) -> float:
        return float(np.abs(s * p - g).sum())

    best = depth_alignment.scale_exact(p, g).scale
    assert loss(best) <= min(loss(ratio) for ratio in (g / p)) + 1e-9  # the minimum is at one of the corners
    assert depth_alignment.scale(p, g).scale == pytest.approx(best, rel=0.02)
    assert loss(best) <= loss(depth_alignment.scale(p, g).scale)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_published_shift_in_blocks_equals_all_pixels_in_every_step(path: Path) -> None:
    p, g = pixels(path)
    value = np.array([np.sort(g)[(len(g) - 1) // 2] / np.sort(p)[(len(p) - 1) // 2], 0.0])
    first, second = np.zeros(2), np.zeros(2)
    for step in range(1, 1001):
        sign = np.sign(value[0] * p + value[1] - g)
        gradient = np.array([(sign * p).mean(), sign.mean()])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        value -= 1e-4 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    assert depth_alignment.scale_shift(p, g) == pytest.approx(tuple(value), rel=1e-9)
