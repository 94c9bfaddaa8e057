"""Gradients of the pointmap losses stay finite where nothing was measured and where the prediction is exact."""

import pytest
import torch

from worldline.train import losses
from worldline.train.losses import Alignment


def rows(seed: int = 0, views: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = (torch.randn(2, views, 4, 5, 3, generator=generator) for _ in range(2))
    return predicted.requires_grad_(), target, torch.ones(2, views, 4, 5, dtype=torch.bool)


@pytest.mark.parametrize("gt_scale", [False, True])
@pytest.mark.parametrize("shift", ["none", "depth", "all"])
@pytest.mark.parametrize("mode", [None, *losses.NORMALIZATIONS])
def test_a_row_without_valid_pixels_has_zero_gradient(mode: str | None, shift: str, gt_scale: bool) -> None:
    predicted, target, valid = rows()
    valid[1] = False
    how = Alignment(mode, shift, scale=True, gt_scale=gt_scale)
    losses.confidence_loss(predicted, predicted.norm(dim=-1) + 1, target, valid, how=how).sum().backward()
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad[0].abs().sum() > 0
    assert predicted.grad[1].abs().sum() == 0


def test_a_view_without_valid_pixels_costs_nothing() -> None:
    predicted, target, valid = rows()
    valid[:, 1] = False
    terms = losses.confidence_loss(predicted, torch.ones_like(target[..., 0]), target, valid)
    terms.sum().backward()
    assert terms[1] == 0 and (terms[[0, 2]] > 0).all()
    assert torch.isfinite(predicted.grad).all() and predicted.grad[:, 1].abs().sum() == 0


@pytest.mark.parametrize("mode", losses.NORMALIZATIONS)
def test_predictions_at_the_origin_have_finite_gradients(mode: str) -> None:
    predicted, target, valid = rows()
    with torch.no_grad():
        predicted[0, 0, 0, 0] = 0
    losses.regression_loss(predicted, target, valid, Alignment(mode)).sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_terms_of_two_halves_with_the_counts_of_the_whole_add_up() -> None:
    predicted, target, valid = rows()
    valid[0, :, 2:] = False  # unequal numbers of pixels: means of the halves would not average to the mean
    confidence = torch.rand(valid.shape) + 1
    whole = losses.confidence_loss(predicted, confidence, target, valid)
    parts = [
        losses.confidence_loss(
            predicted[[row]], confidence[[row]], target[[row]], valid[[row]], counts=losses.valid_counts(valid)
        )
        for row in range(2)
    ]
    torch.testing.assert_close(sum(parts), whole)
