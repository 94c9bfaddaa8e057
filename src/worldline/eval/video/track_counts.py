"""What the metrics of TAP-Vid and TAPVid-3D share: shares of right points at five thresholds, and their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

THRESHOLDS = (1, 2, 4, 8, 16)  # pixels; the benchmarks' names of all figures carry them


@dataclass(frozen=True)
class TrackScores:
    """Scores per video ``[b]`` or per track ``[b n]``; NaN where nothing was to be measured (0 / 0)."""

    occlusion_accuracy: Float64[np.ndarray, "*b"]  # OA: share of points whose visibility is right
    within: Float64[np.ndarray, "threshold *b"]  # share of truly visible points nearer than the threshold
    jaccard: Float64[np.ndarray, "threshold *b"]  # true positives / (truly visible + false positives)

    @property
    def average_jaccard(self) -> Float64[np.ndarray, "*b"]:
        """AJ: mean of the Jaccard index over the thresholds."""
        return self.jaccard.mean(0)

    @property
    def average_within(self) -> Float64[np.ndarray, "*b"]:
        """δ_avg of TAP-Vid, APD3D of TAPVid-3D: mean of :attr:`within` over the thresholds."""
        return self.within.mean(0)

    def named(self) -> dict[str, Float64[np.ndarray, "*b"]]:
        """All figures under the names that the benchmarks' own code gives them."""
        figures = {"occlusion_accuracy": self.occlusion_accuracy}
        for pixels, within, jaccard in zip(THRESHOLDS, self.within, self.jaccard, strict=True):
            figures |= {f"pts_within_{pixels}": within, f"jaccard_{pixels}": jaccard}
        return figures | {
            "average_jaccard": self.average_jaccard,
            "average_pts_within_thresh": self.average_within,
        }


@dataclass(frozen=True)
class Counts:
    """Weighted sums from which :class:`TrackScores` follow; sums of disjoint sets of points add up."""

    points: Float64[np.ndarray, "*b"]
    right_visibility: Float64[np.ndarray, "*b"]
    visible: Float64[np.ndarray, "*b"]
    inside: Float64[np.ndarray, "threshold *b"]
    true_positive: Float64[np.ndarray, "threshold *b"]
    false_positive: Float64[np.ndarray, "threshold *b"]

    @classmethod
    def of(
        cls,
        inside: Bool[np.ndarray, "threshold *b"],
        visible: Bool[np.ndarray, "*b"],
        predicted_visible: Bool[np.ndarray, "*b"],
        weights: Float[np.ndarray, "*b"] | float = 1.0,
        axis: int | tuple[int, ...] = -1,
    ) -> Counts:
        """Count over ``axis`` (negative numbers, so that they mean the same with the thresholds in front)."""

        def total(values: np.ndarray) -> Float64[np.ndarray, "*b"]:
            return np.sum(values * np.float64(1) * weights, axis=axis)

        return cls(
            points=total(np.ones(visible.shape)),
            right_visibility=total(visible == predicted_visible),
            visible=total(visible),
            inside=total(inside & visible),
            true_positive=total(inside & visible & predicted_visible),
            false_positive=total(predicted_visible & ~(visible & inside)),
        )

    def scores(self) -> TrackScores:
        """Ratios of the sums."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return TrackScores(
                np.asarray(self.right_visibility / self.points),
                self.inside / self.visible,
                self.true_positive / (self.visible + self.false_positive),
            )
