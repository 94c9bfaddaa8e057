"""Checks without truth: exact answers fit together exactly, broken ones do not, and controls tell the trivial."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exact_video import ExactVideo
from moving_world import INSTANTS, moving_world
from worldline.errors import InputError
from worldline.eval.video.consistency import Check, ConsistencyOptions, check_consistency, frame_pairs
from worldline.eval.video.methods import VideoMethod
from worldline.eval.video.report import VideoReport
from worldline.eval.video.stay import StayVideo
from worldline.eval.video.unposed import evaluate_clips, find_clips
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.cameras import estimate_cameras
from worldline.worlds.truth import query
from worldline.worlds.truth.queries import Shots

HEIGHT, WIDTH = 36, 48
WORLD = moving_world(camera_step=0.15)
FEW = ConsistencyOptions(grid=8, pairs=12)


class Broken(ExactVideo):
    """Exact answers but for one field, which depends on the camera or the times in a way it must not."""

    def __init__(self, what: str) -> None:
        super().__init__(WORLD, HEIGHT, WIDTH)
        self.what = what

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        exact = super().query(u, v, t_src, t_tgt, t_cam)
        forward = np.broadcast_to(np.sign(np.asarray(t_tgt) - np.asarray(t_src)), exact.visibility.shape)[..., None]
        if self.what == "uv":
            return replace(exact, uv=exact.uv + (0.02 * np.abs(forward)).astype(np.float32))
        return replace(exact, points=exact.points * (1 + 0.1 * forward).astype(np.float32))  # right where cameras ask


def test_exact_answers_fit_together() -> None:
    found = check_consistency(ExactVideo(WORLD, HEIGHT, WIDTH, scale=0.3), FEW)
    for name, largest in (("cycle", 1e-3), ("epipolar", 1e-2), ("cameras", 1e-5)):
        check: Check = getattr(found, name)
        assert check.median < largest < 0.02 * check.control, name
        assert check.points > 50
        assert check.median <= check.worst
    assert found.placed == 1
    assert 0.5 < found.still < 1


def test_places_that_do_not_fit_are_seen() -> None:
    found = check_consistency(Broken("uv"), FEW)
    assert found.cycle.median == pytest.approx(2 * 0.02 * np.hypot(1, 4 / 3) * 256, rel=0.05)  # once each way
    assert found.epipolar.median > 1
    assert found.cameras.median < 1e-5


def test_points_that_do_not_fit_are_seen() -> None:
    found = check_consistency(Broken("points"), FEW)
    assert found.cycle.median < 1e-3
    assert 5e-3 < found.cameras.median < 0.1


def test_wrong_cameras_are_seen() -> None:
    video = ExactVideo(WORLD, HEIGHT, WIDTH)
    right = estimate_cameras(video)
    poses = right.world_from_cam.copy()
    poses[2:, 1, 3] += 0.3
    wrong = check_consistency(video, FEW, cameras=replace(right, world_from_cam=poses))
    assert wrong.epipolar.worst > 5
    assert wrong.cameras.worst > 0.03
    assert wrong.cycle.median < 1e-3  # no cameras in it
    poses[1:] = np.nan
    lost = check_consistency(video, FEW, cameras=replace(right, world_from_cam=poses))
    assert lost.placed == pytest.approx(1 / INSTANTS)
    assert np.isnan(lost.epipolar.median) and lost.epipolar.points == 0


def test_the_trivial_answer_is_no_better_than_its_controls() -> None:
    found = check_consistency(StayVideo(5, (HEIGHT, WIDTH)), FEW)
    assert found.cycle.median == found.cycle.control == pytest.approx(0, abs=1e-3)
    assert found.cameras.median == found.cameras.control == 0
    assert np.isnan(found.epipolar.median)  # cameras in one place have no epipolar lines


def test_pairs_are_different_frames_of_all_distances() -> None:
    source, target = frame_pairs(6, ConsistencyOptions(pairs=400))
    assert (source != target).all() and min(source.min(), target.min()) == 0 and max(source.max(), target.max()) == 5
    counts = np.bincount(np.abs(source - target), minlength=6)[1:]
    assert counts.min() > 50
    assert 0.4 < (source > target).mean() < 0.6
    with pytest.raises(InputError, match="single frame"):
        check_consistency(StayVideo(1, (4, 4)))
    with pytest.raises(InputError, match="too few"):
        ConsistencyOptions(pairs=0)


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A folder as our own layout has it: photos without cameras, points that were followed by hand, masks."""
    folder = tmp_path / "set" / "boxes"
    (folder / "mask").mkdir(parents=True)
    shots, frames = Shots.of(WORLD, height=HEIGHT, width=WIDTH), np.arange(INSTANTS)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    for frame in frames:
        time = np.full((), frame)
        body = query(WORLD, (u + 0.5) / WIDTH, (v + 0.5) / HEIGHT, time, time, time, height=HEIGHT, width=WIDTH).body
        Image.fromarray(np.uint8(255) * (body > 0)).save(folder / "mask" / f"{frame}.png")
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(folder / f"{frame}.png")
    starts = [(12, 20), (20, 18), (30, 22)]
    found = query(
        WORLD, *[np.array([s[a] + 0.5 for s in starts])[:, None] / (WIDTH, HEIGHT)[a] for a in (0, 1)],
        np.zeros((1, 1), int), frames, frames, height=HEIGHT, width=WIDTH,
    )  # fmt: skip
    points = {
        "frames": frames.tolist(), "xy": shots.pixel(found.uv).swapaxes(0, 1).tolist(),
        "visible": found.visible.T.tolist(),
    }  # fmt: skip
    (folder / "tracks.json").write_text(json.dumps(points))
    listed = [{"image": f"{n}.png", "width": WIDTH, "height": HEIGHT, "mask": f"mask/{n}.png"} for n in frames]
    (folder / "scene.json").write_text(json.dumps({"frames": listed, "tracks2d": "tracks.json"}))
    return tmp_path / "set"


def test_annotated_points_and_masks(annotated: Path, tmp_path: Path) -> None:
    methods = [
        VideoMethod("exact", lambda _: ExactVideo(WORLD, HEIGHT, WIDTH)),
        VideoMethod("stay", lambda frames: StayVideo(len(frames), frames.shape[1:3])),
    ]
    report = VideoReport({})
    report.scores += evaluate_clips(find_clips(annotated), methods, consistency=True)
    scores = {(score.method, score.table): score.figures for score in report.scores}
    assert scores["exact", "tracks 2D"]["average_pts_within_thresh"] == 1
    assert scores["exact", "tracks 2D"]["average_jaccard"] == 1
    assert scores["stay", "tracks 2D"]["average_pts_within_thresh"] < 0.9
    assert scores["exact", "masks"]["mask_iou"] > 0.6  # a box that turns in place moves little at its axis
    assert scores["stay", "masks"]["mask_iou"] == 0
    assert scores["exact", "consistency"]["cycle"] < 1e-2 < scores["exact", "consistency"]["cycle_control"]
    page = report.write(tmp_path / "video.json")[1].read_text(encoding="utf-8")
    assert "nothing is compared with a truth" in page and "annotated" in page
    assert find_clips(annotated, only=["nowhere"]) == []
    assert len(find_clips(annotated, step=2)[0].images()) == 3
