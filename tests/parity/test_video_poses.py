"""ATE, RPE, alignments and association equal evo's; pose AUC equals that of VGGT and π³."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from worldline.eval.video import trajectory
from worldline.eval.video.pose_pairs import pair_errors, pose_auc
from worldline.eval.video.trajectory_files import read_tum

DATA = Path(__file__).parent / "data" / "video" / "metrics_pose"
OPTIONS = json.loads((DATA / "options.json").read_text(encoding="utf-8"))
CASES = [(name, entry) for name, entries in OPTIONS.items() for entry in entries]


def alignment_of(option: dict[str, str]) -> str:
    if "origin" in option:
        return "origin"
    return {(True, True): "sim3", (True, False): "se3", (False, True): "scale", (False, False): "none"}[
        "align" in option, "scale" in option
    ]


@pytest.mark.parametrize(("name", "entry"), CASES, ids=[f"{name}-{entry}" for name, entry in CASES])
def test_errors(name: str, entry: str) -> None:
    case, option = np.load(DATA / f"{name}.npz"), OPTIONS[name][entry]
    reference, estimate = case["in_ref_c2w"], case["in_est_c2w"]
    aligned = trajectory.align_trajectory(estimate, reference, alignment_of(option))
    relative = entry.startswith("rpe")
    pair = (trajectory.relative_errors if relative else trajectory.absolute_errors)(aligned, reference)
    errors = pair[0] if option["rel"] == "trans" else pair[1]
    key, tolerance = f"out_{entry}", 1e-9 if option["rel"] == "trans" else 1e-6
    np.testing.assert_allclose(errors.values, case[f"{key}_errors"], rtol=tolerance, atol=1e-12)
    for statistic, value in errors.statistics().items():
        assert value == pytest.approx(float(case[f"{key}_{statistic}"]), rel=tolerance, abs=1e-12), statistic


@pytest.mark.parametrize("name", OPTIONS)
def test_alignments(name: str) -> None:
    case = np.load(DATA / f"{name}.npz")
    for kind in ("sim3", "se3"):
        fit = trajectory.fit_trajectory(case["in_est_c2w"], case["in_ref_c2w"], kind)
        np.testing.assert_allclose(fit.rotation, case[f"out_umeyama_{kind}_R"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fit.translation, case[f"out_umeyama_{kind}_t"], rtol=1e-9)
        assert float(fit.scale) == pytest.approx(float(case["out_umeyama_sim3_s"]) if kind == "sim3" else 1, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "ate_alignments"])
def test_what_papers_report(name: str) -> None:
    case = np.load(DATA / f"{name}.npz")
    found = trajectory.score_trajectory(case["in_est_c2w"], case["in_ref_c2w"])
    assert found.ate == pytest.approx(float(case["out_ape_sim3_rmse"]), rel=1e-9)
    assert found.rpe_translation == pytest.approx(float(case["out_rpe_trans_rmse"]), rel=1e-9)
    assert found.rpe_rotation == pytest.approx(float(case["out_rpe_rot_rmse"]), rel=1e-6)


def test_text_files_with_different_stamps() -> None:
    expected = json.loads((DATA / "tum_expected.json").read_text(encoding="utf-8"))
    reference, estimate = read_tum(DATA / "ref_tum.txt"), read_tum(DATA / "est_tum.txt")
    assert (len(reference), len(estimate)) == (expected["num_ref"], expected["num_est"])
    reference, estimate = trajectory.associate(reference, estimate, expected["max_diff"])
    assert len(reference) == len(estimate) == expected["num_matched"]
    found = trajectory.score_trajectory(estimate.world_from_cam, reference.world_from_cam)
    assert found.ate == pytest.approx(expected["ate_rmse"], rel=1e-9)
    assert found.rpe_translation == pytest.approx(expected["rpe_trans_rmse"], rel=1e-9)
    assert found.rpe_rotation == pytest.approx(expected["rpe_rot_deg_rmse"], rel=1e-6)


@pytest.mark.parametrize("name", ["pose_auc_a", "pose_auc_b"])
def test_pairs_of_views(name: str) -> None:
    case = np.load(DATA / f"{name}.npz")
    found = pair_errors(np.linalg.inv(case["in_pred_w2c"]), np.linalg.inv(case["in_gt_w2c"]))
    np.testing.assert_allclose(found.rotation, case["out_rel_rot_deg"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.translation, case["out_rel_trans_deg"], rtol=1e-6, atol=1e-6)
    for limit in (5, 15, 30):
        assert pose_auc(found, limit) == pytest.approx(float(case[f"out_auc_{limit}"]), abs=1e-9)
        assert pose_auc(found, limit, histc=True) == pytest.approx(float(case[f"out_auc_histc_{limit}"]), abs=1e-6)
        assert float((found.rotation < limit).double().mean()) == pytest.approx(float(case[f"out_racc_{limit}"]))
        assert float((found.translation < limit).double().mean()) == pytest.approx(float(case[f"out_tacc_{limit}"]))


def test_directions_that_do_not_exist_count_as_wrong() -> None:
    poses = np.stack([np.eye(4)] * 3)
    assert torch.equal(pair_errors(poses, poses).translation, torch.full((3,), 1e6, dtype=torch.float64))
