"""Sessions that are given nonsense, break off, end early or go on from a saved state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stream_network import tiny_network
from worldline.errors import InputError
from worldline.pipeline.stream import StreamOptions, StreamSession
from worldline.pipeline.stream.moving import motion_is_possible
from worldline.types import Rig

SENSORS = ("A", "B")
SIZE = (36, 64)
MATRIX = np.array([[40.0, 0, 31.5], [0, 40.0, 17.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])


def session(names: tuple[str, ...] = SENSORS, sizes: bool = True, **choices: Any) -> StreamSession:
    count = len(names)
    rig = Rig(names, [MATRIX] * count, [FORWARD] * count, [SIZE] * count if sizes else None, ground=0.0)
    return StreamSession(tiny_network(), rig, StreamOptions(**{"motion": False, "pixels": 32 * 48, **choices}))


def photo(step: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (*size, 3), dtype=np.uint8)


def photos(step: int) -> dict[str, np.ndarray]:
    return {name: photo(10 * step + place) for place, name in enumerate(SENSORS)}


class Broken:
    def read(self) -> np.ndarray:
        raise RuntimeError("unplugged")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"speed": float("nan")}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"lidar": np.zeros(3)}, "LiDAR"),
        ({"lidar": np.zeros((5, 2))}, "LiDAR"),
        ({"lidar": "points"}, "LiDAR"),
        ({"world_from_rig": np.full((4, 4), 10**400, object)}, "rigid"),
        ({"images": {"A": Broken(), "B": photo(0)}}, "unplugged"),
        ({"images": {"A": torch.zeros(36, 64, 3, dtype=torch.bfloat16), "B": photo(0)}}, "A: "),
    ],
)
def test_nonsense_is_reported_and_never_raised(given: dict[str, Any], says: str) -> None:
    stream = session(("A", "B"))
    stream.push(0.0, photos(0))
    result = stream.push(1.0, **{"images": photos(1), **given})
    assert result.accepted
    assert any(says in issue for issue in result.issues)


def test_a_time_beyond_all_numbers_is_refused() -> None:
    assert not session().push(10**400, photos(0)).accepted


def test_a_step_that_breaks_off_mixes_no_images_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = session()
    stream.push(0.0, photos(0))
    with monkeypatch.context() as patch:
        patch.setattr(StreamSession, "_preview", _out_of_memory)
        with pytest.raises(MemoryError):
            stream.push(1.0, photos(1))
    assert stream.push(2.0, photos(2)).completed == ()  # the memory is that of image 1, which was not accepted
    assert [each.timestamp for each in stream.push(3.0, photos(3)).completed] == [2.0, 2.0]


def _out_of_memory(*_: object) -> None:
    raise MemoryError


def test_a_finished_stream_that_goes_on_has_every_view_once() -> None:
    stream = session(("A",))
    for step in range(2):
        stream.push(float(step), {"A": photo(step)})
    stream.finish()
    better = stream.push(2.0, {"A": photo(2)}).completed[0]
    views = stream.scene().views
    assert [view.name for view in views] == ["A_000000", "A_000001", "A_000002"]
    np.testing.assert_array_equal(views[1].points, better.points)


def test_a_camera_that_comes_later_has_its_own_size() -> None:
    stream = session(sizes=False)
    stream.push(0.0, {"A": photo(0)})
    for size in ((48, 64), (48, 64)):
        result = stream.push(stream.last_timestamp + 1, {"A": photo(1), "B": photo(1, size)})
        assert result.issues == ()
        assert (result["B"].camera.height, result["B"].camera.width) == size
    assert "another aspect" in stream.push(9.0, {"A": photo(2), "B": photo(2)}).issues[0]


def test_poses_reach_cameras_with_any_name() -> None:
    names = ("cam#1", "cam#2")
    result = session(names).push(0.0, dict.fromkeys(names, photo(0)), dict.fromkeys(names, np.eye(4)))
    assert [result[name].pose_status for name in names] == ["given", "given"]


@pytest.mark.skipif(not motion_is_possible("dis"), reason="needs OpenCV")
def test_a_camera_that_was_away_does_not_stop_the_objects() -> None:
    stream = session(motion=True, preview=False)
    stream.push(0.0, {"A": photo(0)})
    stream.push(0.1, {"A": photo(1)})
    for step in range(2, 5):
        stream.push(0.1 * step, {"B": photo(step)})
    assert [each.timestamp for each in stream.push(0.5, {"A": photo(5)}).completed] == [0.1]


def test_a_restored_stream_has_the_last_previews_and_latencies(tmp_path: Path) -> None:
    first = session()
    for step in range(2):
        first.push(float(step), photos(step))
    first.state(tmp_path / "state.safetensors")
    second = session()
    second.restore(tmp_path / "state.safetensors")
    for one, other in zip(first.finish(), second.finish(), strict=True):
        assert (one.sensor, one.step, one.scale, one.notes) == (other.sensor, other.step, other.scale, other.notes)
        for name in ("image", "points", "depth", "confidence", "mask"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.camera.world_from_cam, other.camera.world_from_cam)
    third = session()
    third.restore(tmp_path / "state.safetensors")
    assert 0 < third.push(2.0, photos(2)).completed[0].latency < 600


@pytest.mark.parametrize(
    ("choices", "damage", "says"),
    [
        ({"pixels": 32 * 96}, None, "framing"),
        ({"mode": "official"}, None, "memory"),
        ({}, lambda state: state.pop("waiting/A/image"), "damaged"),
        ({}, lambda state: state.pop("pool/A/keys"), "damaged"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(
    choices: dict[str, Any], damage: Callable[[dict], Any] | None, says: str
) -> None:
    first, second = session(), session(**choices)
    for step in range(2):
        first.push(float(step), photos(step))
    state = first.state()
    if damage is not None:
        damage(state)
    with pytest.raises(InputError, match=says):
        second.restore(state)
    assert second.last_timestamp is None
    assert second.push(0.0, photos(0)).accepted
