"""Suites of videos with exact answers: a perfect method scores perfectly in every protocol, a spoiled one does not."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exact_video import ExactVideo
from moving_world import INSTANTS, moving_world
from worldline import worlds
from worldline.errors import InputError
from worldline.eval.video import posed_suites, track_suites
from worldline.eval.video.methods import VideoMethod
from worldline.eval.video.posed_suites import evaluate_posed
from worldline.eval.video.readers import sintel_files, tapvid3d
from worldline.eval.video.report import VideoReport
from worldline.eval.video.track_suites import Sources, evaluate_tapvid, evaluate_tapvid3d
from worldline.eval.video.tracks3d import Tracks3D
from worldline.eval.video.trajectory import Trajectory
from worldline.eval.video.trajectory_files import write_tum
from worldline.worlds.truth import query, sample_tracks
from worldline.worlds.truth.queries import Shots

HEIGHT, WIDTH = 36, 48
WORLD = moving_world(camera_step=0.15)
SHOTS = Shots.of(WORLD, height=HEIGHT, width=WIDTH)
TRACKS = sample_tracks(WORLD, 24, height=HEIGHT, width=WIDTH)
MINI = Path(__file__).parents[1] / "parity" / "data" / "video" / "metrics_tracks" / "tapvid3d_mini"


def methods(**errors: Any) -> list[VideoMethod]:
    """The exact answers, in a unit of their own, and if wanted the same with errors."""
    exact = VideoMethod("exact", lambda _: ExactVideo(WORLD, HEIGHT, WIDTH, scale=0.3))
    spoiled = VideoMethod("spoiled", lambda _: ExactVideo(WORLD, HEIGHT, WIDTH, **errors))
    return [exact, spoiled] if errors else [exact]


def true_depth() -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    time = np.arange(INSTANTS)[:, None, None]
    at = ((u + 0.5) / WIDTH, (v + 0.5) / HEIGHT, time, time, time)
    return query(WORLD, *at, height=HEIGHT, width=WIDTH).position[..., 2]


DEPTH = true_depth()


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(path)


def rows(report: VideoReport, table: str, method: str = "exact") -> dict[str, dict[str, Any]]:
    """Records of the summary by alignment."""
    return {r["alignment"]: r for r in report.summary() if (r["table"], r["method"]) == (table, method)}


# --- tracks --------------------------------------------------------------------------------------------------------


def write_clip(path: Path, *, still: bool = False) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(buffer, "JPEG")
    matrix = SHOTS.matrix[0]
    lens = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5])
    tapvid3d.write_clip(path, tapvid3d.Clip(
        path.stem, np.array([buffer.getvalue()] * INSTANTS), TRACKS.queries + np.array([0.5, 0.5, 0]),
        Tracks3D(TRACKS.position, TRACKS.visible), lens, None if still else np.linalg.inv(SHOTS.world_from_cam),
    ))  # fmt: skip


def test_exact_answers_are_perfect_3d_tracks(tmp_path: Path) -> None:
    write_clip(tmp_path / "data" / "adt" / "a.npz")
    write_clip(tmp_path / "data" / "pstudio" / "b.npz", still=True)
    sources = Sources(methods(noise=0.05, outliers=0.3), keep=tmp_path / "kept")
    report = evaluate_tapvid3d(tmp_path / "data", sources, scalings=("median", "none"), world=True)
    assert not report.notes
    found = rows(report, "tracks 3D")
    assert found["median"]["average_jaccard"] == found["median"]["average_pts_within_thresh"] == 1
    assert found["median"]["occlusion_accuracy"] == 1 and found["median"]["set"] == "mean of 2"
    assert found["none"]["average_jaccard"] < 0.1  # its unit is not the metre
    assert rows(report, "tracks 3D", "spoiled")["median"]["average_jaccard"] < 0.8
    world = [s for s in report.scores if s.table == "tracks world" and s.method == "exact"]
    assert [s.video for s in world] == ["a"]  # the other one has no cameras
    assert world[0].figures["apd3d"] == 1 and world[0].figures["l1"] < 1e-5

    again = evaluate_tapvid3d(tmp_path / "data", Sources(predictions=tmp_path / "kept" / "spoiled"))
    kept = [s.figures for s in report.scores if (s.table, s.method, s.alignment) == ("tracks 3D", "spoiled", "median")]
    assert [s.figures for s in again.scores] == kept


def test_clips_of_procedural_worlds_are_clips_of_the_benchmark(tmp_path: Path) -> None:
    (path,) = worlds.write("dynamic", 1, tmp_path, format="tapvid3d", views=3, height=36, width=48, tracks=40)
    world = worlds.describe("dynamic", int(path.stem.split("_")[1]), views=3, shooting="video")
    report = evaluate_tapvid3d(tmp_path, Sources([VideoMethod("exact", lambda _: ExactVideo(world, 36, 48))]))
    assert rows(report, "tracks 3D")["median"]["average_jaccard"] == 1


def test_known_intrinsics_mend_a_wrong_lens(tmp_path: Path) -> None:
    """A method that takes the lens to be another one: x and y wrong by a factor, depth and image coordinates right."""

    class OtherLens(ExactVideo):
        def query(self, *parts: Any) -> Any:
            answers = super().query(*parts)
            answers.points[..., :2] *= 1.5
            return answers

    write_clip(tmp_path / "a.npz")
    method = VideoMethod("exact", lambda _: OtherLens(WORLD, HEIGHT, WIDTH))
    plain, mended = (
        rows(evaluate_tapvid3d(tmp_path, Sources([method]), known_intrinsics=known), "tracks 3D")["median"]
        for known in (False, True)
    )
    assert plain["average_pts_within_thresh"] < 0.7 and mended["average_pts_within_thresh"] == 1


def test_predictions_on_disk_score_as_the_benchmark_scores_them() -> None:
    expected = json.loads((MINI / "expected.json").read_text(encoding="utf-8"))
    report = evaluate_tapvid3d(MINI / "gt", Sources(predictions=MINI / "pred"), scalings=("median", "mean", "none"))
    for score in report.scores:
        assert dict(score.figures) == pytest.approx(
            expected["per_video"][f"{score.video}.npz"][score.alignment], rel=1e-9
        )
    for scaling, record in rows(report, "tracks 3D", "predictions").items():
        found = {name: record[name] for name in expected["average"][scaling]}
        assert found == pytest.approx(expected["average"][scaling], rel=1e-9)


def test_predictions_that_cannot_be_used_count_as_zero_and_are_named(tmp_path: Path) -> None:
    found = tapvid3d.read_prediction(MINI / "pred" / "video_0.npz")
    tapvid3d.write_prediction(tmp_path / "video_0.npz", found.points[:, :-1], found.visible[:, :-1])
    report = evaluate_tapvid3d(MINI / "gt", Sources(predictions=tmp_path))
    assert all(value == 0 for score in report.scores for value in score.figures.values())
    assert len(report.notes) == 2 and "video_0 counts as 0" in report.notes[0] and "video_1" in report.notes[1]
    assert "counts as 0" in report.as_markdown()


def write_pickle(path: Path) -> None:
    entry = {
        "video": np.full((INSTANTS, HEIGHT, WIDTH, 3), 90, np.uint8),
        "points": ((TRACKS.pixel + 0.5) / (WIDTH, HEIGHT)).swapaxes(0, 1).astype(np.float32),
        "occluded": ~TRACKS.visible.T,
    }
    path.write_bytes(pickle.dumps({"walk": entry}))


def test_exact_answers_are_perfect_2d_tracks(tmp_path: Path) -> None:
    write_pickle(tmp_path / "davis.pkl")
    sources = Sources(methods(uv_noise=0.02), keep=tmp_path / "kept")
    report = evaluate_tapvid(tmp_path, sources, modes=("first", "strided"))
    for mode in ("first", "strided"):
        assert rows(report, "tracks 2D")[mode]["average_jaccard"] > 0.97  # a point at an edge may be missed
        assert rows(report, "tracks 2D", "spoiled")[mode]["average_jaccard"] < 0.8
    again = evaluate_tapvid(tmp_path, Sources(predictions=tmp_path / "kept" / "spoiled"), modes=("first", "strided"))
    kept = {s.alignment: dict(s.figures) for s in report.scores if s.method == "spoiled"}
    assert {s.alignment: pytest.approx(dict(s.figures), abs=1e-6) for s in again.scores} == kept
    missing = evaluate_tapvid(tmp_path, Sources(predictions=tmp_path))
    assert missing.scores[0].figures["average_jaccard"] == 0 and "counts as 0" in missing.notes[0]


# --- depth, cameras, clouds ----------------------------------------------------------------------------------------


def write_sintel(root: Path) -> None:
    for index in range(INSTANTS):
        stem = f"frame_{index + 1:04d}"
        photo(root / "training" / "final" / "alley_2" / f"{stem}.png")
        sintel_files.write_dpt(root / "training" / "depth" / "alley_2" / f"{stem}.dpt", DEPTH[index])
        cam = np.linalg.inv(SHOTS.world_from_cam[index])
        sintel_files.write_cam(root / "training" / "camdata_left" / "alley_2" / f"{stem}.cam", SHOTS.matrix[index], cam)


def write_depth(path: Path, depth: np.ndarray, per_metre: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth * per_metre).astype(np.uint16)).save(path)


def write_scannet(root: Path) -> None:
    for index in range(INSTANTS):
        photo(root / "scene0707_00" / "color_90" / f"{index}.png")
        write_depth(root / "scene0707_00" / "depth_90" / f"{index}.png", DEPTH[index], 1000)
    np.savetxt(root / "scene0707_00" / "pose_90.txt", SHOTS.world_from_cam.reshape(INSTANTS, 16))
    (root / "scene0707_00" / "intrinsic").mkdir()
    lens = np.eye(4)
    lens[:3, :3] = SHOTS.matrix[0]
    np.savetxt(root / "scene0707_00" / "intrinsic" / "intrinsic_depth.txt", lens)


def write_kitti(root: Path) -> None:
    for index in range(INSTANTS):
        photo(root / "drive_sync" / "image_02" / "data" / f"{index:010d}.png")
        truth = root / "val" / "drive_sync" / "proj_depth" / "groundtruth" / "image_02" / f"{index:010d}.png"
        write_depth(truth, DEPTH[index], 256)


def write_bonn(root: Path) -> None:
    folder = root / "rgbd_bonn_crowd2"
    for index in range(INSTANTS):
        photo(folder / "rgb_110" / f"{index}.png")
        write_depth(folder / "depth_110" / f"{index}.png", DEPTH[index], 5000)
    write_tum(folder / "groundtruth_110.txt", Trajectory(np.arange(float(INSTANTS)), SHOTS.world_from_cam))


def write_tum_sequence(root: Path) -> None:
    for index in range(3 * INSTANTS):
        photo(root / "walking" / "rgb" / f"{index / 30:.6f}.png")
    every = np.repeat(SHOTS.world_from_cam, 3, axis=0)
    write_tum(root / "walking" / "groundtruth.txt", Trajectory(np.arange(3 * INSTANTS) / 30, every))


WRITERS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "sintel": (write_sintel, {"depth", "poses", "clouds"}),
    "scannet": (write_scannet, {"depth", "poses", "clouds"}),
    "kitti": (write_kitti, {"depth"}),
    "bonn": (write_bonn, {"depth"}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_exact_answers_are_perfect_depth_cameras_and_clouds(name: str, tmp_path: Path) -> None:
    write, tables = WRITERS[name]
    write(tmp_path / "data")
    sources = Sources(methods(noise=0.03), keep=tmp_path / "kept")
    report = evaluate_posed(name, tmp_path / "data", sources)
    assert {score.table for score in report.scores} == tables and not report.notes
    for alignment, found in rows(report, "depth").items():
        assert found["abs_rel"] < 2e-3 and found["d1"] == 1, alignment  # what rounding of the PNG leaves
        assert rows(report, "depth", "spoiled")[alignment]["abs_rel"] > 0.01
    if "poses" in tables:
        exact, spoiled = (rows(report, "poses", method)["sim3"] for method in ("exact", "spoiled"))
        assert exact["ate"] < 1e-4 and exact["rpe_translation"] < 1e-4 and exact["rpe_rotation"] < 1e-3
        assert exact["placed"] == 1 and exact["auc30"] == 1 and spoiled["rpe_rotation"] > 0.01
    if "clouds" in tables:
        assert rows(report, "clouds")["shift_scale"]["cloud_l1"] < 5e-3 < rows(report, "clouds")["shift"]["cloud_l1"]
        assert rows(report, "clouds", "spoiled")["shift_scale"]["cloud_l1"] > 0.05
    again = evaluate_posed(name, tmp_path / "data", Sources(predictions=tmp_path / "kept" / "exact"))
    kept = [dict(s.figures) for s in report.scores if s.method == "exact"]
    assert [pytest.approx(dict(s.figures), nan_ok=True) for s in again.scores] == kept


def test_a_cloud_that_is_not_finite_costs_only_itself(tmp_path: Path) -> None:
    write_scannet(tmp_path / "data")
    kept = tmp_path / "kept" / "exact"
    evaluate_posed("scannet", tmp_path / "data", Sources(methods(), keep=tmp_path / "kept"))
    path = next(kept.glob("*.npz"))
    whole = posed_suites.read_prediction(path)
    assert whole.cloud is not None
    posed_suites.write_prediction(path, replace(whole, cloud=np.full_like(whole.cloud, np.nan)))
    report = evaluate_posed("scannet", tmp_path / "data", Sources(predictions=kept))
    assert {score.table for score in report.scores} == {"depth", "poses"}
    assert [note.split(":")[0] for note in report.notes] == [
        f"{path.stem} is not in the means of predictions, clouds, {alignment}" for alignment in ("shift", "shift_scale")
    ]
    posed_suites.write_prediction(path, replace(whole, cloud=whole.cloud[1:]))
    with pytest.raises(InputError, match=r"has 5 frames, its cloud is \(4, "):
        evaluate_posed("scannet", tmp_path / "data", Sources(predictions=kept))


def test_cameras_alone(tmp_path: Path) -> None:
    write_tum_sequence(tmp_path)
    report = evaluate_posed("tum", tmp_path, Sources(methods()))
    assert [score.table for score in report.scores] == ["poses"]
    assert report.scores[0].figures["ate"] < 1e-4


def test_a_still_camera_and_frames_without_a_pose_are_said(tmp_path: Path) -> None:
    write_scannet(tmp_path)
    video = posed_suites.SUITES["scannet"].read(tmp_path)[0]
    still, notes = np.tile(np.eye(4), (INSTANTS, 1, 1)), []
    score = posed_suites._score_poses(("s", "still", "m"), still, video.world_from_cam, notes)[0]
    assert np.isnan(score.figures["ate"]) and "stands still" in notes[0]
    lost = video.world_from_cam.copy()
    lost[1:] = np.nan
    score = posed_suites._score_poses(("s", "lost", "m"), video.world_from_cam, lost, notes)[0]
    assert score.figures == {"placed": 1 / INSTANTS} and "fewer than two" in notes[1]
    lost = video.world_from_cam.copy()
    lost[2] = np.nan
    score = posed_suites._score_poses(("s", "gap", "m"), video.world_from_cam, lost, notes)[0]
    assert score.figures["placed"] == 0.8 and score.figures["ate"] < 1e-6


def test_means_are_weighted_by_pixels_and_undefined_figures_left_out() -> None:
    report = VideoReport({})
    for video, value, pixels in (("a", 0.1, 100.0), ("b", 0.4, 300.0)):
        report.scores.append(track_suites.Score("depth", "s", video, "m", "scale", {"abs_rel": value}, pixels))
    report.scores.append(track_suites.Score("poses", "s", "a", "m", "sim3", {"ate": np.nan}))
    depth, poses = report.summary()
    assert depth["abs_rel"] == pytest.approx(0.325) and depth["abs_rel_equal"] == pytest.approx(0.25)
    assert np.isnan(poses["ate"]) and "–" in report.as_markdown()


def test_mistakes_are_named(tmp_path: Path) -> None:
    write_scannet(tmp_path)
    with pytest.raises(InputError, match=r"scene0707_00\.npz cannot be read"):
        evaluate_posed("scannet", tmp_path, Sources(predictions=tmp_path))
    with pytest.raises(InputError, match="no sequence of Sintel"):
        evaluate_posed("sintel", tmp_path, Sources(methods()))
    with pytest.raises(InputError, match="Unknown scaling"):
        evaluate_tapvid3d(tmp_path, Sources(methods()), scalings=("best",))
    with pytest.raises(InputError, match="nothing to score"):
        Sources()
