"""Image metrics of novel views: closed forms, torchmetrics, masks, and a perceptual distance that is found or not."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from worldline.eval import perceptual
from worldline.eval.novel.image_metrics import PSNR_CAP, capped_psnr, image_scores


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(2, 3, 40, 33, generator=generator)
    return (true + 0.2 * torch.randn(true.shape, generator=generator)).clamp(0, 1), true


def test_psnr_of_a_constant_error_has_a_closed_form() -> None:
    true = torch.full((1, 3, 16, 16), 0.4)
    assert image_scores(true + 0.1, true)["psnr"] == pytest.approx(20)
    assert image_scores(true + 0.7, true)["psnr"] == pytest.approx(-20 * math.log10(0.6))  # 1.1 is clipped to 1
    assert capped_psnr(true, true) == PSNR_CAP


def test_the_mean_is_over_views_not_over_pixels(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    rendered, true = pair
    rendered[0] = true[0] + 0.01
    alone = [image_scores(rendered[view, None], true[view, None])["psnr"] for view in range(2)]
    assert image_scores(rendered, true)["psnr"] == pytest.approx(sum(alone) / 2)
    assert alone[0] > alone[1] + 10


def test_figures_equal_those_of_torchmetrics(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    published = pytest.importorskip("torchmetrics.functional.image")
    rendered, true = pair[0] * 0.8 + 0.1, pair[1]
    scores = image_scores(rendered, true)
    views = list(zip(rendered[:, None], true[:, None], strict=True))
    psnr = [float(published.peak_signal_noise_ratio(*view, data_range=1.0)) for view in views]
    ssim = [float(published.structural_similarity_index_measure(*view)) for view in views]  # data range of the pair
    assert scores["psnr"] == pytest.approx(sum(psnr) / 2, rel=1e-5)
    assert scores["ssim"] == pytest.approx(sum(ssim) / 2, rel=1e-5)


def test_a_mask_counts_its_pixels_alone(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    rendered, true = pair
    mask = torch.zeros(2, 40, 33, dtype=torch.bool)
    mask[:, :20] = True
    good = torch.where(mask[:, None], true, rendered)
    scores = image_scores(good, true, mask)
    assert scores["psnr_masked"] == PSNR_CAP
    assert scores["ssim"] < scores["ssim_masked"] < 1  # windows at the border see what is wrong beyond it
    everywhere = image_scores(rendered, true, torch.ones_like(mask))
    assert everywhere["psnr_masked"] == pytest.approx(everywhere["psnr"])
    assert everywhere["ssim_masked"] == pytest.approx(everywhere["ssim"])


def test_views_of_which_hardly_anything_is_seen_are_left_out(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    rendered, true = pair
    mask = torch.zeros(2, 40, 33, dtype=torch.bool)
    assert math.isnan(image_scores(rendered, true, mask)["psnr_masked"])
    mask[1] = True
    alone = image_scores(rendered[1:], true[1:])
    assert image_scores(rendered, true, mask)["psnr_masked"] == pytest.approx(alone["psnr"])


def fake_lpips(monkeypatch: pytest.MonkeyPatch, hub: Path) -> None:
    """A package with the interface of ``lpips``, and a file where torchvision keeps its backbone."""

    class Network(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            assert first.min() >= -1 and first.max() <= 1
            return (first - second).abs().mean((1, 2, 3), keepdim=True)

        def requires_grad_(self, wanted: bool) -> torch.nn.Module:
            assert not wanted
            return self

    package = ModuleType("lpips")
    package.LPIPS = Network
    monkeypatch.setitem(sys.modules, "lpips", package)
    found = importlib.util.find_spec
    here = ("lpips", "torchvision")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: object() if name in here else found(name, *a))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(hub))
    monkeypatch.setattr(perceptual, "_network", perceptual._network.__wrapped__)  # keeps no fake for other tests
    monkeypatch.setattr(perceptual, "_resized", lambda pictures: pictures)


def test_lpips_is_taken_where_it_is_installed(
    pair: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendered, true = pair
    fake_lpips(monkeypatch, tmp_path)
    assert perceptual.load_lpips() is None  # the package without its backbone would download it
    assert "lpips" not in image_scores(rendered, true, distance=perceptual.load_lpips())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/alexnet-owt-7be5be79.pth").touch()
    scores = image_scores(rendered, true, distance=perceptual.load_lpips())
    assert scores["lpips"] == pytest.approx(2 * float((rendered - true).abs().mean()), rel=1e-5)
    equal = image_scores(rendered, rendered.clone(), distance=perceptual.load_lpips())
    assert equal["lpips"] == 0


def test_lpips_compares_pictures_at_the_published_size() -> None:
    assert perceptual._resized(torch.rand(2, 3, 40, 33)).shape == (2, 3, 224, 224)
    same = torch.rand(1, 3, 224, 224)
    assert perceptual._resized(same) is same
