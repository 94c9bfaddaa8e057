"""Sessions: previews and final results, faults of the input, state, bounded memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stream_network import tiny_network
from worldline.errors import InputError
from worldline.models.pool import PoolOptions
from worldline.pipeline.stream import FrameResult, StreamOptions, StreamSession
from worldline.pipeline.stream.framing import Part, blend, squares
from worldline.scene.align.rig import AlignedMap, RigAligner
from worldline.types import Camera, Rig

SENSORS = ("CAM_FRONT", "CAM_LEFT")
SIZE = (36, 64)  # height, width: not a multiple of the patch


def rig(calibrated: bool = True) -> Rig:
    if not calibrated:
        return Rig(SENSORS)
    forward = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    left = np.array([[1.0, 0, 0, 1.0], [0, 0, 1, 0.5], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    matrix = np.array([[40.0, 0, 31.5], [0, 40.0, 17.5], [0, 0, 1]])
    return Rig(SENSORS, [matrix, matrix], [forward, left], [SIZE, SIZE], ground=0.0)


def photos(step: int, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for name in SENSORS}


def pose(step: int) -> np.ndarray:
    moved = np.eye(4)
    moved[0, 3] = 0.5 * step
    return moved


def session(calibrated: bool = True, **choices: Any) -> StreamSession:
    options = StreamOptions(**{"motion": False, "pixels": 32 * 48, **choices})
    return StreamSession(tiny_network(), rig(calibrated), options)


def test_a_preview_comes_at_once_and_the_final_result_with_the_next_image() -> None:
    stream = session()
    first, second = stream.push(10.0, photos(0), pose(0)), stream.push(10.5, photos(1), pose(1))
    assert first.accepted
    assert first.completed == ()
    assert set(first.sensors) == set(SENSORS)
    assert all(each.preview and each.timestamp == 10.0 for each in first.sensors.values())
    assert [each.sensor for each in second.completed] == list(SENSORS)
    for each in second.completed:
        assert not each.preview
        assert (each.timestamp, each.step) == (10.0, 0)
        assert each.latency >= first[each.sensor].latency > 0
    assert first.latency >= sum(first.timings.values()) * 0.99
    names = [(view.sensor, view.timestamp) for view in stream.scene().views]
    assert names == [("CAM_FRONT", 10.0), ("CAM_LEFT", 10.0), ("CAM_FRONT", 10.5), ("CAM_LEFT", 10.5)]
    assert not np.array_equal(stream.scene().views[0].depth, first["CAM_FRONT"].depth)  # replaced
    last = stream.finish()
    assert all(not each.preview and each.timestamp == 10.5 for each in last)
    assert stream.finish() == ()


def test_cameras_stand_where_the_rig_says() -> None:
    stream, known = session(), rig()
    stream.push(0.0, photos(0), pose(0))
    result = stream.push(1.0, photos(1), {"CAM_FRONT": pose(1), "CAM_LEFT": pose(2)})
    for name, step in (("CAM_FRONT", 1), ("CAM_LEFT", 2)):
        camera = result[name].camera
        np.testing.assert_allclose(camera.world_from_cam, pose(step) @ known.rig_from_cam[known.index(name)], atol=1e-9)
        np.testing.assert_allclose(camera.intrinsics, known.intrinsics[0])
        assert (camera.height, camera.width) == SIZE
        assert result[name].pose_status == "given"
        rows, columns = np.nonzero(result[name].depth > 0)
        model = camera.to_model(result[name].transform)
        pixels, depth = model.project(result[name].points[rows, columns])
        np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-2)
        np.testing.assert_allclose(depth, result[name].depth[rows, columns], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("timestamp", "says"),
    [(1.0, "pushed already"), (0.5, "late push"), (float("nan"), "not finite"), ("noon", "no number")],
)
def test_a_push_at_an_impossible_time_changes_nothing(timestamp: Any, says: str) -> None:
    stream, other = session(), session()
    for each in (stream, other):
        each.push(0.0, photos(0))
        each.push(1.0, photos(1))
    refused = stream.push(timestamp, photos(7))
    assert not refused.accepted
    assert says in refused.issues[0]
    assert same(stream.push(2.0, photos(2)), other.push(2.0, photos(2)))


def same(one: FrameResult, other: FrameResult) -> bool:
    pairs = [(one.sensors[name], other.sensors[name]) for name in one.sensors]
    pairs += list(zip(one.completed, other.completed, strict=True))
    return all(np.array_equal(a.points, b.points) and a.timestamp == b.timestamp for a, b in pairs)


def test_a_missing_camera_is_reported_and_finished_later() -> None:
    stream = session()
    stream.push(0.0, photos(0))
    gap = stream.push(1.0, {"CAM_FRONT": photos(1)["CAM_FRONT"]})
    assert gap.issues == ("CAM_LEFT: no image.",)
    assert [each.sensor for each in gap.completed] == ["CAM_FRONT"]
    back = stream.push(2.0, photos(2))
    assert [(each.sensor, each.timestamp) for each in back.completed] == [("CAM_LEFT", 0.0), ("CAM_FRONT", 1.0)]


def test_damaged_images_are_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    good, torn = tmp_path / "good.png", tmp_path / "torn.png"
    Image.fromarray(photos(1)["CAM_FRONT"]).save(good)
    torn.write_bytes(good.read_bytes()[:300])
    stream = session()
    stream.push(0.0, photos(0))
    for bad in (torn, tmp_path / "absent.png", np.zeros((4, 4), np.uint8), np.zeros((*SIZE, 3), np.float32)):
        result = stream.push(stream.last_timestamp + 1, {"CAM_FRONT": good, "CAM_LEFT": bad, "ROOF": good})
        assert result.accepted
        assert set(result.sensors) == {"CAM_FRONT"}
        assert len(result.issues) == 2
        assert result.issues[0].startswith("ROOF: the rig has no such sensor")
        assert result.issues[1].startswith("CAM_LEFT: ")
    nothing = stream.push(99.0, {"CAM_LEFT": torn})
    assert not nothing.accepted
    assert stream.push(99.0, photos(3)).accepted  # the time was not used up


def test_another_size_of_the_same_photo_and_another_photo() -> None:
    stream = session()
    stream.push(0.0, photos(0))
    larger = stream.push(1.0, {**photos(1), **{"CAM_LEFT": photos(1, (72, 128))["CAM_LEFT"]}})
    assert "taken as the same photo" in larger.issues[0]
    assert (larger["CAM_LEFT"].camera.height, larger["CAM_LEFT"].camera.width) == SIZE
    turned = stream.push(2.0, {**photos(2), **{"CAM_LEFT": photos(2, (64, 36))["CAM_LEFT"]}})
    assert "another aspect" in turned.issues[0]
    assert set(turned.sensors) == {"CAM_FRONT"}


def test_bad_poses_are_ignored() -> None:
    stream = session()
    squashed = np.diag([1.0, 2, 1, 1])
    result = stream.push(0.0, photos(0), squashed)
    assert "no rigid 4x4 matrix" in result.issues[0]
    assert result["CAM_FRONT"].pose_status == "estimated"


def test_a_long_gap_begins_anew() -> None:
    stream = session(max_gap=2.0)
    stream.push(0.0, photos(0))
    stream.push(1.0, photos(1))
    result = stream.push(9.0, photos(2))
    assert result.issues == tuple(f"{name}: no image for 8.0 s; the camera starts anew." for name in SENSORS)
    assert [(each.timestamp, each.preview) for each in result.completed] == [(1.0, False)] * 2  # the previews stay
    views = stream.scene().views
    assert [view.timestamp for view in views] == [0.0, 0.0, 1.0, 1.0, 9.0, 9.0]


def test_state_goes_on_exactly_after_a_crash(tmp_path: Path) -> None:
    choices = {"pool": PoolOptions(restart=3), "motion": False}
    whole = session(**choices)
    expected = [whole.push(float(step), photos(step), pose(step)) for step in range(8)]
    first = session(**choices)
    for step in range(5):
        first.push(float(step), photos(step), pose(step))
    first.state(tmp_path / "stream.safetensors")
    second = session(**choices)
    second.restore(tmp_path / "stream.safetensors")
    for step in range(5, 8):
        assert same(second.push(float(step), photos(step), pose(step)), expected[step])
    with pytest.raises(InputError, match="has the sensors"):
        StreamSession(tiny_network(), Rig(("A",))).restore(first.state())
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="no saved stream"):
        session().restore(tmp_path / "torn.safetensors")


def test_crops_of_a_wide_photo_are_merged() -> None:
    stream = session(framing="crops", square=32, mode="official")
    for step in range(3):
        result = stream.push(float(step), photos(step), pose(step))
    assert result["CAM_FRONT"].depth.shape == result["CAM_FRONT"].transform.model_size == (32, 57)


def test_merging_keeps_agreeing_parts_and_measures_the_seam() -> None:
    framing = squares((64, 112), 64)
    assert [part.crop_offset for part in framing.parts] == [(0, 0), (0, 48)]
    columns = np.arange(112, dtype=np.float32)
    depth = np.broadcast_to(5 + 0.1 * columns, (64, 112)).astype(np.float32)
    points = np.stack([np.broadcast_to(columns, depth.shape), np.zeros_like(depth), depth], -1)
    sure = np.full((64, 64), 2.0, np.float32)

    def part(left: int, factor: float) -> Part:
        place = np.s_[:, left : left + 64]
        return Part(points[place] * factor, depth[place] * factor, sure, depth[place] > 0)

    merged, seam = blend(framing, [part(0, 1.0), part(48, 1.0)])
    np.testing.assert_allclose(merged.points, points, rtol=1e-5)
    assert merged.valid.all()
    assert seam == pytest.approx(0, abs=1e-6)
    merged, seam = blend(framing, [part(0, 1.0), part(48, 1.1)])
    assert seam == pytest.approx(0.1 / 1.05, rel=1e-3)
    ratio = merged.depth[32] / depth[32]
    assert (np.diff(ratio) >= -1e-4).all()  # no edge: the error fades in over the overlap
    assert np.diff(ratio).max() < 0.02


def test_an_unknown_rig_gives_an_arbitrary_scale() -> None:
    stream = session(calibrated=False)
    for step in range(3):
        result = stream.push(float(step), photos(step))
    assert result["CAM_FRONT"].scale_kind == "arbitrary"
    assert stream.scene().scale == "arbitrary"
    assert stream.notes


class Placed(RigAligner):
    """Takes maps as they are: what the aligner remembers is tested with it, and its poses cost most of a step."""

    def update(self, timestamp: float, maps: Any, world_from_rig: Any = None, **_: Any) -> dict[str, AlignedMap]:
        camera = Camera(np.diag([40.0, 40, 1]), pose(0), *SIZE)
        return {
            name: AlignedMap(
                each.points, each.points[..., 2], each.points[..., 2] > 0, camera, 1.0, 0.1, "arbitrary", "estimated"
            )
            for name, each in maps.items()
        }


@pytest.mark.parametrize("pushes", [160, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_grows_over_a_long_stream(monkeypatch: pytest.MonkeyPatch, pushes: int) -> None:
    monkeypatch.setattr("worldline.pipeline.stream.session.RigAligner", Placed)
    stream = session(keep=4, static_voxel=0.5, static_points=500, pixels=16 * 32)
    seen = [photos(step) for step in range(7)]
    tracemalloc.start()
    sizes = []
    for step in range(pushes):
        stream.push(float(step), {"CAM_FRONT": seen[step % 7]["CAM_FRONT"]})
        if step % (pushes // 4) == pushes // 4 - 1:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] < 1.02 * sizes[0] + 50_000
    assert len(stream.scene()) == 4 + 1
    assert 0 < len(stream.static_map.points) <= 500
    assert sum(value.numel() for name, value in stream.state().items() if name.startswith("pool/")) < 100_000


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"mode": "fast"}, "mode"), ({"framing": "round"}, "framing"), ({"keep": 0}, "range"), ({"square": 50}, "range")],
)
def test_impossible_options(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        StreamOptions(**wrong)
