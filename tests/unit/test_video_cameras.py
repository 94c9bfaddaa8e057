"""Cameras of a video from answers that are exact, noisy, wrong, or both: intrinsics, poses, what fails is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from exact_video import ExactVideo
from worldline.errors import InputError
from worldline.geometry import rotation_angle
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.cameras import CameraOptions, VideoCameras, choose_anchors, estimate_cameras
from worldline.scene.video.intrinsics import IntrinsicsOptions, estimate_intrinsics
from worldline.worlds import TEST_SEEDS, describe
from worldline.worlds.world import World

HEIGHT, WIDTH, FRAMES = 60, 80, 6
FEW = CameraOptions(grid=8, anchors=2)


@pytest.fixture(scope="module")
def world() -> World:
    """A walk through a room in which things move, away from the axes of the world."""
    return describe("dynamic", TEST_SEEDS[1], views=FRAMES, shooting="walk")


def video_of(world: World, **errors: float | bool) -> ExactVideo:
    return ExactVideo(world, HEIGHT, WIDTH, **errors)  # type: ignore[arg-type]


def true_poses(world: World, reference: int = 0) -> np.ndarray:
    poses = world.cameras.world_from_cam
    return np.linalg.inv(poses[reference]) @ poses


def true_focal(world: World) -> float:
    return WIDTH / 2 / float(np.tan(world.cameras.fov[0] / 2))


def errors_of(cameras: VideoCameras, truth: np.ndarray) -> tuple[float, float]:
    """Largest error in degrees and in metres."""
    found = torch.from_numpy(cameras.world_from_cam)
    turns = torch.rad2deg(rotation_angle(found[:, :3, :3], torch.from_numpy(truth[:, :3, :3].copy())))
    return float(turns.max()), float(np.linalg.norm(cameras.world_from_cam[:, :3, 3] - truth[:, :3, 3], axis=1).max())


class Wrapped:
    """A video whose answers are changed on the way."""

    def __init__(self, video: ExactVideo) -> None:
        self.video = video
        self.frame_count, self.original_size = video.frame_count, video.original_size

    def change(self, answers: VideoAnswers, u, v, t_src, t_tgt, t_cam) -> VideoAnswers:
        raise NotImplementedError

    def query(self, u, v, t_src, t_tgt, t_cam) -> VideoAnswers:
        parts = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
        return self.change(self.video.query(*parts), *parts)


@pytest.mark.parametrize("references", ["anchored", "chain", "anchors"])
@pytest.mark.parametrize("reference", [0, 4])
def test_exact_answers_give_exact_poses(world: World, references: str, reference: int) -> None:
    cameras = estimate_cameras(video_of(world), replace(FEW, references=references), reference=reference)
    turn, shift = errors_of(cameras, true_poses(world, reference))
    assert turn < 0.01 and shift < 1e-4
    assert set(cameras.status) == {"estimated"} and cameras.residual.max() < 1e-4
    np.testing.assert_array_equal(cameras.world_from_cam[reference], np.eye(4))
    assert not cameras.warnings


@pytest.mark.parametrize("lie", [False, True], ids=["admitted", "confident"])
def test_a_third_of_wrong_points_changes_nothing(world: World, lie: bool) -> None:
    cameras = estimate_cameras(video_of(world, outliers=0.33, false_confidence=lie), replace(FEW, grid=12))
    turn, shift = errors_of(cameras, true_poses(world))
    assert turn < 0.01 and shift < 1e-4
    focal = cameras.intrinsics[0, 0, 0] / true_focal(world)
    assert abs(focal - 1) < (0.01 if lie else 0.001)


def test_plain_least_squares_would_not_do(world: World) -> None:
    """What the robust fit is for: every point counted, the same answers give nonsense."""
    from worldline.geometry import fit_similarity

    video = video_of(world, outliers=0.33, false_confidence=True)
    u, v = (np.arange(144) % 12 + 0.5) / 12, (np.arange(144) // 12 + 0.5) / 12
    first, second = (torch.from_numpy(video.query(u, v, 0, 0, camera).points).double() for camera in (0, 5))
    plain = fit_similarity(second, first, with_scale=False).rotation
    assert float(torch.rad2deg(rotation_angle(plain, torch.from_numpy(true_poses(world)[5, :3, :3].copy())))) > 1


def test_noise_is_averaged_over_anchors(world: World) -> None:
    found = {}
    for references in ("anchored", "anchors"):
        options = CameraOptions(references=references, anchors=4, grid=16)
        several = [errors_of(estimate_cameras(video_of(world, noise=0.01, seed=s), options), true_poses(world))
                   for s in (1, 2)]  # fmt: skip
        found[references] = np.mean(several, axis=0)
    assert found["anchors"][0] < 0.6 and found["anchors"][1] < 0.03
    assert (found["anchors"] < found["anchored"]).all()


def test_anchors_reach_round_a_frame_that_knows_nothing(world: World) -> None:
    class Blind(Wrapped):
        """Frame 0 and frames 4, 5 do not know each other."""

        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            pair = (np.minimum(t_src, t_cam) == 0) & (np.maximum(t_src, t_cam) >= 4)
            noise = np.random.default_rng(0).normal(size=answers.points.shape).astype(np.float32)
            return replace(answers, points=np.where(pair[..., None], 9 * noise, answers.points))

    video = Blind(video_of(world))
    anchored = estimate_cameras(video, replace(FEW, references="anchored"))
    assert anchored.status == ("estimated",) * 4 + ("failed",) * 2
    assert np.isnan(anchored.world_from_cam[4:]).all() and np.isnan(anchored.residual[4:]).all()
    assert anchored.placed.tolist() == [0, 1, 2, 3]
    assert "Frames 4, 5 have no pose" in " ".join(anchored.warnings)
    anchors = estimate_cameras(video, replace(FEW, anchors=6))
    turn, shift = errors_of(anchors, true_poses(world))
    assert set(anchors.status) == {"estimated"} and turn < 0.01 and shift < 1e-4


def test_a_chain_ends_where_a_link_breaks(world: World) -> None:
    class Torn(Wrapped):
        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            across = (np.minimum(t_src, t_cam) == 2) & (np.maximum(t_src, t_cam) == 3)
            noise = np.random.default_rng(0).normal(size=answers.points.shape).astype(np.float32)
            return replace(answers, points=np.where(across[..., None], 9 * noise, answers.points))

    cameras = estimate_cameras(Torn(video_of(world)), replace(FEW, references="chain"))
    assert cameras.status == ("estimated",) * 3 + ("failed",) * 3


def test_points_on_a_line_are_no_pose(world: World) -> None:
    class Line(Wrapped):
        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            return replace(answers, points=np.stack([u * 0, u * 0, 1 + u], -1).astype(np.float32))

    assert estimate_cameras(Line(video_of(world)), FEW).status[1:] == ("failed",) * 5


def test_what_moves_does_not_disturb(world: World) -> None:
    """Both answers are about one moment, so a world full of motion gives exact poses as well."""
    from moving_world import moving_world

    moving = moving_world()
    cameras = estimate_cameras(ExactVideo(moving, HEIGHT, WIDTH), FEW)
    turn, shift = errors_of(cameras, true_poses(moving))
    assert turn < 0.01 and shift < 1e-4


def test_given_poses_are_kept_and_fix_the_scale(world: World) -> None:
    poses = world.cameras.world_from_cam
    video = video_of(world, scale=0.37)
    cameras = estimate_cameras(video, FEW, poses=poses)
    np.testing.assert_array_equal(cameras.world_from_cam, poses)
    assert cameras.status == ("given",) * FRAMES and cameras.fixed_scale
    assert float(cameras.world_from_reference.scale) == pytest.approx(1 / 0.37, rel=1e-4)
    some = estimate_cameras(video, FEW, poses=[poses[0], None, None, poses[3], None, None])
    assert some.status == ("given", "estimated", "estimated", "given", "estimated", "estimated")
    assert errors_of(some, poses)[1] < 1e-3
    with pytest.raises(InputError, match="2 poses for 6 frames"):
        estimate_cameras(video, FEW, poses=poses[:2])
    with pytest.raises(InputError, match="frame 1 is no rigid motion"):
        estimate_cameras(video, FEW, poses=[poses[0], 2 * poses[1], *[None] * 4])


def test_given_intrinsics_straighten_the_points(world: World) -> None:
    class Narrow(Wrapped):
        """A network that thinks the lens is 20 % longer than it is: X and Y are too small."""

        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            return replace(answers, points=answers.points * np.array([1 / 1.2, 1 / 1.2, 1], np.float32))

    focal = true_focal(world)
    known = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    blind = estimate_cameras(Narrow(video_of(world)), FEW)
    assert blind.intrinsics[0, 0, 0] == pytest.approx(1.2 * focal, rel=1e-3)
    told = estimate_cameras(Narrow(video_of(world)), FEW, intrinsics=known)
    turn, shift = errors_of(told, true_poses(world))
    assert turn < 0.01 and shift < 1e-3 and shift < 0.1 * errors_of(blind, true_poses(world))[1]
    np.testing.assert_array_equal(told.intrinsics, np.broadcast_to(known, (FRAMES, 3, 3)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("grid", [7, 16])  # an odd grid has a column through the centre, where any focal length fits
def test_exact_answers_give_the_focal_length(world: World, shared: bool, grid: int) -> None:
    found = estimate_intrinsics(video_of(world), IntrinsicsOptions(grid=grid, shared=shared, square_pixels=shared))
    np.testing.assert_allclose(found.focal, true_focal(world), rtol=1e-3)
    np.testing.assert_array_equal(found.matrices[:, :2, 2], np.tile([(WIDTH - 1) / 2, (HEIGHT - 1) / 2], (FRAMES, 1)))
    assert found.spread.max() < 1e-3 and found.wrong_side.max() == 0 and not found.warnings


def test_points_on_the_wrong_side_are_seen(world: World) -> None:
    class Mirrored(Wrapped):
        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            return replace(answers, points=answers.points * np.array([-1, -1, 1], np.float32))

    found = estimate_intrinsics(Mirrored(video_of(world)))
    assert found.wrong_side.min() == 1 and "cannot be read off" in found.warnings[0]
    np.testing.assert_allclose(found.focal, WIDTH / 2 / np.tan(np.radians(30)))


def test_wide_pixels(world: World) -> None:
    """Anamorphic video: the same picture stored with half the columns."""

    class Squeezed(Wrapped):
        def __init__(self, video: ExactVideo) -> None:
            super().__init__(video)
            self.original_size = (HEIGHT, WIDTH // 2)

        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            return answers

    found = estimate_intrinsics(Squeezed(video_of(world)), pixel_aspect=2.0)
    np.testing.assert_allclose(found.focal, np.tile([true_focal(world) / 2, true_focal(world)], (FRAMES, 1)), rtol=1e-3)


def test_radial_distortion(world: World) -> None:
    k1, k2, focal = 0.12, 0.03, true_focal(world)

    class Bent(Wrapped):
        """Pixels as a lens with barrel distortion sees them."""

        def query(self, u, v, t_src, t_tgt, t_cam):
            seen = np.stack(np.broadcast_arrays((u - 0.5) * WIDTH, (v - 0.5) * HEIGHT), -1) / focal
            ideal = seen.copy()
            for _ in range(60):
                squared = np.square(ideal).sum(-1, keepdims=True)
                ideal = seen / (1 + k1 * squared + k2 * squared**2)
            u, v = ideal[..., 0] * focal / WIDTH + 0.5, ideal[..., 1] * focal / HEIGHT + 0.5
            return self.video.query(np.clip(u, 0, 1), np.clip(v, 0, 1), t_src, t_tgt, t_cam)

    plain = estimate_intrinsics(Bent(video_of(world)))
    found = estimate_intrinsics(Bent(video_of(world)), IntrinsicsOptions(distortion=True))
    assert abs(plain.focal[0, 0] / focal - 1) > 0.01
    assert found.focal[0, 0] == pytest.approx(focal, rel=1e-3)
    assert found.distortion is not None
    np.testing.assert_allclose(found.distortion, [k1, k2], atol=0.01)
    straight = estimate_intrinsics(video_of(world), IntrinsicsOptions(distortion=True))
    assert straight.distortion is not None and np.abs(straight.distortion).max() < 1e-3


def test_anchors_are_frames_that_share_much(world: World) -> None:
    class Halves(Wrapped):
        """Frames 0-2 and 3-5 do not see what the others see."""

        def change(self, answers, u, v, t_src, t_tgt, t_cam):
            return replace(answers, visibility=np.where((t_src < 3) == (t_tgt < 3), 0.9, 0.1).astype(np.float32))

    chosen = choose_anchors(Halves(video_of(world)), 1, 2)
    assert chosen[0] == 1 and chosen[1] >= 3
    assert choose_anchors(video_of(world), 2, 1).tolist() == [2]
    assert sorted(choose_anchors(video_of(world), 0, 99).tolist()) == list(range(FRAMES))


@pytest.mark.parametrize(
    "choice", [{"references": "best"}, {"anchors": 0}, {"grid": 1}, {"max_error": 0.0}, {"min_inliers": 2.0}]
)
def test_senseless_choices_are_refused(choice: dict) -> None:
    with pytest.raises(InputError):
        CameraOptions(**choice)
