"""Winograd's minimal filtering is the convolution, for every size, to float32 rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from worldline.models.layers.skip_branch import SkipBranch
from worldline.models.layers.winograd import pays_off, transforms, winograd_conv2d


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2), channels=st.integers(1, 5), height=st.integers(1, 21), width=st.integers(1, 21),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_equals_the_direct_convolution_in_float64(
    batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, channels, 5, 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    expected = conv2d(maps, weight, bias, padding=2)
    torch.testing.assert_close(winograd_conv2d(maps, weight, bias), expected, rtol=1e-10, atol=1e-10)


def test_float32_stays_within_the_parity_tolerance_at_published_width() -> None:
    torch.manual_seed(0)
    maps, weight, bias = torch.randn(1, 256, 40, 48), torch.randn(256, 256, 5, 5) / 80, torch.randn(256)
    expected = conv2d(maps.double(), weight.double(), bias.double(), padding=2)
    error = (winograd_conv2d(maps, weight, bias) - expected).abs().max() / expected.abs().max()
    assert error < 2e-5


def test_one_axis_is_the_textbook_identity() -> None:
    outputs, filters, inputs = transforms(5)
    signal, taps = torch.randn(8, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    expected = torch.stack([signal[k : k + 5] @ taps for k in range(4)])
    torch.testing.assert_close(outputs @ ((filters @ taps) * (inputs @ signal)), expected)


def test_the_branch_takes_it_only_where_it_pays() -> None:
    wide, narrow = torch.randn(256, 256, 5, 5), torch.randn(24, 24, 5, 5)
    with torch.no_grad():
        assert pays_off(torch.randn(1, 256, 64, 64), wide)
        assert not pays_off(torch.randn(1, 24, 64, 64), narrow)
        assert not pays_off(torch.randn(1, 256, 16, 16), wide)
    assert not pays_off(torch.randn(1, 256, 64, 64), wide), "training needs its gradients"


def test_both_ways_through_the_image_skip_agree() -> None:
    torch.manual_seed(1)
    branch = SkipBranch(128).eval()
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    images, points = torch.rand(1, 3, 64, 80), torch.randn(1, 3, 64, 80)
    direct = branch(images, points).detach()  # gradients are on: the direct way
    with torch.no_grad():
        fast = branch(images, points)
    assert direct.abs().max() > 0
    assert (fast - direct).abs().max() < 3e-5 * direct.abs().max()
    assert fast.shape == direct.shape == (1, 3, 64, 80)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 9)])
def test_small_maps_work(size: tuple[int, int]) -> None:
    maps, weight, bias = torch.randn(1, 2, *size), torch.randn(2, 2, 5, 5), torch.zeros(2)
    expected = conv2d(maps, weight, bias, padding=2)
    torch.testing.assert_close(winograd_conv2d(maps, weight, bias), expected, rtol=1e-4, atol=1e-4)
