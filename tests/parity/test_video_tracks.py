"""Track metrics equal the numbers of the published TAP-Vid and TAPVid-3D code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worldline.eval.video.tracks2d import Tracks2D, sample_queries, score_tracks_2d
from worldline.eval.video.tracks3d import Tracks3D, score_tracks_3d

DATA = Path(__file__).parent / "data" / "video"
CASES_3D = sorted((DATA / "metrics_tracks").glob("tapvid3d_*.npz"))
CASES_2D = [DATA / "metrics_tracks" / f"tapvid2d_{name}.npz" for name in ("first", "first_trackwise_batch", "strided")]


def check(scores: dict[str, np.ndarray], case: dict[str, np.ndarray]) -> None:
    for name, found in scores.items():
        expected = case[f"out_{name}"]
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert {f"out_{name}" for name in scores} == {key for key in case if key.startswith("out_")}


@pytest.mark.parametrize("path", CASES_3D, ids=lambda path: path.stem)
def test_tracks_in_camera_coordinates(path: Path) -> None:
    case = dict(np.load(path))
    scores = score_tracks_3d(
        Tracks3D(case["in_pred_tracks"], ~case["in_pred_occluded"]),
        Tracks3D(case["in_gt_tracks"], ~case["in_gt_occluded"]),
        case["in_intrinsics_params"],
        case["in_query_points"],
        order=str(case["opt_order"]),
        scaling=str(case["opt_scaling"]),
        per_track=bool(case["opt_get_trackwise_metrics"]),
        fixed_thresholds=bool(case["opt_use_fixed_metric_threshold"]),
        neighborhood=float(case["opt_local_neighborhood_thresh"]),
    )
    check(scores.named(), case)


@pytest.mark.parametrize("path", CASES_2D, ids=lambda path: path.stem)
def test_tracks_in_the_image(path: Path) -> None:
    case = dict(np.load(path))
    scores = score_tracks_2d(
        Tracks2D(case["in_pred_tracks"], ~case["in_pred_occluded"]),
        Tracks2D(case["in_gt_tracks"], ~case["in_gt_occluded"]),
        case["in_query_points"],
        str(case["opt_query_mode"]),
        per_track=bool(case["opt_get_trackwise_metrics"]),
    )
    check(scores.named(), case)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_sampling_of_queries(mode: str) -> None:
    case = np.load(DATA / "metrics_tracks" / "tapvid2d_query_sampling.npz")
    found = sample_queries(
        case["in_target_points"], ~case["in_target_occluded"], mode, stride=int(case["opt_query_stride"])
    )
    np.testing.assert_allclose(found.queries, case[f"{mode}_query_points"][0])
    np.testing.assert_array_equal(found.points, case[f"{mode}_target_points"][0])
    np.testing.assert_array_equal(found.visible, ~case[f"{mode}_occluded"][0])
    if mode == "strided":
        np.testing.assert_array_equal(found.track, case["strided_trackgroup"][0])
