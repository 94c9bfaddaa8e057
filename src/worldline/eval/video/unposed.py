"""Videos without measured cameras: points and masks drawn by hand, and checks that need no truth at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.eval.readers import find_sequences, read_sequence
from worldline.eval.video.consistency import Consistency, check_consistency
from worldline.eval.video.methods import VideoMethod, find_tracks
from worldline.eval.video.readers.posed_video import PosedVideo
from worldline.eval.video.report import Score
from worldline.eval.video.track_suites import Progress
from worldline.eval.video.tracks2d import Tracks2D, at_256, score_tracks_2d
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.dynamic import find_dynamic

ANNOTATED = "annotated"
_MASK_SIDE = 64  # cells along the longer side of a frame
_MASKS = 8  # frames of a video whose masks are looked at


@dataclass(frozen=True, eq=False)
class AnnotatedVideo:
    """Frames of a video, and what somebody has drawn into them. Frame numbers count the frames that were taken."""

    name: str
    images: Callable[[], UInt8[np.ndarray, "t h w 3"]]
    joints: Float64[np.ndarray, "k n 2"] | None = None  # x, y in pixels, centres at integers
    joint_frames: Int64[np.ndarray, "k"] | None = None
    joint_seen: Bool[np.ndarray, "k n"] | None = None
    masks: tuple[Path | None, ...] = ()  # per frame: white where the thing is that moves


def find_clips(
    folder: Path, *, only: Sequence[str] = (), step: int = 1, most: int | None = None
) -> list[AnnotatedVideo]:
    """Every sequence at or below a folder, whatever is known of it; or one video file, or folder of frames.

    Args:
        only: take those whose path contains one of these.
        step, most: take every so-manieth frame, and at most so many.

    Raises:
        InputError: nothing that can be read as a video.
    """
    chosen = slice(0, None if most is None else step * most, step)
    places = [] if folder.is_file() else find_sequences(folder)
    kept = [place for place in places if not only or any(part in str(place) for part in only)]
    if places:
        return [_clip(place, chosen) for place in kept]
    return [AnnotatedVideo(folder.stem, lambda: _footage(folder, chosen))]


def evaluate_clips(
    clips: Sequence[AnnotatedVideo], methods: Sequence[VideoMethod], *, consistency: bool, set_name: str = "video",
    notes: list[str] | None = None, progress: Progress = lambda *_: None,
) -> list[Score]:  # fmt: skip
    """Scores of all that has annotations, and if wanted the checks that need none, of all.

    Raises:
        InputError: a clip that cannot be read, unless ``notes`` takes a sentence about it.
    """
    scores: list[Score] = []
    for done, clip in enumerate(clips):
        progress(done, len(clips), clip.name)
        if not consistency and clip.joints is None and not any(clip.masks):
            continue
        try:
            frames = clip.images()
            for method in methods:
                scores += _score(clip, method.name, method.encode(frames), set_name, consistency=consistency)
        except InputError as error:
            if notes is None or len(clips) == 1:
                raise
            notes.append(f"left out: {clip.name}: {error.cause}")
    return scores


def _score(
    clip: AnnotatedVideo, method: str, video: AnswersQueries, set_name: str, *, consistency: bool
) -> list[Score]:
    place, scores = (set_name, clip.name, method), []
    if clip.joints is not None:
        scores.append(Score("tracks 2D", *place, ANNOTATED, score_joints(clip, video)))
    if any(clip.masks):
        scores.append(Score("masks", *place, "none", score_masks(clip, video)))
    if consistency:
        scores.append(Score("consistency", *place, "none", consistency_figures(check_consistency(video))))
    return scores


def consistency_figures(found: Consistency) -> dict[str, float]:
    """Flat figures of a report: ``cycle``, ``cycle_worst``, ``cycle_control``, and so on."""
    figures = {"placed": found.placed, "still": found.still}
    for name in ("cycle", "epipolar", "cameras"):
        check = asdict(getattr(found, name))
        figures |= {name: check["median"], f"{name}_worst": check["worst"], f"{name}_control": check["control"],
                    f"{name}_share": check["points"] / max(1, check["asked"])}  # fmt: skip
    return figures


def score_joints(clip: AnnotatedVideo, video: AnswersQueries) -> dict[str, float]:
    """AJ, δavg and OA of TAP-Vid: every annotated sight of a point is a query, the other annotated frames count."""
    assert clip.joints is not None and clip.joint_frames is not None and clip.joint_seen is not None
    height, width = video.original_size
    row, point = np.nonzero(clip.joint_seen)
    place = np.clip((clip.joints[row, point] + 0.5) / (width, height), 0, 1)
    frames = clip.joint_frames
    tracks = find_tracks(video, np.column_stack([place, frames[row]]))
    found = at_256(tracks.uv[frames] * (width, height), height, width).swapaxes(0, 1)
    true = at_256(clip.joints[:, point] + 0.5, height, width).swapaxes(0, 1)
    queries = np.column_stack([row, clip.joints[row, point][:, ::-1]])
    seen = clip.joint_seen[:, point].T
    scores = score_tracks_2d(
        Tracks2D(np.nan_to_num(found, nan=-1e6), tracks.visible[frames].T), Tracks2D(true, seen), queries, "strided"
    )
    return {
        "average_jaccard": float(scores.average_jaccard),
        "average_pts_within_thresh": float(scores.average_within),
        "occlusion_accuracy": float(scores.occlusion_accuracy),
    }


def score_masks(clip: AnnotatedVideo, video: AnswersQueries) -> dict[str, float]:
    """Intersection over union of what is found to move with the masks, over some frames together."""
    having = [frame for frame, path in enumerate(clip.masks) if path is not None]
    frames = [having[int(i)] for i in np.linspace(0, len(having) - 1, min(_MASKS, len(having)))]
    height, width = video.original_size
    factor = min(1.0, _MASK_SIDE / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    found = find_dynamic(video, frames=frames, size=size).mask
    true = np.stack([_read_mask(clip.masks[frame], size) for frame in frames])
    both, either = float((found & true).sum()), float((found | true).sum())
    return {"mask_iou": both / max(1.0, either), "mask_share": float(true.mean())}


def _read_mask(path: Path | None, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    assert path is not None
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(size[::-1], Image.Resampling.BOX)) > 127


def _clip(place: Path, chosen: slice) -> AnnotatedVideo:
    """A sequence as a clip; of our own layout also without cameras, with annotations."""
    name = f"{place.parent.name}_{place.name}"
    if not (place / "scene.json").is_file():
        return AnnotatedVideo(name, lambda: PosedVideo(name, read_sequence(place).images[chosen]).frames())
    content: dict[str, Any] = json.loads((place / "scene.json").read_text(encoding="utf-8"))
    count = len(content["frames"])
    frames = content["frames"][chosen]
    masks = tuple(place / frame["mask"] if frame.get("mask") else None for frame in frames)
    images = tuple(place / frame["image"] for frame in frames)
    read = PosedVideo(name, images).frames
    if "tracks2d" not in content:
        return AnnotatedVideo(name, read, masks=masks)
    joints = json.loads((place / content["tracks2d"]).read_text(encoding="utf-8"))
    number = {frame: row for row, frame in enumerate(range(count)[chosen])}
    rows = [row for row, frame in enumerate(joints["frames"]) if frame in number]
    if len(rows) < 2:
        return AnnotatedVideo(name, read, masks=masks)
    taken = np.array([number[joints["frames"][row]] for row in rows])
    xy, seen = np.array(joints["xy"], np.float64)[rows], np.array(joints["visible"], bool)[rows]
    return AnnotatedVideo(name, read, xy, taken, seen, masks)


def _footage(path: Path, chosen: slice) -> UInt8[np.ndarray, "t h w 3"]:
    from worldline.pipeline.video.frames import open_footage

    return np.stack(list(islice(open_footage(path).frames(), chosen.start, chosen.stop, chosen.step)))
