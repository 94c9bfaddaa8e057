"""Which point a click means, and the camera that follows a rig."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import synthetic_scene
from worldline.outputs.view.logic.chase import chase_distance, chase_pose
from worldline.outputs.view.logic.picking import length_text, pick, pixel_angle

PIXEL = pixel_angle(np.deg2rad(60), 720)
EYE, AHEAD = np.zeros(3), np.array([0.0, 0.0, 1.0])


@given(st.integers(0, 2**32 - 1))
def test_a_ray_through_a_point_of_a_surface_finds_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    eye = random.normal(size=3)
    directions = random.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = (eye + random.uniform(5.0, 5.05) * directions).astype(np.float32)  # a sphere about the eye: nothing hides
    chosen = int(random.integers(400))
    found = pick([points[:150], points[150:]], eye, points[chosen].astype(np.float64) - eye, pixel=PIXEL)
    assert found is not None
    np.testing.assert_array_equal(found, points[chosen])


@given(st.integers(0, 2**32 - 1))
def test_the_frontmost_of_a_crowd_is_found_as_by_hand(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(-1, 1, (300, 3)) * (0.2, 0.2, 1.0) + (0, 0, 3.0)
    depth, off = points[:, 2], np.hypot(points[:, 0], points[:, 1])
    found = pick([points], EYE, AHEAD, pixel=PIXEL)
    for cone in (2.0, 4.0, 8.0, 16.0):
        inside = off <= cone * PIXEL * depth
        if inside.any():
            front = inside & (depth <= 1.02 * depth[inside].min())
            assert found is not None
            np.testing.assert_allclose(found, points[front][np.argmin((off / depth)[front])], atol=1e-12)
            return
    assert found is None


def test_what_is_behind_the_eye_or_far_off_is_not_hit() -> None:
    assert pick([np.array([[0, 0, -1.0], [1.0, 0, 1.0]])], EYE, AHEAD, pixel=PIXEL) is None
    assert pick([np.zeros((0, 3))], EYE, AHEAD, pixel=PIXEL) is None and pick([], EYE, AHEAD, pixel=PIXEL) is None


def test_a_surface_hides_what_is_behind_it() -> None:
    wall = np.array([[0.001, 0, 2.0], [0.1, 0, 2.0]])
    behind = np.array([[0.0, 0, 3.0]])  # exactly on the ray, but two pixels from it there is a wall
    np.testing.assert_array_equal(pick([behind, wall], EYE, AHEAD, pixel=PIXEL), wall[0])


def test_a_far_off_edge_in_front_does_not_catch_the_click() -> None:
    edge = np.array([[12 * PIXEL, 0, 1.0]])  # twelve pixels beside the ray
    wall = np.array([[0.0, 0, 3.0]])
    np.testing.assert_array_equal(pick([edge, wall], EYE, AHEAD, pixel=PIXEL), wall[0])


def test_a_large_disc_is_hit_wherever_it_covers_the_ray() -> None:
    disc, small = np.array([[0.3, 0, 2.0]]), np.array([[0.0, 0, 3.0]])
    np.testing.assert_array_equal(pick([disc, small], EYE, AHEAD, pixel=PIXEL, radius=[0.4, 0.0]), disc[0])
    np.testing.assert_array_equal(pick([disc, small], EYE, AHEAD, pixel=PIXEL, radius=[0.2, 0.0]), small[0])


def test_lengths_say_their_unit() -> None:
    assert length_text(0.12345, metric=True) == "0.123 m"
    assert length_text(12.345, metric=True) == "12.35 m"
    assert length_text(123.45, metric=True) == "123.5 m"
    assert length_text(0.012345, metric=False) == "0.0123 units"


def test_the_chase_camera_is_behind_and_above_and_sees_the_rig() -> None:
    views = synthetic_scene.make_scene().views
    pose = chase_pose(views, 2.0)
    center = np.mean([view.camera.center for view in views], axis=0)
    forward = views[0].camera.world_from_cam[:3, 2]
    assert (pose.position - center) @ forward == pytest.approx(-2.0, abs=0.1)
    assert (pose.position - center) @ pose.up == pytest.approx(1.5, abs=1e-6)
    look = pose.target - pose.position
    assert look @ (center - pose.position) > 0.8 * np.linalg.norm(look) * np.linalg.norm(center - pose.position)
    assert chase_distance(views) == pytest.approx(2.0, abs=0.2)


def test_a_camera_that_looks_straight_down_still_has_a_forward() -> None:
    view = synthetic_scene.make_view(0, None)
    pose = chase_pose([view], 1.0)
    assert np.isfinite(pose.position).all() and np.linalg.norm(pose.target - pose.position) > 1.0
