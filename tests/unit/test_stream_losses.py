"""Properties of the loss of streams."""

import math

import pytest
import torch

from worldline.errors import InputError
from worldline.train.stream_losses import alpha_at, stream_loss
from worldline.types import Pointmaps

SAMPLES, FRAMES, HEIGHT, WIDTH = 3, 4, 5, 6


def batch(seed: int = 0, *, scale: float = 1.0, samples: int = SAMPLES, dtype: torch.dtype = torch.float64):
    """Random truth, valid pixels and predictions somewhere near the truth times ``scale``."""
    random = torch.Generator().manual_seed(seed)
    shape = (samples, FRAMES, HEIGHT, WIDTH)
    truth = torch.randn(*shape, 3, generator=random, dtype=dtype) + torch.tensor([0.0, 0.0, 4.0], dtype=dtype)
    valid = torch.rand(shape, generator=random) > 0.3
    heads = []
    for frames in (slice(0, -1), slice(1, None)):
        points = scale * (truth[:, frames] + 0.1 * torch.randn(truth[:, 1:].shape, generator=random, dtype=dtype))
        confidence = 1 + torch.rand(points.shape[:-1], generator=random, dtype=dtype).exp()
        heads.append(Pointmaps(points, confidence))
    return *heads, truth, valid


def part(maps: Pointmaps, samples: slice) -> Pointmaps:
    return Pointmaps(maps.points[samples], maps.confidence[samples])


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("official", [False, True])
def test_gradient(scale: float, official: bool) -> None:
    reference, target, truth, valid = batch(scale=scale, samples=2)
    leaves = [reference.points, reference.confidence, target.points, target.confidence]

    def total(*parts: torch.Tensor) -> torch.Tensor:
        return stream_loss(Pointmaps(*parts[:2]), Pointmaps(*parts[2:]), truth, valid, official=official).total

    assert torch.autograd.gradcheck(total, [leaf.clone().requires_grad_() for leaf in leaves], fast_mode=True)


def test_terms_ignore_the_scale_of_the_prediction() -> None:
    reference, target, truth, valid = batch()
    small = stream_loss(reference, target, truth, valid)
    factor = 7.0
    large = stream_loss(
        Pointmaps(factor * reference.points, reference.confidence),
        Pointmaps(factor * target.points, target.confidence),
        truth,
        valid,
    )
    torch.testing.assert_close(small.terms, large.terms)
    torch.testing.assert_close(large.factor, factor * small.factor)
    torch.testing.assert_close(large.penalty, (large.factor - large.true_factor).mean())


def test_only_too_large_predictions_are_charged() -> None:
    assert stream_loss(*batch(scale=0.5)).penalty == 0
    reference, target, truth, valid = batch(scale=0.5)
    grown = reference.points.clone()
    grown[1] *= 50
    loss = stream_loss(Pointmaps(grown, reference.confidence), target, truth, valid)
    torch.testing.assert_close(loss.penalty, loss.factor[1] - loss.true_factor[1])


def test_a_perfect_prediction_pays_its_confidence_alone() -> None:
    _, _, truth, valid = batch()
    sure = torch.full(truth[:, 1:].shape[:-1], 5.0, dtype=truth.dtype)
    loss = stream_loss(Pointmaps(truth[:, :-1], sure), Pointmaps(truth[:, 1:], sure), truth, valid, alpha=0.3)
    assert loss.error < 1e-12 and loss.penalty < 1e-12
    assert loss.total.item() == pytest.approx(-2 * 0.3 * math.log(5))


def test_samples_have_nothing_to_do_with_each_other() -> None:
    reference, target, truth, valid = batch(scale=2.0)
    whole = stream_loss(reference, target, truth, valid)
    for sample in range(SAMPLES):
        alone = slice(sample, sample + 1)
        loss = stream_loss(part(reference, alone), part(target, alone), truth[alone], valid[alone])
        torch.testing.assert_close(loss.factor, whole.factor[alone])
    order = torch.tensor([2, 0, 1])
    shuffled = stream_loss(part(reference, order), part(target, order), truth[order], valid[order])
    torch.testing.assert_close(shuffled.total, whole.total)


@pytest.mark.parametrize("empty", ["focus of a frame", "truth of a sample", "all truth"])
def test_empty_masks(empty: str) -> None:
    reference, target, truth, valid = batch()
    leaves = [reference.points.requires_grad_(), target.points.requires_grad_()]
    focus = valid.clone()
    if empty == "focus of a frame":
        focus[:, 1] = False
    else:
        valid[: 1 if empty == "truth of a sample" else None] = False
        truth[~valid] = torch.nan
    loss = stream_loss(reference, target, truth, valid, focus=focus)
    if empty == "focus of a frame":
        assert loss.terms[1, 0] == loss.terms[0, 1] == 0 and (loss.terms != 0).sum() == loss.terms.numel() - 2
    if empty == "all truth":
        assert loss.total == 0
    loss.total.backward()
    assert all(bool(leaf.grad.isfinite().all()) for leaf in leaves)


def test_focus_moves_the_terms_and_not_the_factors() -> None:
    reference, target, truth, valid = batch()
    focus = torch.zeros_like(valid)
    focus[..., :2] = True
    everything, moving = (
        stream_loss(reference, target, truth, valid),
        stream_loss(reference, target, truth, valid, focus=focus),
    )
    torch.testing.assert_close(everything.factor, moving.factor)
    assert not torch.allclose(everything.terms, moving.terms)
    # pixels outside of the focus matter through the factor only
    changed = reference.confidence.clone()
    changed[..., 2:] += 3
    again = stream_loss(Pointmaps(reference.points, changed), target, truth, valid, focus=focus)
    torch.testing.assert_close(again.total, moving.total)


def test_parts_of_a_batch_add_up() -> None:
    """Two devices with one and two samples give the loss and the gradient of the three together."""
    reference, target, truth, valid = batch(scale=1.3)
    leaf = reference.points.requires_grad_()
    stream_loss(reference, target, truth, valid).total.backward()
    expected, whole = leaf.grad.clone(), stream_loss(reference, target, truth, valid)
    leaf.grad = None
    shares = [slice(0, 1), slice(1, 3)]
    counts: list[torch.Tensor] = []
    arguments = [(part(reference, share), part(target, share), truth[share], valid[share]) for share in shares]
    for share in arguments:
        stream_loss(*share, summed=lambda count: counts.append(count) or count)
    everywhere = sum(counts)
    losses = [stream_loss(*share, summed=lambda count: everywhere) for share in arguments]
    torch.testing.assert_close(sum(loss.total for loss in losses), whole.total)
    torch.testing.assert_close(sum(loss.penalty for loss in losses), whole.penalty)
    torch.testing.assert_close(sum(loss.error for loss in losses), whole.error)
    sum(loss.total for loss in losses).backward()
    torch.testing.assert_close(leaf.grad, expected)


def test_schedule_of_alpha() -> None:
    assert [alpha_at(epoch, 50) for epoch in (0, 10, 25)] == [0.4] * 3
    assert alpha_at(37.5, 50) == pytest.approx(0.3) and alpha_at(50, 50) == pytest.approx(0.2)
    assert alpha_at(0.75, 1, first=1.0, last=0.0) == pytest.approx(0.5)


def test_mistakes() -> None:
    reference, target, truth, valid = batch()
    with pytest.raises(InputError, match="no pair"):
        stream_loss(reference, target, truth[:, :1], valid[:, :1])
    with pytest.raises(InputError, match="reference of shape"):
        stream_loss(part(reference, slice(0, 1)), target, truth, valid)
    with pytest.raises(InputError, match="focus of shape"):
        stream_loss(reference, target, truth, valid, focus=valid[:, 1:])
    with pytest.raises(InputError, match="one device"):
        stream_loss(reference, target, truth, valid, official=True, summed=lambda counts: counts)
