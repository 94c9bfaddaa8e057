"""The loss of streams equals the published implementations' numbers and gradients (Driv3R, and Spann3R before it)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.train.losses import in_reference_frame
from worldline.train.stream_losses import StreamLoss, stream_loss
from worldline.types import Pointmaps

DATA = Path(__file__).parent / "data" / "driv3r"
PUBLISHED = {"driv3r": load_file(DATA / "loss.safetensors"), "spann3r": load_file(DATA / "loss_spann3r.safetensors")}
FIRST_TERMS = {  # twice the first two: frame 0, and frame 1 of the reference head; the published code logs them so
    ("driv3r", "b1"): (-0.38137900829315186, -0.3602297902107239),
    ("driv3r", "b1_large"): (-0.3741857409477234, -0.4697258770465851),
    ("driv3r", "b2"): (-0.27803701162338257, -0.3617043033085327),
    ("spann3r", "b1"): (-0.4421643614768982, -0.36789801716804504),
    ("spann3r", "b1_large"): (-0.4162563681602478, -0.4455844759941101),
    ("spann3r", "b2"): (-0.27524617314338684, -0.2805996239185333),
}


def published(source: str, case: str, official: bool = True) -> tuple[StreamLoss, Pointmaps, Pointmaps]:
    """The loss of a stored batch, and the predictions that it was computed from, as leaves."""
    frames = 4 if case == "b2" else 3
    stored = PUBLISHED[source]
    stack = lambda key, count: torch.stack([stored[f"{case}.{key}.{i}"] for i in range(count)], 1)  # noqa: E731
    reference, target = (
        Pointmaps(*(stack(f"{head}.{part}", frames - 1).requires_grad_() for part in ("pts3d", "conf")))
        for head in ("ref", "tgt")
    )
    truth = in_reference_frame(stack("gt.pts3d", frames), stored[f"{case}.gt.camera_pose.0"])
    focus = stack("dynamic_mask", frames) if source == "driv3r" else None
    loss = stream_loss(
        reference, target, truth, stack("gt.valid_mask", frames), focus=focus, alpha=0.4, official=official
    )
    return loss, reference, target


@pytest.mark.parametrize("case", ["b1", "b1_large", "b2"])
@pytest.mark.parametrize("source", ["driv3r", "spann3r"])
def test_values_and_gradients(source: str, case: str) -> None:
    loss, reference, target = published(source, case)
    stored = PUBLISHED[source]
    assert (loss.total - loss.penalty).item() == pytest.approx(stored[f"{case}.loss"].item(), rel=1e-5)
    assert loss.penalty.item() == pytest.approx(stored[f"{case}.factor_loss"].item(), rel=1e-5)
    first = 2 * loss.terms[0, 0].item(), 2 * loss.terms[1, 0].item()
    assert first == pytest.approx(FIRST_TERMS[source, case], rel=1e-4)
    loss.total.backward()
    for head, maps in {"ref": reference, "tgt": target}.items():
        for name, leaf in {"pts3d": maps.points, "conf": maps.confidence}.items():
            assert leaf.grad is not None
            for pair, gradient in enumerate(leaf.grad.unbind(1)):
                torch.testing.assert_close(gradient, stored[f"{case}.grad.{head}.{name}.{pair}"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("case", "same"), [("b1", True), ("b1_large", True), ("b2", False)])
def test_our_own_differs_for_several_samples_only(case: str, same: bool) -> None:
    official, ours = (published("driv3r", case, official=flag)[0] for flag in (True, False))
    for official_part, our_part in ((official.terms, ours.terms), (official.penalty, ours.penalty)):
        assert torch.allclose(official_part, our_part) is same
    # the wrong count divides prediction and truth of a sample alike
    torch.testing.assert_close(official.factor / official.true_factor, ours.factor / ours.true_factor)
