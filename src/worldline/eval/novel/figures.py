"""Figures of novel views: what each one is, in which unit, and what was aligned before it was measured."""

from __future__ import annotations

from worldline.eval.figures import Figure

_PLACED = "true cameras relative to the first photo's; one factor per scene: ratio of the mean distances of the points"
_SEEN = "the pixels whose surface some shown photo truly sees"


def _figure(name: str, label: str, meaning: str, better: str = "higher", unit: str = "") -> Figure:
    return Figure(name, meaning, _PLACED, unit, better, "mean", label)  # type: ignore[arg-type]


_ALL = [
    _figure("psnr", "PSNR", "peak signal-to-noise ratio of the whole picture, data range 1", unit="dB"),
    _figure("psnr_seen", "PSNR, seen", f"the same over {_SEEN}", unit="dB"),
    _figure("ssim", "SSIM", "structural similarity (Gaussian 11, σ 1.5), data range of the two pictures"),
    _figure("ssim_seen", "SSIM, seen", f"the same, its map averaged over {_SEEN}"),
    _figure("lpips", "LPIPS", "learned perceptual distance (AlexNet) of the whole picture", "lower"),
    _figure("coverage", "coverage", "mean alpha: how much of the picture is not background"),
    _figure("seen", "seen", f"truth, not a score: share of {_SEEN}"),
]

NOVEL_FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}
