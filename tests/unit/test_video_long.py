"""A long video answers as a short one: in one unit and frame, across windows, and says where it cannot."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from exact_video import ExactVideo
from video_parts import Part
from worldline.errors import InputError, MemoryPlanError
from worldline.geometry import Similarity
from worldline.pipeline.video.elsewhere import Elsewhere
from worldline.pipeline.video.windows import LongVideo
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.cameras import CameraOptions
from worldline.scene.video.long_occupancy import AllPixels
from worldline.scene.video.occupancy import AllTracksOptions, all_tracks
from worldline.scene.video.relay import LEAST_CONFIDENCE, TRACK_BYTES, Relay
from worldline.scene.video.windows import Window, WindowOptions, plan_windows
from worldline.worlds.sampling import TEST_SEEDS, describe

SIZE = HEIGHT, WIDTH = (18, 24)
COUNT, WINDOW, OVERLAP = 11, 5, 2
LAST = COUNT - 1
SCALES = (1.0, 0.4, 2.5)
OPTIONS = WindowOptions(overlap=OVERLAP, grid=8)


@pytest.fixture(scope="module")
def exact() -> ExactVideo:
    return ExactVideo(describe("dynamic", TEST_SEEDS[3], views=COUNT, shooting="walk", speed=0.5), *SIZE)


def cut(exact: ExactVideo, *, blind: int | None = None, options: WindowOptions = OPTIONS) -> LongVideo:
    scales = iter(range(100))
    order: dict[Window, int] = {}

    def open_window(window: Window) -> Part:
        number = order.setdefault(window, next(scales) if window not in order else 0)
        return Part(exact, window.start, window.stop, SCALES[number % len(SCALES)], number == blind)

    return LongVideo(open_window, exact.frame_count, exact.original_size, WINDOW, options)


@pytest.fixture(scope="module")
def long(exact: ExactVideo) -> LongVideo:
    return cut(exact)


def test_windows_are_encoded_one_after_the_other_and_joined(long: LongVideo) -> None:
    assert [(each.start, each.stop) for each in long.windows] == [(0, 5), (3, 8), (6, 11)]
    seams = long.seams
    assert long.encoded == 3 and len(seams) == 2
    long.seams  # noqa: B018
    assert long.encoded == 3
    for number, (seam, scale) in enumerate(zip(seams, SCALES[1:], strict=True)):
        assert seam.failure is None and seam.error < 1e-5
        assert float(long.placement(number + 1)[0].scale) == pytest.approx(SCALES[0] / scale, rel=1e-4)
    assert len(long.warnings) == 1 and "3 windows were joined" in long.warnings[0]


def random_queries(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    times = rng.integers(0, COUNT, (3, count))
    return [*rng.uniform(0.05, 0.95, (2, count)), *times]


def test_queries_within_a_window_are_in_the_unit_of_the_whole(exact: ExactVideo, long: LongVideo) -> None:
    u, v, src, tgt, cam = random_queries(200)
    src, tgt, cam = src // 3 + 6, tgt // 3 + 7, cam // 3 + 7  # all of them in the last window
    truth, found = exact.query(u, v, src, tgt, cam), long.query(u, v, src, tgt, cam)
    for name in ("points", "motion", "normal", "uv", "visibility", "confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), atol=2e-3, err_msg=name)
    assert long.query(0.5, 0.5, 3, 3, 3).points.shape == (3,)


def test_queries_across_windows_are_handed_over_or_admit_that_they_are_lost(exact: ExactVideo, long: LongVideo) -> None:
    u, v, src, tgt, cam = random_queries(300, 1)
    truth, found = exact.query(u, v, src, tgt, cam), long.query(u, v, src, tgt, cam)
    known = found.confidence > 1e-3
    far = np.abs(src - tgt) >= WINDOW
    assert 0.2 < known[far].mean() < 1.0
    assert not found.visible[~known].any() and not found.points[~known].any()
    error = np.linalg.norm(found.points - truth.points, axis=-1)[known]
    distance = np.linalg.norm(truth.points, axis=-1)[known]
    assert np.median(error / distance) < 1e-3 and np.mean(error < 0.05 * distance) > 0.95
    moved = np.linalg.norm(found.motion - truth.motion, axis=-1)[known]
    assert np.mean(moved < 0.05 * distance) > 0.95
    turned = (found.normal * truth.normal).sum(-1)[known]
    assert np.mean(turned > 0.99) > 0.9
    seen = (far & known) & (found.visible == truth.visible)
    assert seen.sum() > 0.9 * (far & known).sum()


def test_answers_do_not_depend_on_the_company(long: LongVideo) -> None:
    queries = random_queries(60, 2)
    together = long.query(*queries)
    order = np.random.default_rng(0).permutation(60)[:20]
    some = long.query(*(part[order] for part in queries))
    for name in ("points", "uv", "visibility", "confidence"):
        np.testing.assert_allclose(getattr(some, name), getattr(together, name)[order], atol=1e-5)


@pytest.mark.parametrize("frame", ["camera", "world"])
def test_tracks_go_through_all_windows(exact: ExactVideo, long: LongVideo, frame: str) -> None:
    starts = np.array([[x, y, t] for t in (0, 6, LAST) for x in (5.0, 11.0, 19.0) for y in (6.0, 10.0, 15.0)])
    found = long.tracks(starts, frame=frame)  # type: ignore[arg-type]
    every = np.arange(COUNT)
    u, v = ((starts[:, :2] + 0.5) / SIZE[::-1]).T[..., None]
    truth = exact.query(u, v, starts[:, 2:].astype(int), every, every if frame == "camera" else np.int64(0))
    assert found.points.shape == (27, COUNT, 3) and found.camera == (None if frame == "camera" else 0)
    here = found.known[np.arange(27), starts[:, 2].astype(int)]
    assert here.all()
    assert found.known.mean() > 0.5 and found.handed.max() >= 2
    error = np.linalg.norm(found.points - truth.points, axis=-1) / np.linalg.norm(truth.points, axis=-1).clip(0.1)
    assert np.mean(error[found.known] < 0.02) > 0.97
    shown = found.known & truth.visible & found.visible
    assert np.abs(found.pixels - (truth.uv * SIZE[::-1] - 0.5))[shown].max() < 1.0
    assert not found.visible[~found.known].any() and (found.points[~found.known] == 0).all()


def test_a_track_that_a_whole_overlap_hides_is_lost_for_good(exact: ExactVideo, long: LongVideo) -> None:
    found = long.tracks("grid:8")
    every = np.arange(COUNT)
    u, v = ((found.queries[:, :2] + 0.5) / SIZE[::-1]).T[..., None]
    seen = exact.query(u, v, np.int64(0), every, every).visible
    overlaps = [(3, 5), (6, 8)]
    lost = np.zeros(64, bool)
    for number, (start, stop) in enumerate(overlaps):
        now_lost = lost | ~seen[:, start:stop].any(1)
        after = long.windows[number].stop
        certain = now_lost == (lost | ~found.visible[:, start:stop].any(1))  # round-off at edges aside
        assert not found.known[now_lost & certain, after:].any()
        assert found.known[~now_lost & certain, after : after + 1].mean() > 0.95
        lost = now_lost
    assert 0 < lost.sum() < 64


def test_depth_cameras_and_cloud_are_those_of_the_whole_video(exact: ExactVideo, long: LongVideo) -> None:
    maps = long.depth(frames=[LAST, 0, 7], size=SIZE)
    u, v = np.meshgrid((np.arange(WIDTH) + 0.5) / WIDTH, (np.arange(HEIGHT) + 0.5) / HEIGHT)
    time = np.array([LAST, 0, 7])[:, None, None]
    truth = exact.query(u, v, time, time, time).points[..., 2]
    assert maps.frames.tolist() == [LAST, 0, 7]
    np.testing.assert_allclose(maps.depth, truth, rtol=1e-3, atol=1e-3)
    cameras = long.cameras()
    poses = exact.world.cameras.world_from_cam
    relative = np.linalg.inv(poses[0]) @ poses
    np.testing.assert_allclose(cameras.world_from_cam, relative, atol=5e-3)
    assert cameras.status == ("estimated",) * COUNT
    before = long.encoded
    assert long.cameras() is cameras and long.encoded == before
    assert long.cameras(CameraOptions(references="chain")) is not cameras
    cloud = long.point_cloud(frames=[1, 9], camera=9, size=(6, 8))
    assert set(cloud.frames.tolist()) == {1, 9} and cloud.camera == 9
    there = cloud.frames == 9
    again = exact.query(*cloud.uv[there].T, 9, 9, 9).points
    np.testing.assert_allclose(cloud.points[there], again, atol=0.02)


def test_the_scene_has_every_frame_once_in_one_frame_and_unit(exact: ExactVideo) -> None:
    video = cut(exact)
    scene = video.scene(tracks="grid:5")
    assert video.encoded == 3  # one pass
    assert [view.name for view in scene.views] == [f"frame_{index:06d}" for index in range(COUNT)]
    poses = exact.world.cameras.world_from_cam
    found = np.stack([view.camera.world_from_cam for view in scene.views])
    np.testing.assert_allclose(found, np.linalg.inv(poses[0]) @ poses, atol=5e-3)
    for view in (scene.views[0], scene.views[LAST]):
        pixels, depth = view.model_camera.project(view.points[view.mask])
        rows, columns = np.nonzero(view.mask)
        np.testing.assert_allclose(pixels, np.stack([columns, rows], -1), atol=0.02)
        np.testing.assert_allclose(depth, view.depth[view.mask], rtol=1e-4)
    assert scene.tracks is not None and scene.tracks.visible.any()
    track, frame = np.nonzero(scene.tracks.visible)
    for number in np.unique(frame):
        rows = track[frame == number]
        pixels, _ = scene.views[number].camera.project(scene.tracks.points[rows, number])
        assert np.median(np.abs(pixels - scene.tracks.pixels[rows, number])) < 0.3
    windows = scene.provenance.arguments["windows"]
    assert isinstance(windows, list) and windows[1]["frames"] == [3, 7] and windows[1]["seam_error"] < 1e-4
    with pytest.raises(InputError, match="first frame as its world"):
        video.scene(reference=2)


def test_what_cannot_be_joined_is_reported_and_nothing_goes_across(exact: ExactVideo) -> None:
    video = cut(exact, blind=1)
    assert [seam.failure is None for seam in video.seams] == [False, False]
    assert "falls apart before frame 3 (seam 1)" in video.warnings[0] and "seam 2" in video.warnings[1]
    cameras = video.cameras()
    assert np.isfinite(cameras.world_from_cam[:3]).all() and np.isnan(cameras.world_from_cam[6:]).all((1, 2)).all()
    assert cameras.status[0] == "estimated" and cameras.status[-1] == "failed"
    tracks = video.tracks("grid:3")
    assert tracks.known[:, :5].all() and not tracks.known[:, 5:].any() and not tracks.handed.any()
    across = video.query(0.5, 0.5, 0, LAST, LAST)
    assert across.confidence < 1e-5 and not across.visible
    scene = video.scene(dynamic=False)
    assert scene.views[-1].pose_status == "failed" and not scene.views[-1].mask.any()
    assert scene.views[0].mask.any() and any("falls apart" in said for said in scene.warnings)
    assert scene.tracks is not None and not scene.tracks.visible[:, 5:].any()


def test_all_pixels_are_tracked_window_by_window(exact: ExactVideo) -> None:
    video = cut(exact)
    found = video.all_tracks(cell=2)
    saving = found.saving
    rows, columns = 9, 12
    covered = np.zeros((COUNT, rows, columns), bool)
    track, frame = np.nonzero(found.visible)
    column, row = np.floor((found.pixels[track, frame] + 0.5) / 2).astype(int).T
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    covered[frame[inside], row[inside], column[inside]] = True
    x, y, t = (found.queries + np.array((0.5, 0.5, 0))).T
    covered[t.astype(int), (y / 2).astype(int), (x / 2).astype(int)] = True
    assert covered.mean() > 0.97  # a cell of an overlap may be seen by the earlier window's part of a track only
    assert saving.tracks == len(found) and saving.factor > 1.5
    assert video.encoded == 3 and found.handed.max() == 2


def test_all_tracks_of_a_long_video_are_read_like_those_of_a_short_one(exact: ExactVideo) -> None:
    long, short = cut(exact).all_tracks(cell=6), all_tracks(exact)
    for name in ("points", "pixels", "visibility", "confidence", "visible", "known"):
        assert getattr(long, name).shape[:2] == (len(long), COUNT), name
        assert getattr(short, name).shape[:2] == (len(short), COUNT), name
        assert getattr(long, name).dtype == getattr(short, name).dtype
    assert short.known.all() and not long.known.all()
    assert long.grid == (3, 4) and short.grid == SIZE and long.camera is short.camera is None
    assert long.saving.tracks == len(long) == len(long.queries) and short.saving.tracks == len(short.queries)


def test_tracks_that_will_not_fit_are_refused_before_they_are_made(
    exact: ExactVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**12]
    monkeypatch.setattr("worldline.pipeline.video.windows.free_memory", lambda device: free[0])
    whole, most = cut(exact), cut(exact)
    tracks = len(whole.all_tracks(cell=2))
    free[0] = 9 * 12 * COUNT * TRACK_BYTES - 1  # less than one frame needs
    with pytest.raises(MemoryPlanError, match=r"108 tracks through 11 frames .*--points all:8"):
        most.all_tracks(cell=2)
    assert most.encoded == 0
    free[0] = tracks * COUNT * TRACK_BYTES * 2 // 3
    with pytest.raises(MemoryPlanError, match="GB are free"):
        most.all_tracks(cell=2)
    assert 0 < most.encoded < len(most.windows)  # as soon as it can be foreseen
    free[0] = tracks * COUNT * TRACK_BYTES * 3
    assert len(most.all_tracks(cell=2)) == tracks


class Sliding:
    """A picture that moves to the right."""

    original_size = (48, 64)
    frame_count = 16

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        u, v, t_src, t_tgt, _ = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
        uv = np.stack([u + 0.1 * (t_tgt - t_src), v], -1).astype(np.float32)
        seen = ((uv > 0) & (uv < 1)).all(-1).astype(np.float32)
        points = np.zeros((*u.shape, 3), np.float32)
        return VideoAnswers(points, uv, seen, points, points, seen + 1)


@pytest.mark.parametrize("frames", [16, 64])
@pytest.mark.parametrize("every", [True, False])
def test_memory_of_tracks_is_what_is_planned(frames: int, every: bool) -> None:
    video, windows, nowhere = Sliding(), plan_windows(frames, 16, 8), Similarity.identity()
    starts = np.zeros((20_000, 3)) + np.array((5.0, 5.0, 0.0))
    tracemalloc.start()
    followed = (
        AllPixels(windows, video.original_size, AllTracksOptions()) if every
        else Relay(starts, windows, video.original_size)
    )  # fmt: skip
    for number in range(len(windows)):
        followed.visit(number, video, nowhere)
    tracks = followed.tracks()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 29 * len(tracks) * frames < peak < TRACK_BYTES * len(tracks) * frames + (1 << 22)


def test_answers_beyond_a_broken_seam_are_none(exact: ExactVideo) -> None:
    video = cut(exact, blind=1)  # window 2 is fine by itself, in a unit of its own
    u, v, src, tgt, cam = random_queries(100)
    beyond = video.query(u, v, src // 3 + 7, tgt // 3 + 7, cam // 3 + 7)
    assert not beyond.visibility.any() and not beyond.points.any()
    np.testing.assert_array_equal(beyond.confidence, np.float32(LEAST_CONFIDENCE))
    shared = video.query(u, v, 4, 3, 4)  # windows 0 and 1 have these frames, and only 0 is joined
    np.testing.assert_allclose(shared.points, exact.query(u, v, 4, 3, 4).points, atol=1e-5)
    maps = video.depth(frames=[0, LAST], size=(3, 4))
    assert maps.valid[0].all() and not maps.valid[1].any()
    assert maps.confidence[0].min() > 0.5 and maps.confidence[1].max() <= np.float32(LEAST_CONFIDENCE)


@pytest.mark.parametrize(("frames", "window", "overlap"), [(11, 5, 2), (40, 8, 7), (41, 8, 1), (6, 9, None)])
def test_queries_go_to_the_window_whose_ends_are_farthest(
    exact: ExactVideo, frames: int, window: int, overlap: int | None
) -> None:
    video = LongVideo(lambda each: Part(exact, 0, 1), frames, SIZE, window, WindowOptions(overlap=overlap))
    video.whole = lambda number: True  # type: ignore[method-assign]
    times = np.random.default_rng(0).integers(0, frames, (3, 500))
    times[1:, :300] = (times[0, :300] + np.random.default_rng(1).integers(-2, 3, (2, 300))).clip(0, frames - 1)
    asked = Elsewhere(video, [*np.zeros((2, 500)), *times])
    home, far = asked._homes()
    starts, stops = (np.array([getattr(each, name) for each in video.windows]) for name in ("start", "stop"))
    margin = np.minimum(times[:, None] - starts[:, None], stops[:, None] - 1 - times[:, None]).min(0)
    np.testing.assert_array_equal(home, np.where(margin.max(0) >= 0, margin.argmax(0), -1))
    np.testing.assert_array_equal(far, np.flatnonzero(margin.max(0) < 0))
    inside = (starts[:, None] <= times[0]) & (times[0] < stops[:, None])
    np.testing.assert_array_equal(asked._first_with(times[0]), inside.argmax(0))
    np.testing.assert_array_equal(asked._last_with(times[0]), len(starts) - 1 - inside[::-1].argmax(0))


def test_a_short_video_is_one_window(exact: ExactVideo) -> None:
    whole = LongVideo(lambda window: Part(exact, window.start, window.stop), COUNT, SIZE, 20)
    assert len(whole.windows) == 1 and whole.seams == () and whole.warnings == ()
    found = whole.tracks("grid:3")
    assert found.known.all() and not found.handed.any()
    with pytest.raises(InputError, match="no camera 99"):
        whole.point_cloud(camera=99)
