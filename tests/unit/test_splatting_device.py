"""Many cameras in one call on a device: the values of the processor, and few waits however many cameras there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import splatting_reference as reference
from pretended_device import DEVICE, numbers, pretended_device
from worldline.outputs.render import rasterize

WAITS = 7  # values, visible Gaussians, radius, pairs, and up to three looks at the tiles


def rendered(count: int, device: torch.device, opaque: bool) -> list[Tensor]:
    values = [value.to(device).requires_grad_() for value in reference.scene(0, 300, torch.float32, opaque=opaque)]
    lens = {name: value.to(device) for name, value in reference.cameras(count, torch.float32).items()}
    seen = rasterize(*values, **lens, size=(17, 23), background=(0.2, 0.5, 1))
    found = torch.autograd.grad(seen.color.square().mean() + seen.depth.mean(), values)
    return [numbers(value) for value in (seen.color, seen.depth, seen.alpha, *found)]


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_cameras_of_a_call_share_its_waits(count: int, opaque: bool) -> None:
    known = rendered(count, torch.device("cpu"), opaque)
    with pretended_device() as traffic:
        found = rendered(count, DEVICE, opaque)
    for one, other in zip(found, known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)
    # what the test itself carries to the device and back is 7 uploads and one reading for each result
    assert traffic.waits["aten::_local_scalar_dense"] + traffic.waits["aten::nonzero"] <= WAITS
    assert not traffic.waits["aten::index"]
    assert traffic.uploads.total() <= 7
