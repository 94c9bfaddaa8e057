"""Every figure and every alignment that the evaluation of videos reports, in words."""

from __future__ import annotations

from worldline.eval.figures import Figure

_ROW = "see its row"  # the alignment is a column of the table


def _figure(name: str, meaning: str, unit: str = "", better: str = "lower", alignment: str = _ROW) -> Figure:
    return Figure(name, meaning, alignment, unit, better, "mean")  # type: ignore[arg-type]


_SHARE = "share of the truly visible points"
_ALL = [
    _figure("average_jaccard", "mean over five thresholds of true positives / (truly visible + false positives);"
            " a true positive is near, visible and said to be", "", "higher"),
    _figure("average_pts_within_thresh", f"{_SHARE} that is near, mean over five thresholds (in 2D "
            "pixels, in 3D that many pixels at the point's depth)", "", "higher"),
    _figure("occlusion_accuracy", "share of the points whose visibility is right", "", "higher", "none needed"),
    _figure("apd3d", f"{_SHARE} nearer than 1, 2, 4, 8, 16 pixels at its depth, mean of five", "", "higher"),
    _figure("l1", "mean over points of |Δx| + |Δy| + |Δz|", "m"),
    _figure("abs_rel", "mean of |p - g| / g"),
    _figure("sq_rel", "mean of (p - g)² / g", "m"),
    _figure("rmse", "root of the mean of (p - g)², per sequence", "m"),
    _figure("log_rmse", "root of the mean of (ln p - ln g)², per sequence; p at least 1e-5"),
    _figure("d1", "share of the pixels with max(p / g, g / p) < 1.25", "", "higher"),
    _figure("d2", "the same, < 1.25²", "", "higher"),
    _figure("d3", "the same, < 1.25³", "", "higher"),
    _figure("abs_rel_equal", "AbsRel, every sequence counting the same; the other depth figures are "
            "weighted by valid pixels"),
    _figure("ate", "root mean square distance of the camera centres", "m"),
    _figure("rpe_translation", "root mean square error of the motion from a frame to the next", "m"),
    _figure("rpe_rotation", "the same, of its rotation", "degrees", "lower", "none needed"),
    _figure("auc30", "area under the recall of the larger of rotation and translation direction error of all pairs of "
            "frames, sign ignored, up to 30 degrees in bins of one", "", "higher", "none needed"),
    _figure("placed", "share of the frames that got a pose; the others do not count", "", "higher", "none"),
    _figure("mask_iou", "intersection over union of what is found to move and what is outlined", "", "higher"),
    _figure("mask_share", "truth, not a score: share of the outlined pixels"),
    _figure("cycle", "there and back: distance between a point and where it comes back to from another frame; pixels "
            "of 256 along the shorter side; median of points said to be visible there and back", "px"),
    _figure("cycle_worst", "its 90th percentile", "px"),
    _figure("cycle_control", "how far those points were from their first place in the other frame: what standing still "
            "in the image would be worth", "px"),
    _figure("epipolar", "distance of still points in another frame from their epipolar lines by the recovered cameras; "
            "pixels of 256; median", "px"),
    _figure("epipolar_worst", "its 90th percentile", "px"),
    _figure("epipolar_control", "the same for the place of another point", "px"),
    _figure("cameras", "one point at one moment, asked for in two cameras and brought together by the recovered poses: "
            "difference as a share of its distance; median"),
    _figure("cameras_worst", "its 90th percentile"),
    _figure("cameras_control", "the same without the poses"),
    _figure("still", "share of the pixels that are found to stand still"),
    _figure("cloud_l1", "mean over pixels of |Δx| + |Δy| + |Δz|, points of all frames in the first camera", "m"),
]  # fmt: skip

VIDEO_FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}

_TRACKS = {"average_jaccard": "AJ", "average_pts_within_thresh": "APD3D", "occlusion_accuracy": "OA"}
_DEPTH = {
    "abs_rel": "AbsRel", "abs_rel_equal": "AbsRel, equal", "d1": "δ<1.25", "d2": "δ<1.25²", "d3": "δ<1.25³",
    "rmse": "RMSE", "log_rmse": "log RMSE",
}  # fmt: skip
_POSES = {
    "ate": "ATE",
    "rpe_translation": "RPE trans",
    "rpe_rotation": "RPE rot",
    "auc30": "AUC@30",
    "placed": "placed",
}

_CONSISTENCY = {
    "cycle": "there and back", "cycle_worst": "90 %", "cycle_control": "stays", "epipolar": "epipolar",
    "epipolar_worst": "90 % ", "epipolar_control": "other point", "cameras": "two cameras", "cameras_worst": "90 %  ",
    "cameras_control": "no poses", "placed": "placed", "still": "still",
}  # fmt: skip

# Title and columns (figure -> heading) of the tables of a report, in this order; JSON has everything else as well.
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "tracks 3D": ("3D tracks in camera coordinates", _TRACKS),
    "tracks world": ("3D tracks in the camera of the first frame", {"apd3d": "APD3D", "l1": "L1"}),
    "tracks 2D": ("Tracks in the image", {**_TRACKS, "average_pts_within_thresh": "δavg"}),
    "depth": ("Depth", _DEPTH),
    "poses": ("Cameras", _POSES),
    "clouds": ("Point clouds", {"cloud_l1": "L1"}),
    "masks": ("What moves", {"mask_iou": "mask IoU", "mask_share": "outlined"}),
    "consistency": ("Consistency: nothing is compared with a truth", _CONSISTENCY),
}

ALIGNMENTS: dict[str, dict[str, str]] = {
    "tracks 3D": {
        "median": "one factor per video: median distance from the camera, true / predicted, points visible in both",
        "mean": "the same with means",
        "none": "none: metres",
        "per_trajectory": "one factor per track: ratio of depths at its query",
        "reproduce_2d": "one factor per point: ratio of depths",
        "median_on_queries": "one factor per video: as median, over the points at their queries",
        "local_neighborhood": "one factor per track, applied to all points truly within 0.05 m of it",
    },
    "tracks world": {
        "median": "one factor per video: median distance from the first camera, true / predicted, visible points",
        "none": "none: metres",
    },
    "tracks 2D": {
        "first": "none; queries at the first visible frame, later frames count",
        "strided": "none; queries at every 5th frame, all other frames count",
        "annotated": "none; every sight of an annotated point is a query, all other annotated frames count",
    },
    "depth": {
        "metric": "none: metres",
        "scale": "one scale per sequence, ten re-weighted steps towards least |s p - g|: the published S",
        "scale_exact": "one scale per sequence, the minimiser of |s p - g|",
        "scale_shift": "one scale and shift per sequence, 1000 small steps of Adam on |s p + t - g|: the published SS, "
        "not converged",
        "scale_shift_exact": "one scale and shift per sequence, the minimiser of |s p + t - g|",
        "median": "one scale per sequence: ratio of medians",
        "lstsq": "one scale and shift per sequence, least squares",
        "median_affine": "one scale and shift per sequence from medians: MegaSaM's",
    },
    "poses": {"sim3": "one similarity per sequence between the camera centres (Umeyama)"},
    "clouds": {
        "shift": "both clouds minus their mean; nothing turned or scaled",
        "shift_scale": "the same, and one scale: ratio of mean distances from the mean",
    },
    "masks": {"none": "none"},
    "consistency": {"none": "none"},
}
