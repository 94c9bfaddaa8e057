"""Motion of a stream on made-up scenes whose truth is known."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from worldline.errors import InputError, MissingExtraError, WeightsError
from worldline.geometry import invert_rigid, pixel_grid, project, rigid_from, transform_points, unproject
from worldline.scene.motion import (
    FLOW_BACKENDS,
    Given,
    MotionOptions,
    MotionPredictor,
    camera_flow,
    camera_flow_of_points,
    optical_flow,
    raft,
    refine,
)
from worldline.scene.motion.sampling import sample

HEIGHT, WIDTH = 96, 160
K = np.array([[120.0, 0, 80], [0, 120.0, 48], [0, 0, 1]])


def pose(x: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    world_from_cam = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    world_from_cam[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    world_from_cam[:3, 3] = [x, 0, z]
    return world_from_cam


def texture(points: np.ndarray, seed: int) -> np.ndarray:
    """A smooth pattern that belongs to points of a surface."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(3, 24, 2)) * 4
    phase = rng.uniform(0, 6, (3, 24))
    value = np.sin(np.einsum("hwk,cnk->hwcn", points, waves) + phase).sum(-1)
    return np.clip(128 + 18 * value, 0, 255).astype(np.uint8)


def scene(world_from_cam: np.ndarray, box: float, box_depth: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wall at z = 12 and a board at ``box_depth`` whose centre is at x = ``box``: image, depth, mask of the board."""
    rays = unproject(torch.ones(HEIGHT, WIDTH, dtype=torch.float64), torch.from_numpy(K)).numpy()
    rays = rays @ world_from_cam[:3, :3].T
    eye = world_from_cam[:3, 3]
    along = (12.0 - eye[2]) / rays[..., 2]
    wall = eye + along[..., None] * rays
    near = (box_depth - eye[2]) / rays[..., 2]
    board = eye + near[..., None] * rays
    on = (np.abs(board[..., 0] - box) < 1.0) & (np.abs(board[..., 1] - 0.5) < 0.7)
    image = np.where(on[..., None], texture(board[..., :2] - [box, 0], 1), texture(wall[..., :2] / 2, 2))
    distance = np.where(on, near, along)
    return image, distance.astype(np.float32), on


def moved(box: float, *, options: MotionOptions | None = None, first: np.ndarray | None = None) -> tuple:
    predictor = MotionPredictor(options)
    start, end = pose() if first is None else first, pose(0.15, 0.2, 0.02)
    image, depth, _ = scene(start, 0.0)
    assert not predictor.update("front", 0.0, image, depth, K, start).known
    image, depth, on = scene(end, box)
    return predictor.update("front", 0.1, image, depth, K, end), on


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@settings(deadline=None, max_examples=20)
@forall(st.integers(0, 10_000))
def test_camera_flow_takes_every_point_to_its_projection(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.1, 0.05], [0.1, 0, 0.02], [-0.05, -0.02, 0]]).double())
    a = rigid_from(turn, torch.rand(3, generator=generator).double())
    b = rigid_from(turn.mT, torch.rand(3, generator=generator).double() * 0.3)
    depth = 2 + 3 * torch.rand(2, 6, 8, generator=generator).double()
    k = torch.tensor([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]).double().expand(2, 3, 3)
    flow = camera_flow(depth, k, a.expand(2, 4, 4), k, b.expand(2, 4, 4))
    world = transform_points(invert_rigid(a), unproject(depth, k).flatten(1, 2))
    pixels, z = project(transform_points(b, world), k)
    expected = pixels.unflatten(1, (6, 8)) - pixel_grid(6, 8, dtype=torch.float64)
    assert flow.valid.all()
    torch.testing.assert_close(flow.flow, expected)
    torch.testing.assert_close(flow.depth, z.unflatten(1, (6, 8)))
    from_points = camera_flow_of_points(world.unflatten(1, (6, 8)), k, b.expand(2, 4, 4))
    torch.testing.assert_close(from_points.flow, expected)


def test_stretch_is_the_derivative_for_log_depth() -> None:
    k = torch.from_numpy(K)
    a, b = (torch.linalg.inv(torch.from_numpy(p)) for p in (pose(), pose(0.4, 0.6, 0.1)))
    depth = 3 + torch.rand(7, 9, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-6
    more, less = (camera_flow(depth * np.exp(sign * step), k, a, k, b).flow for sign in (1, -1))
    torch.testing.assert_close(camera_flow(depth, k, a, k, b).stretch, (more - less) / (2 * step), rtol=1e-5, atol=1e-5)


def test_behind_the_camera_and_unknown_depth_are_not_valid() -> None:
    k = torch.from_numpy(K)
    depth = torch.tensor([[1.0, 5.0], [0.0, float("nan")]])
    flow = camera_flow(depth, k, torch.eye(4), k, torch.linalg.inv(torch.from_numpy(pose(z=2.0))))
    assert flow.valid.tolist() == [[False, True], [False, False]]
    assert torch.isfinite(flow.flow).all()


def test_a_moving_board_is_found_whole_and_a_still_scene_is_still() -> None:
    pytest.importorskip("cv2")
    motion, on = moved(0.35)
    assert motion.known and iou(motion.dynamic, on) > 0.8
    assert motion.score[on].mean() > 5 * motion.score[~on].mean()
    motion, on = moved(0.0)
    assert motion.dynamic.mean() < 0.002


def test_flow_goes_to_the_previous_image() -> None:
    pytest.importorskip("cv2")
    predictor = MotionPredictor()
    image, depth, _ = scene(pose(), 0.0)
    predictor.update("a", 0.0, image, depth, K, pose())
    image, depth, on = scene(pose(), 0.3)
    flow = predictor.update("a", 0.1, image, depth, K, pose()).flow
    assert np.median(flow[on][:, 0]) == pytest.approx(-0.3 * 120 / 6, abs=0.5)


def test_an_error_of_the_pose_is_no_motion() -> None:
    pytest.importorskip("cv2")
    motion, _ = moved(0.0, first=pose(0.03, 0.02, 0.008))  # rendered and given alike: still exact
    assert motion.dynamic.mean() < 0.002
    predictor = MotionPredictor()
    image, depth, _ = scene(pose(), 0.0)
    predictor.update("a", 0.0, image, depth, K, pose(0.03, 0.02, 0.01))  # 1.2 pixels of turning, 0.6 of shift
    image, depth, on = scene(pose(0.15, 0.2), 0.35)
    motion = predictor.update("a", 0.1, image, depth, K, pose(0.15, 0.2))
    assert iou(motion.dynamic, on) > 0.6


def test_what_is_seen_through_needs_no_flow() -> None:
    still = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    predictor = MotionPredictor(MotionOptions(backend=Given(still, still)))
    image, depth, _ = scene(pose(), -2.0)
    predictor.update("a", 0.0, image, depth, K, pose())
    image, depth, on = scene(pose(), 2.0)
    motion = predictor.update("a", 0.5, image, depth, K, pose())
    assert iou(motion.dynamic, on) > 0.8


def test_sensors_are_independent_and_the_state_continues() -> None:
    pytest.importorskip("cv2")
    image, depth, _ = scene(pose(), 0.0)
    later = scene(pose(), 0.3)
    one, two = MotionPredictor(), MotionPredictor()
    for name in ("a", "b.c"):
        one.update(name, 0.0, image, depth, K, pose())
    two.restore({key: value.copy() for key, value in one.state().items()})
    for name in ("a", "b.c"):
        first = one.update(name, 0.1, later[0], later[1], K, pose())
        second = two.update(name, 0.1, later[0], later[1], K, pose())
        assert first.known and np.array_equal(first.dynamic, second.dynamic)
        assert np.array_equal(first.score, second.score)
    for step in range(2, 12):
        one.update("a", 0.1 * step, image, depth, K, pose())
        if step == 4:
            size = sum(value.nbytes for value in one.state().values())
    assert sum(value.nbytes for value in one.state().values()) == size
    with pytest.raises(InputError, match="not complete"):
        two.restore({"a.0.image": image})


def test_first_images_after_a_gap_or_of_another_size_are_unknown() -> None:
    pytest.importorskip("cv2")
    image, depth, _ = scene(pose(), 0.0)
    predictor = MotionPredictor()
    predictor.update("a", 0.0, image, depth, K, pose())
    assert not predictor.update("a", 9.0, image, depth, K, pose()).known
    assert not predictor.update("a", 9.1, image[:64], depth[:64], K, pose()).known
    assert predictor.update("a", 9.2, image[:64], depth[:64], K, pose()).known
    predictor.forget("a")
    assert not predictor.update("a", 9.3, image[:64], depth[:64], K, pose()).known


def test_mistakes_are_said() -> None:
    pytest.importorskip("cv2")
    image, depth, _ = scene(pose(), 0.0)
    predictor = MotionPredictor()
    predictor.update("a", 1.0, image, depth, K, pose())
    with pytest.raises(InputError, match="not later"):
        predictor.update("a", 1.0, image, depth, K, pose())
    with pytest.raises(InputError, match="belong together"):
        predictor.update("a", 2.0, image, depth[:3], K, pose())
    with pytest.raises(InputError, match="one per pixel"):
        predictor.update("a", 2.0, image, depth, K, pose(), confidence=np.ones(3))
    with pytest.raises(InputError, match="Choose one of"):
        MotionPredictor(MotionOptions(backend="d4rt"))
    with pytest.raises(InputError, match="refiner"):
        MotionOptions(refiner="sam2")
    with pytest.raises(InputError, match="same size"):
        optical_flow(image, image[1:])
    with pytest.raises(InputError, match="More flow"):
        Given()(image, image)


def test_pixels_without_depth_or_confidence_are_no_evidence() -> None:
    pytest.importorskip("cv2")
    predictor = MotionPredictor(MotionOptions(refiner="none"))
    image, depth, _ = scene(pose(), 0.0)
    predictor.update("a", 0.0, image, depth, K, pose())
    image, depth, on = scene(pose(), 0.4)
    depth[:10] = np.nan
    confidence = np.where(on, 1.001, 5.0).astype(np.float32)
    motion = predictor.update("a", 0.1, image, depth, K, pose(), confidence=confidence)
    assert not motion.checked[:10].any() and not motion.dynamic[on].any()


def test_refining_without_seeds_or_depth_gives_nothing() -> None:
    image, depth, on = scene(pose(), 0.0)
    everywhere = np.ones_like(on)
    score = np.where(on, 20, 0).astype(np.float32)
    assert iou(refine(score, everywhere, image, depth), on) > 0.85
    assert not refine(0 * score, everywhere, image, depth).any()
    assert not refine(score, everywhere, image, 0 * depth).any()


@pytest.mark.parametrize(("name", "module", "extra"), [("dis", "cv2", "motion"), ("raft", "torchvision", "raft")])
def test_a_missing_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    real = builtins.__import__

    def absent(wanted: str, *args: object, **kwargs: object) -> object:
        if wanted.split(".")[0] == module:
            raise ImportError(wanted)
        return real(wanted, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=rf"pip install 'worldline\[{extra}\]'"):
        FLOW_BACKENDS[name]()


def test_raft_is_not_downloaded_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from types import SimpleNamespace

    from worldline.scene.motion import optical

    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url="https://nowhere/raft.pth"))
    fake = SimpleNamespace(Raft_Large_Weights=weights, raft_large=lambda weights: pytest.fail("loaded"))
    monkeypatch.setattr(optical, "_torchvision_flow", lambda: fake)
    monkeypatch.setattr(optical, "_checkpoints", lambda: tmp_path)
    with pytest.raises(WeightsError, match="download=True"):
        raft()
    with pytest.raises(InputError, match="no size"):
        raft("huge")


def test_raft_is_padded_and_cut_back() -> None:
    from worldline.scene.motion.optical import _through_raft

    seen = []

    def network(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
        seen.append(a.shape)
        assert a.min() >= -1 and a.max() <= 1
        return [torch.ones(1, 2, *a.shape[2:])]

    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    flow = _through_raft(network, torch.device("cpu"))(image, image)
    assert seen == [(1, 3, 128, 152)] and flow.shape == (100, 150, 2) and (flow == 1).all()


def test_sampling_keeps_types_and_repeats_the_border() -> None:
    ramp = np.arange(12, dtype=np.float32).reshape(3, 4)
    where = np.array([[[0.5, 0.0], [9.0, 9.0], [-4.0, 1.0]]], np.float32)
    assert sample(ramp, where).tolist() == [[0.5, 11.0, 4.0]]
    assert sample(ramp.astype(np.uint8), where, nearest=True).dtype == np.uint8
    assert replace(MotionOptions(), threshold=3.0).threshold == 3.0
