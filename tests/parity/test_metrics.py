"""Evaluation metrics equal the published implementation's numbers on small random inputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.eval import metrics
from worldline.train import losses

DATA = Path(__file__).parent / "data/mv_metrics"
IO = load_file(DATA / "io.safetensors")
CASES = json.loads((DATA / "config.json").read_text())["cases"]


def aligned_rows(name):
    case = CASES[name]
    views = case["n_views_total"] - case["n_render_views"]
    stack = lambda key: torch.stack([IO[f"{name}/in/{key.format(v)}"] for v in range(views)], 1)  # noqa: E731
    target, valid = losses.rows_of_targets(
        stack("view{}.pts3d"), stack("view{}.valid_mask").bool(), stack("view{}.camera_pose"), case["n_ref"]
    )
    keys = ["pred0.pts3d", *(f"pred{v}.pts3d_in_other_view" for v in range(1, views))]
    predicted = torch.stack([IO[f"{name}/in/{key}"] for key in keys], 1)
    return *losses.align(predicted, target, valid, losses.EVALUATION), valid, case


@pytest.mark.parametrize("name", ["one_reference", "two_references"])
def test_point_metrics(name):
    predicted, target, valid, case = aligned_rows(name)
    expected = case["expected"]["evaluation"]
    per_view = metrics.normalized_distance(predicted, target, valid)
    nd = per_view.mean(1)
    assert nd.tolist() == pytest.approx(expected["ND_per_row"], rel=1e-5)
    assert nd[:: case["n_ref"]].mean().item() == pytest.approx(expected["ND_first_reference_mean"], rel=1e-5)
    for threshold in (0.5, 0.3, 0.2, 0.1):
        assert metrics.distance_accuracy(nd, threshold).tolist() == expected[f"DAc_{threshold}_per_row"]
    flat = [values.flatten(1, 3) for values in (predicted, target)]
    chamfer = metrics.chamfer_distance(*flat, valid.flatten(1))
    assert chamfer.tolist() == pytest.approx(expected["CD_per_row"], rel=1e-5)


def test_chamfer():
    chamfer = metrics.chamfer_distance(IO["chamfer/in/a"], IO["chamfer/in/b"], IO["chamfer/in/mask"].bool())
    torch.testing.assert_close(chamfer, IO["chamfer/out/cd"], rtol=1e-5, atol=0)


def test_pose_errors():
    poses = [IO[f"pose_errors/in/{kind}_world2cam"].unflatten(0, (2, 4)) for kind in ("pred", "gt")]
    errors = metrics.published_pose_errors(*poses)
    torch.testing.assert_close(errors.rotation, IO["pose_errors/out/rotation_deg"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(errors.translation, IO["pose_errors/out/translation_deg"], rtol=1e-4, atol=0.02)
    torch.testing.assert_close(errors.rotation_accuracy(), IO["pose_errors/out/RRA15"])
    torch.testing.assert_close(errors.translation_accuracy(), IO["pose_errors/out/RTA15"])
    torch.testing.assert_close(errors.mean_accuracy(), IO["pose_errors/out/mAA30"])


def test_photometric():
    predicted, true = ((IO[f"photometric/in/{kind}"].clamp(-1, 1) + 1) / 2 for kind in ("pred", "gt"))
    expected = CASES["photometric"]
    assert metrics.psnr(predicted, true) == pytest.approx(expected["psnr"], rel=1e-5)
    assert metrics.ssim(predicted, true) == pytest.approx(expected["ssim"], rel=1e-4)


@pytest.mark.parametrize("name", ["one_reference", "two_references"])
def test_poses_from_pointmaps(name):
    from worldline.geometry import estimate_focal

    case = CASES[name]
    expected = case["expected"]["poses_from_pointmaps"]
    confidence = IO[f"{name}/in/pred0.conf"]
    cut = confidence.flatten(1).sort(1).values[:, int(0.03 * confidence[0].numel())]
    focal = estimate_focal(IO[f"{name}/in/pred0.pts3d"], weights=confidence >= cut[:, None, None])
    assert focal.tolist() == pytest.approx(expected["focal_per_row"], rel=1e-4)
    views = case["n_views_total"] - case["n_render_views"]
    true = torch.stack([IO[f"{name}/in/view{v}.camera_pose"] for v in range(views)], 1)
    rows = []
    for reference in range(case["n_ref"]):
        order = list(range(views))
        order[0], order[reference] = reference, 0
        rows.append(torch.linalg.inv(true[:, [reference]]) @ true[:, order])
    in_reference = torch.stack(rows, 1).flatten(0, 1)
    predicted = torch.stack([IO[f"{name}/out/pnp_cam2world{v}"] for v in range(views)], 1)
    errors = metrics.published_pose_errors(torch.linalg.inv(predicted), torch.linalg.inv(in_reference))
    assert errors.rotation_accuracy().tolist() == pytest.approx(expected["RRA15_per_row"], abs=1e-6)
    assert errors.translation_accuracy().tolist() == pytest.approx(expected["RTA15_per_row"], abs=1e-6)
    assert errors.mean_accuracy().tolist() == pytest.approx(expected["mAA30_per_row"], abs=0.012)


def test_perfect_poses_have_the_published_floor_and_a_true_zero():
    poses = torch.linalg.inv(IO["pose_errors/in/gt_world2cam"].double()).unflatten(0, (2, 4))
    published = metrics.published_pose_errors(torch.linalg.inv(poses), torch.linalg.inv(poses))
    assert published.rotation.max() == pytest.approx(0.405, abs=2e-3)
    usual = metrics.relative_pose_errors(poses, poses)
    assert usual.rotation.max() < 1e-4
    assert usual.translation.max() < 1e-4
    assert metrics.auc(usual.rotation, 30) == pytest.approx(1, abs=1e-5)


def test_relative_errors_ignore_similarities_and_see_the_rest():
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(2, 6, 8, 3, generator=generator) + torch.tensor([0.0, 0, 2])
    poses = torch.eye(4).repeat(2, 1, 1)
    valid = torch.ones(2, 6, 8, dtype=torch.bool)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    rotation = rotation * torch.linalg.det(rotation)
    moved = 3 * true @ rotation.T + torch.tensor([1.0, 2, 3])
    assert metrics.relative_point_error(moved, true, valid, poses).max() < 1e-5
    bent = moved.clone()
    bent[1] += 1.5
    assert metrics.relative_point_error(bent, true, valid, poses).median() > 0.01
    assert metrics.depth_absrel(5 * true[..., 2], true[..., 2], valid) < 1e-6
    assert metrics.depth_absrel(torch.ones_like(true[..., 2]), true[..., 2], valid) > 0.05
