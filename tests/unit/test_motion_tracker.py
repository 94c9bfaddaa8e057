"""Objects over time, and SAM 2 through a stand-in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from worldline.errors import InputError, MissingExtraError
from worldline.scene.motion import ObjectTracker, TrackerOptions, refine_sam2

POSE = np.eye(4)


def seen(*centers: tuple[float, float, float], shape: tuple[int, int] = (20, 60)) -> tuple[np.ndarray, np.ndarray]:
    """Patches of 6 x 6 pixels side by side, each a small thing at a centre."""
    mask, points = np.zeros(shape, bool), np.full((*shape, 3), np.nan)
    for place, center in enumerate(centers):
        left = 2 + 10 * place
        mask[5:11, left : left + 6] = True
        y, x = np.mgrid[-1:1:6j, -1:1:6j]
        points[5:11, left : left + 6] = np.asarray(center) + np.stack([x, y, 0 * x], -1)
    return mask, points


def push(tracker: ObjectTracker, time: float, **sensors: tuple[np.ndarray, np.ndarray]) -> list:
    return tracker.update(
        time,
        {name: mask for name, (mask, _) in sensors.items()},
        {name: points for name, (_, points) in sensors.items()},
        dict.fromkeys(sensors, POSE),
    )


def test_two_objects_cross_with_their_velocities() -> None:
    tracker = ObjectTracker()
    for step in range(10):
        t = 0.1 * step
        push(tracker, t, a=seen((-5 + 10 * t, 0, 20), (5 - 10 * t, 3.5, 22)))
    first, second = sorted(tracker.objects(), key=lambda o: o.centers[0, 0])
    assert first.timestamps.shape == (10,) and np.ptp(first.centers[:, 1]) < 0.1
    assert first.velocities[-1] == pytest.approx([10, 0, 0], abs=1e-6)
    assert second.velocities[-1] == pytest.approx([-10, 0, 0], abs=1e-6)
    assert first.size == pytest.approx([2, 2, 0], abs=0.3)
    assert first.id != second.id


def test_an_object_goes_from_one_sensor_to_the_next() -> None:
    tracker = ObjectTracker()
    for step in range(8):
        here = seen((step * 1.0, 0, 15))
        sensors = {"left": here} if step < 3 else {"left": here, "front": here} if step < 5 else {"front": here}
        push(tracker, 0.1 * step, **sensors)
    (thing,) = tracker.objects()
    assert thing.sensors == ("front", "left") and len(thing.timestamps) == 8


def test_a_short_occlusion_is_bridged_and_a_long_one_closes() -> None:
    tracker = ObjectTracker()
    for step in (0, 1, 2, 6, 7):
        assert push(tracker, 0.1 * step, a=seen((step * 1.0, 0, 15))) == []
    assert len(tracker.objects()) == 1
    (closed,) = push(tracker, 3.0, a=seen())
    assert len(closed.timestamps) == 5 and tracker.objects() == [] and tracker.finish() == []


def test_depth_parts_what_touches_in_the_image() -> None:
    mask, points = seen((0, 0, 10))
    near, far = points[5:11, 2:8].copy(), points[5:11, 2:8] * 2
    mask[5:11, 8:14] = True
    points[5:11, 2:8], points[5:11, 8:14] = near, far
    tracker = ObjectTracker(TrackerOptions(least_sightings=1))
    push(tracker, 0.0, a=(mask, points))
    assert sorted(o.centers[0, 2] for o in tracker.objects()) == [10, 20]


def test_memory_is_bounded_and_nothing_is_lost() -> None:
    tracker = ObjectTracker(TrackerOptions(keep=16))
    total = 0
    for step in range(200):
        for part in push(tracker, 0.1 * step, a=seen((0.1 * step, 0, 15))):
            total += len(part.timestamps)
            assert part.id == 0
    assert len(tracker.objects()[0].timestamps) <= 16
    assert total + sum(len(o.timestamps) for o in tracker.finish()) == 200


def test_a_flash_is_no_object_and_mistakes_are_said() -> None:
    tracker = ObjectTracker()
    push(tracker, 0.0, a=seen((0, 0, 10)))
    assert push(tracker, 5.0, a=seen()) == [] and tracker.finish() == []
    with pytest.raises(InputError, match="not later"):
        push(tracker, 5.0, a=seen())
    with pytest.raises(InputError, match="no points"):
        tracker.update(6.0, {"a": seen()[0]}, {}, {})


class FakeSam:
    """Grows the nearest prompt by one pixel; answers for all frames like the video model of transformers."""

    def __init__(self) -> None:
        self.prompts: dict[int, np.ndarray] = {}
        self.history: list[list[int]] = []

    def init_video_session(self, video: list, inference_device: str) -> SimpleNamespace:
        self.prompts = {}
        return SimpleNamespace(frames=len(video))

    def add_inputs_to_inference_session(self, inference_session, frame_idx, obj_ids, input_masks) -> None:  # type: ignore[no-untyped-def]
        self.prompts[frame_idx] = input_masks

    def __call__(self, inference_session: SimpleNamespace, frame_idx: int) -> None:
        assert frame_idx in self.prompts

    def propagate_in_video_iterator(self, session, start_frame_idx, reverse):  # type: ignore[no-untyped-def]
        order = range(start_frame_idx, -1, -1) if reverse else range(start_frame_idx, session.frames)
        self.history.append(sorted(self.prompts))
        for index in order:
            nearest = min(self.prompts, key=lambda p: abs(p - index))
            wider = self.prompts[nearest] | np.roll(self.prompts[nearest], 1, 1)
            yield SimpleNamespace(frame_idx=index, pred_masks=torch.from_numpy(wider).float()[None, None] - 0.5)

    def post_process_masks(self, masks, original_sizes, binarize):  # type: ignore[no-untyped-def]
        return masks


def test_sam2_is_prompted_with_every_second_frame() -> None:
    fake = FakeSam()
    images = [np.zeros((8, 12, 3), np.uint8)] * 5
    masks = np.zeros((5, 8, 12), bool)
    masks[:, 2:5, 3:6] = True
    masks[2] = False  # lost in one frame: its neighbours know better
    refined = refine_sam2(images, masks, loader=lambda model, device: (fake, fake))
    assert refined[2, 2:5, 3:7].all() and refined[2].sum() == 12
    assert {tuple(h) for h in fake.history} == {(0, 4), (1, 3)}
    assert not refine_sam2(images, 0 * masks, loader=lambda model, device: (fake, fake)).any()


def test_sam2_without_transformers_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"worldline\[sam2\]"):
        refine_sam2([np.zeros((8, 8, 3), np.uint8)], [np.ones((8, 8), bool)])
    with pytest.raises(InputError, match="clip"):
        refine_sam2([], [])
