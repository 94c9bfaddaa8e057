"""Losses equal the published implementation's numbers on small random inputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.train import losses
from worldline.train.losses import Alignment

DATA = Path(__file__).parent / "data"
PAIR = load_file(DATA / "dust3r_losses/io.safetensors")
PAIR_EXPECTED = json.loads((DATA / "dust3r_losses/config.json").read_text())["expected"]
MULTI = load_file(DATA / "mv_metrics/io.safetensors")
MULTI_CASES = json.loads((DATA / "mv_metrics/config.json").read_text())["cases"]


def pair():
    points = torch.stack([PAIR["in/gt1.pts3d"], PAIR["in/gt2.pts3d"]], 1)
    valid = torch.stack([PAIR["in/gt1.valid_mask"], PAIR["in/gt2.valid_mask"]], 1).bool()
    poses = torch.stack([PAIR["in/gt1.camera_pose"], PAIR["in/gt2.camera_pose"]], 1)
    target, valid = losses.rows_of_targets(points, valid, poses)
    predicted = torch.stack([PAIR["in/pred1.pts3d"], PAIR["in/pred2.pts3d_in_other_view"]], 1)
    confidence = torch.stack([PAIR["in/pred1.conf"], PAIR["in/pred2.conf"]], 1)
    return predicted, confidence, target, valid


def multi_view(name):
    case = MULTI_CASES[name]
    views = case["n_views_total"] - case["n_render_views"]
    stack = lambda key: torch.stack([MULTI[f"{name}/in/{key.format(v)}"] for v in range(views)], 1)  # noqa: E731
    target, valid = losses.rows_of_targets(
        stack("view{}.pts3d"), stack("view{}.valid_mask").bool(), stack("view{}.camera_pose"), case["n_ref"]
    )
    points = ["pred0.pts3d", *(f"pred{v}.pts3d_in_other_view" for v in range(1, views))]
    predicted = torch.stack([MULTI[f"{name}/in/{key}"] for key in points], 1)
    return predicted, stack("pred{}.conf"), target, valid, case["expected"]


@pytest.mark.parametrize("mode", losses.NORMALIZATIONS)
def test_normalizations(mode):
    predicted, _, _, valid = pair()
    normalized = losses.normalize(predicted, valid, mode)[0]
    for view in range(2):
        expected = PAIR[f"out/normalised_{mode}.{view + 1}"]
        mask = valid[:, view]
        torch.testing.assert_close(normalized[:, view][mask], expected[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("regr3d_avg_dis", Alignment()),
        ("regr3d_avg_dis_gt_scale", Alignment(gt_scale=True)),
        ("test_scale_shift_inv_gt_scale", Alignment(shift="depth", scale=True, gt_scale=True)),
        ("scale_shift_inv", Alignment(shift="depth", scale=True)),
        ("scale_inv", Alignment(scale=True)),
        ("shift_inv", Alignment(normalization=None, shift="depth")),
    ],
)
def test_pair_regression(name, how):
    predicted, _, target, valid = pair()
    terms = losses.regression_loss(predicted, target, valid, how)
    expected = PAIR_EXPECTED[name]
    assert terms.sum().item() == pytest.approx(expected["loss"], rel=1e-5)
    assert terms.tolist() == pytest.approx(list(expected["details"].values()), rel=1e-5)


def test_pair_confidence_loss():
    predicted, confidence, target, valid = pair()
    terms = losses.confidence_loss(predicted, confidence, target, valid)
    details = PAIR_EXPECTED["train_conf_loss"]["details"]
    assert terms.tolist() == pytest.approx([details["conf_loss_1"], details["conf_loss2"]], rel=1e-5)


@pytest.mark.parametrize("name", ["one_reference", "two_references"])
def test_multi_view_confidence_loss(name):
    predicted, confidence, target, valid, expected = multi_view(name)
    terms = losses.confidence_loss(predicted, confidence, target, valid)
    expected = expected["train_conf_loss"]
    assert terms[0].item() == pytest.approx(expected["reference_term"], rel=1e-5)
    assert terms[1:].sum().item() == pytest.approx(expected["other_views_term"], rel=1e-5)


@pytest.mark.parametrize("name", ["one_reference", "two_references"])
def test_evaluation_alignment(name):
    predicted, _, target, valid, expected = multi_view(name)
    aligned, truth = losses.align(predicted, target, valid, losses.EVALUATION)
    for view in range(valid.shape[1]):
        mask = valid[:, view]
        for mine, kind in ((aligned, "pred"), (truth, "gt")):
            theirs = MULTI[f"{name}/out/aligned_{kind}{view}"]
            torch.testing.assert_close(mine[:, view][mask], theirs[mask], rtol=1e-5, atol=3e-6)
    total = losses.regression_loss(predicted, target, valid, losses.EVALUATION).sum()
    assert total.item() == pytest.approx(expected["evaluation"]["loss"], rel=1e-5)


def test_empty_masks_and_exact_predictions_have_finite_gradients():
    predicted, confidence, target, valid = pair()
    predicted = target.clone().requires_grad_()
    losses.confidence_loss(predicted, confidence, target, valid).sum().backward()
    assert torch.isfinite(predicted.grad).all()
    assert losses.confidence_loss(predicted, confidence, target, torch.zeros_like(valid)).abs().sum() == 0


@pytest.mark.parametrize("how", [losses.TRAINING, losses.EVALUATION, Alignment(shift="depth", scale=True)])
def test_unmeasured_truth_of_any_value_changes_neither_loss_nor_gradient(how):
    predicted, confidence, target, valid = pair()
    assert not valid.all()
    results = []
    for filler in (0.0, 1e6, torch.nan):
        filled = torch.where(valid[..., None], target, torch.tensor(filler))
        points = predicted.clone().requires_grad_()
        loss = losses.confidence_loss(points, confidence, filled, valid, how=how).sum()
        results.append((loss.detach(), torch.autograd.grad(loss, points)[0]))
    assert results[0][1].abs().sum() > 0
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])
