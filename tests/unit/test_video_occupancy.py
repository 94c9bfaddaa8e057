"""All-pixel tracking: counts that follow from the geometry by hand, and worlds whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exact_video import ExactVideo
from moving_world import moving_world
from worldline.errors import InputError
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.occupancy import AllTracks, AllTracksOptions, all_tracks, cell_grid

HEIGHT, WIDTH, COUNT = 6, 10, 8
DEPTH, FOCAL = 2.0, 10.0  # of the plane, and in pixels


class Plane:
    """A plane parallel to the image; the camera slides so that it moves ``step`` pixels to the left a frame."""

    def __init__(self, step: float = 0.0, *, count: int = COUNT, shown: float = 1.0) -> None:
        self.step, self.frame_count, self.original_size, self.shown = step, count, (HEIGHT, WIDTH), shown
        self.asked: list[np.ndarray] = []  # (u, v, t_src) of every track

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        u, v, t_src, t_tgt, t_cam = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
        self.asked.append(np.stack([u[:, 0], v[:, 0], t_src[:, 0]], -1))

        def seen_from(frame: np.ndarray) -> np.ndarray:
            return u * WIDTH - (frame - t_src) * self.step

        uv = np.stack([seen_from(t_tgt) / WIDTH, v], -1)
        inside = (uv[..., 0] >= 0) & (uv[..., 0] < 1)
        points = np.stack([seen_from(t_cam) - WIDTH / 2, v * HEIGHT - HEIGHT / 2, np.full(u.shape, FOCAL)], -1)
        zeros = np.zeros((*u.shape, 3), np.float32)
        return VideoAnswers(
            (points * DEPTH / FOCAL).astype(np.float32),
            uv.astype(np.float32),
            np.where(inside, self.shown, 0.0).astype(np.float32),
            zeros,
            zeros,
            np.ones(u.shape, np.float32),
        )


def starts(video: Plane) -> int:
    everything = np.concatenate(video.asked)
    assert len(np.unique(everything, axis=0)) == len(everything), "a cell started twice"
    return len(everything)


@pytest.mark.parametrize("order", ["fullest", "time", "random"])
def test_still_camera_in_a_still_world_needs_one_track_per_pixel(order: str) -> None:
    # one at a time, so that cells at random cannot meet in a batch; whole frames need no such care
    found = all_tracks(Plane(), AllTracksOptions(order=order, batch=1 if order == "random" else 4096))  # type: ignore[arg-type]
    assert len(found) == found.saving.tracks == HEIGHT * WIDTH
    assert found.saving.factor == COUNT  # the most that there is to save
    assert found.saving.queries == HEIGHT * WIDTH * COUNT
    assert found.saving.brute_force == HEIGHT * WIDTH * COUNT**2


@pytest.mark.parametrize("step", [1, 2, 5, 10, 13, -3])
@pytest.mark.parametrize("order", ["fullest", "time"])
def test_every_column_that_comes_into_sight_is_followed_once(step: int, order: str) -> None:
    # W columns at first, then |step| new ones a frame, of which no more than W fit into a frame
    columns = WIDTH + (COUNT - 1) * min(abs(step), WIDTH)
    video = Plane(step)
    found = all_tracks(video, AllTracksOptions(order=order))  # type: ignore[arg-type]
    assert starts(video) == len(found) == HEIGHT * columns
    assert found.saving.factor == pytest.approx(COUNT * WIDTH / columns)


def test_cells_at_random_one_at_a_time_are_as_few_and_all_at_once_are_all() -> None:
    one = all_tracks(Plane(1), AllTracksOptions(order="random", batch=1))
    every = all_tracks(Plane(1), AllTracksOptions(order="random", batch=HEIGHT * WIDTH * COUNT))
    assert len(one) == HEIGHT * (WIDTH + COUNT - 1)
    assert len(every) == HEIGHT * WIDTH * COUNT and every.saving.factor == 1


def test_batches_grow_up_to_their_limit() -> None:
    video = Plane(0.0, shown=0.0)  # nothing is ever marked by a track
    all_tracks(video, AllTracksOptions(order="random", batch=3, growth=2.0, largest_batch=20))
    assert [len(each) for each in video.asked[:5]] == [3, 6, 12, 20, 20]


def test_it_ends_and_covers_everything_even_if_nothing_is_called_visible() -> None:
    found = all_tracks(Plane(shown=0.4), AllTracksOptions())
    assert len(found) == found.saving.unseen == HEIGHT * WIDTH * COUNT
    assert len(all_tracks(Plane(shown=0.4), AllTracksOptions(visible=0.3))) == HEIGHT * WIDTH


def test_the_radius_spares_the_neighbours_of_a_track() -> None:
    # 6 x 10 cells: every third row and column suffices, the last column is one cell from the last lattice point but one
    found = all_tracks(Plane(), AllTracksOptions(radius=1.5))
    assert len(found) == 2 * 3 + 2  # lattice rows 1, 4; columns 1, 4, 7; then column 9, which 7 does not reach
    first = found.queries[:6, :2]
    assert sorted(map(tuple, np.rint(first).astype(int).tolist())) == [(1, 1), (1, 4), (4, 1), (4, 4), (7, 1), (7, 4)]
    assert len(all_tracks(Plane(), AllTracksOptions(radius=1.0))) == 3 * 5  # 2 x 2 cells


def test_half_a_pixel_a_frame_leaves_cells_that_no_track_enters() -> None:
    fine = len(all_tracks(Plane(0.5), AllTracksOptions()))
    assert fine >= HEIGHT * (WIDTH + np.floor((COUNT - 1) * 0.5))


def test_cells_divide_the_frame_evenly() -> None:
    assert cell_grid((480, 854), 4) == (120, 214)
    assert cell_grid((5, 7), 100) == (1, 1)
    found = all_tracks(Plane(), AllTracksOptions(cell=2))
    assert found.grid == (3, 5) and len(found) == 15
    np.testing.assert_allclose(found.queries[0], (0.5, 0.5, 3))  # between pixels, in the frame in the middle


def test_points_are_in_the_camera_of_the_moment_or_in_one_for_all() -> None:
    own = all_tracks(Plane(1), AllTracksOptions())
    fixed = all_tracks(Plane(1), AllTracksOptions(camera=2))
    assert own.camera is None and fixed.camera == 2
    np.testing.assert_allclose(np.diff(own.points[:, :, 0], axis=1), -DEPTH / FOCAL, atol=1e-5)
    np.testing.assert_allclose(np.diff(fixed.points, axis=1), 0, atol=1e-6)
    np.testing.assert_array_equal(own.queries, fixed.queries)


def test_what_is_visited_already_needs_no_track() -> None:
    visited = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    first = all_tracks(Plane(), AllTracksOptions(cell=1), visited=visited)
    assert visited.all() and len(first) == HEIGHT * WIDTH
    none = all_tracks(Plane(), AllTracksOptions(), visited=visited)
    assert len(none) == 0 and none.points.shape == (0, COUNT, 3) and none.saving.factor == 1
    visited[2, :, 3] = False  # one column that an earlier window did not see
    assert len(all_tracks(Plane(), AllTracksOptions(), visited=visited)) == HEIGHT
    with pytest.raises(InputError, match="visited cells have shape"):
        all_tracks(Plane(), AllTracksOptions(cell=2), visited=visited)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="no camera 8"):
        all_tracks(Plane(), AllTracksOptions(camera=8))
    for wrong in ({"cell": 0}, {"radius": -1.0}, {"batch": 0}, {"growth": 0.5}, {"visible": 1.0}, {"order": "best"}):
        with pytest.raises(InputError):
            AllTracksOptions(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def moving() -> tuple[ExactVideo, AllTracks]:
    video = ExactVideo(moving_world(), 24, 32)
    return video, all_tracks(video, AllTracksOptions())


def test_a_moving_world_is_covered_completely(moving: tuple[ExactVideo, AllTracks]) -> None:
    video, found = moving
    rows, columns = found.grid  # one cell per pixel
    covered = np.zeros((video.frame_count, rows, columns), bool)
    track, frame = np.nonzero(found.visible)
    column, row = np.rint(found.pixels[track, frame]).astype(int).T
    covered[frame, row.clip(0, rows - 1), column.clip(0, columns - 1)] = True
    x, y, start = np.rint(found.queries).astype(int).T
    covered[start, y, x] = True
    assert covered.all()
    assert 2 < found.saving.factor <= video.frame_count
    assert found.saving.queries == video.asked


def test_tracks_are_the_exact_ones(moving: tuple[ExactVideo, AllTracks]) -> None:
    video, found = moving
    some = np.random.default_rng(0).choice(len(found), 50, replace=False)
    every = np.arange(video.frame_count)
    u, v = ((found.queries[some, :2] + 0.5) / (32, 24)).T[..., None]
    exact = video.query(u, v, found.queries[some, 2:].astype(int), every, every)
    np.testing.assert_allclose(found.points[some], exact.points, atol=1e-5)
    np.testing.assert_allclose(found.pixels[some], exact.uv * (32, 24) - 0.5, atol=1e-4)
    np.testing.assert_array_equal(found.visibility[some], exact.visibility)


def test_progress_rises_to_everything() -> None:
    heard: list[tuple[int, int]] = []
    all_tracks(Plane(1), AllTracksOptions(), progress=lambda done, total: heard.append((done, total)))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[-1] == (HEIGHT * WIDTH * COUNT, HEIGHT * WIDTH * COUNT)
