"""Focal length from a pointmap: equal to the published estimators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.geometry import estimate_focal

DATA = Path(__file__).parent / "data" / "focal"
VECTORS = load_file(DATA / "io.safetensors")


@pytest.mark.parametrize("method", ["weiszfeld", "median"])
@pytest.mark.parametrize("center", ["pp_centre", "pp_shifted"])
def test_equals_published(method: str, center: str) -> None:
    focal = estimate_focal(VECTORS["in/pts3d"], VECTORS[f"in/{center}"], method=method)
    torch.testing.assert_close(focal, VECTORS[f"out/{method}/{center}"], rtol=1e-5, atol=0)


def test_clamp_equals_published() -> None:
    focal = estimate_focal(VECTORS["in/pts3d"], VECTORS["in/pp_centre"], clamp=(0.5, 1.0))
    torch.testing.assert_close(focal, VECTORS["out/weiszfeld_clipped_0.5_1.0/pp_centre"], rtol=1e-5, atol=0)


def test_default_principal_point_is_the_published_one() -> None:
    config = json.loads((DATA / "config.json").read_text())
    assert VECTORS["in/pp_centre"][0].tolist() == [config["width"] / 2, config["height"] / 2]
    torch.testing.assert_close(
        estimate_focal(VECTORS["in/pts3d"]), VECTORS["out/weiszfeld/pp_centre"], rtol=1e-5, atol=0
    )


def test_masked_pixels_do_not_count() -> None:
    points = VECTORS["in/pts3d"].clone()
    mask = torch.ones(points.shape[:-1], dtype=torch.bool)
    mask[:, :, 20:] = False
    for method in ("weiszfeld", "median"):
        clean = estimate_focal(points, method=method, weights=mask)
        spoilt = points.clone()
        spoilt[:, :, 20:] = 1e3
        torch.testing.assert_close(estimate_focal(spoilt, method=method, weights=mask), clean)
        assert not torch.allclose(estimate_focal(spoilt, method=method), clean, rtol=1e-3)


def test_unknown_method_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="weiszfeld"):
        estimate_focal(VECTORS["in/pts3d"], method="mean")
