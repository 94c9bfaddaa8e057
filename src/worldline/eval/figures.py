"""Every figure that an evaluation reports: what it is, in which unit, and what was aligned before it was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One figure of merit. Reports carry the definitions of all figures they show."""

    name: str
    meaning: str
    alignment: str
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    over_scenes: Literal["median", "mean"] = "median"
    axis: str = ""  # label of a plot
    row: str = ""  # figures of the paper: which reference row


_SIMILARITY = "one robust similarity per scene (rotation, translation, scale), on all pixels with truth"
_SCALE = "one scale per scene: the median of true / predicted depth over all views"
_NONE = "none needed: relative poses do not depend on the world's frame, directions not on its unit"
_PAPER_POINTS = "none rotated; the joint median point is subtracted, then one scale: the ratio of median radii"
_PAPER_POSES = "none; poses in the frame of the row's reference camera, relative motions taken on the world side"
_POSE = "poses from the pointmaps alone, by PnP"


def _paper(name: str, meaning: str, alignment: str, unit: str = "", better: str = "lower") -> list[Figure]:
    rows = {"first": "first reference row", "best": "best reference row, chosen with the truth"}
    return [
        Figure(f"{name}_{row}", meaning, alignment, unit, better, "mean", row=said)  # type: ignore[arg-type]
        for row, said in rows.items()
    ]


_ALL = [
    Figure(
        "point_error", "median over pixels of |predicted - true point| / true distance of that point to its camera",
        _SIMILARITY, axis="point error (share of distance)",
    ),
    Figure(
        "abs_rel", "mean of |predicted - true| / true depth over registered views, along the estimated optical axis",
        _SCALE, axis="depth AbsRel",
    ),
    Figure("delta125", "share of pixels whose depth is wrong by a factor below 1.25", _SCALE, "", "higher", "median",
           "share of depths within 1.25"),
    Figure("delta103", "share of pixels whose depth is wrong by a factor below 1.03", _SCALE, "", "higher", "median",
           "share of depths within 1.03"),
    Figure("rotation", f"median over pairs of views of the relative rotation error; 180 without a pose; {_POSE}",
           _NONE, "degrees", axis="rotation error (degrees; 180: no pose)"),
    Figure("translation", "median over pairs of the angle between the baselines' directions, sign included; 180 "
           "without a pose, 90 without a baseline", _NONE, "degrees", axis="translation direction error (degrees)"),
    *(
        Figure(f"auc{limit}", "area under the recall of the larger of rotation and translation error of all pairs, up "
               f"to {limit} degrees", _NONE, "", "higher", "mean", f"pose AUC@{limit}")
        for limit in (5, 15, 30)
    ),
    Figure("coverage", "share of the pixels with truth for which a point was predicted", "-", "", "higher", "mean",
           "coverage"),
    Figure("registered", "share of views with a pose", "-", "", "higher", "mean", "registered views"),
    *_paper("nd", "ND: mean point distance per view (at most 10), then mean over views; best: per view", _PAPER_POINTS,
            "unit of the truth (metres)"),
    *_paper("dac", "DAc: share of scenes with ND below 0.2", _PAPER_POINTS, "", "higher"),
    *_paper("cd", "CD: mean squared nearest distance, both ways added (at most 10)", _PAPER_POINTS, "squared unit"),
    *_paper("rre", "RRE: share of pairs with a rotation error of 15 degrees or more", _PAPER_POSES),
    *_paper("rte", "RTE: share of pairs with a translation direction error of 15 degrees or more, sign ignored",
            _PAPER_POSES),
    *_paper("mae", "mAE: one minus the share of pairs with both errors below t, averaged over t = 1..30 degrees",
            _PAPER_POSES),
    Figure("seconds", "wall seconds of the reconstruction, photos in memory", "-", "s", axis="seconds"),
    Figure("overlap", "truth, not a score: mean over views of the largest share of a view's pixels that "
           "another view of the set sees", "-", "", "higher", axis="overlap"),
]  # fmt: skip

FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}


def definitions(names: Iterable[str]) -> list[dict[str, str]]:
    """The definitions of some figures, for JSON; names that are no figures are left out."""
    chosen = [FIGURES[name] for name in names if name in FIGURES]
    return [
        {
            "figure": figure.name,
            "meaning": f"{figure.meaning}; {figure.row}" if figure.row else figure.meaning,
            "alignment": figure.alignment,
            "unit": figure.unit,
            "better": figure.better,
            "over scenes": figure.over_scenes,
        }
        for figure in chosen
    ]
