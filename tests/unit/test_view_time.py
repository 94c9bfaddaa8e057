"""Timeline, clock, thinning, tracks and boxes of the viewer, without a browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moving_scene
import synthetic_scene
from worldline.errors import InputError
from worldline.outputs.facts.trails import drawn_tracks, trail_range, trails_of
from worldline.outputs.view.logic.boxes import arrow, box_at, object_text
from worldline.outputs.view.logic.clock import MODES, Clock, is_shown, timeline_of
from worldline.outputs.view.logic.coloring import ALL_COLORINGS, legend, sensor_color, useful_colorings, view_color
from worldline.outputs.view.logic.selection import kept_pixels
from worldline.outputs.view.logic.thinning import RESIDENT, count_parts, drawn_of, shown_parts, split, thinning
from worldline.outputs.view.panels.compare import arrange, start_of
from worldline.outputs.view.stage import Stage
from worldline.outputs.view.state import ViewState
from worldline.scene import Scene
from worldline.types import MovingObject, Tracks

TICKS = (10.0, 10.5, 11.0, 11.5)


def clock(times: tuple[float, ...] = TICKS, **options: object) -> Clock:
    timeline = timeline_of([times])
    assert timeline is not None
    return Clock(timeline, **options)  # type: ignore[arg-type]


def test_photos_without_times_have_no_timeline() -> None:
    assert timeline_of([(), ()]) is None


def test_one_scene_has_its_own_moments() -> None:
    timeline = timeline_of([TICKS])
    assert timeline is not None
    np.testing.assert_allclose(timeline.seconds, (0, 0.5, 1.0, 1.5))
    np.testing.assert_array_equal(timeline.moments[0], (0, 1, 2, 3))
    assert timeline.nearest(10.99) == 1 and timeline.nearest(0.0) == 0 and timeline.nearest(99.0) == 3


def test_recordings_of_the_same_time_share_their_clock() -> None:
    timeline = timeline_of([(10.0, 11.0, 12.0), (11.0, 11.5), ()])
    assert timeline is not None
    np.testing.assert_allclose(timeline.seconds, (0, 1, 1.5, 2))
    np.testing.assert_array_equal(timeline.moments[0], (0, 1, 1, 2))
    np.testing.assert_array_equal(timeline.moments[1], (-1, 0, 1, 1))
    assert len(timeline.moments[2]) == 0


def test_recordings_of_different_days_begin_together() -> None:
    timeline = timeline_of([(0.0, 1.0), (5000.0, 5001.0)])
    assert timeline is not None
    np.testing.assert_allclose(timeline.seconds, (0, 1))
    np.testing.assert_array_equal(timeline.moments[1], (0, 1))


def test_playing_is_real_time_and_loops() -> None:
    playing = clock()
    playing.play()
    assert not playing.advance(0.4) and playing.advance(0.2) and playing.tick == 1
    playing.speed = 4.0
    assert playing.advance(0.2) and playing.tick == 2  # 0.6 + 0.8 s
    assert playing.advance(0.1) and playing.tick == 3
    assert playing.advance(0.1) and playing.tick == 0  # the last moment lasts half a second too


def test_without_loop_the_clock_stops_at_the_end_and_play_begins_anew() -> None:
    playing = clock(loop=False)
    playing.play()
    assert playing.advance(100.0) and playing.tick == 3 and not playing.playing
    assert not playing.advance(1.0)
    playing.play()
    assert playing.tick == 0 and playing.playing


def test_a_single_moment_does_not_play() -> None:
    lone = clock((3.0,))
    lone.play()
    assert not lone.playing and not lone.advance(5.0)


def test_long_pauses_of_the_recording_are_cut_short() -> None:
    playing = clock((0.0, 0.1, 0.2, 3600.0))
    np.testing.assert_allclose(playing.timeline.play_at, (0, 0.1, 0.2, 2.2))


def test_a_grown_timeline_keeps_the_moment() -> None:
    growing = clock()
    growing.seek(2)
    longer = timeline_of([(10.5, 11.0, 11.5, 12.0, 12.5)])  # the oldest was given up
    assert longer is not None
    growing.extend(longer)
    assert growing.tick == 1


@given(
    st.lists(st.floats(0, 1e5), min_size=2, max_size=12, unique=True),
    st.lists(st.floats(0, 20), min_size=1, max_size=30),
)
def test_the_clock_stays_within_the_timeline(times: list[float], steps: list[float]) -> None:
    timeline = timeline_of([sorted(times)])
    assert timeline is not None
    playing = Clock(timeline)
    playing.play()
    for elapsed in steps:
        before = playing.tick
        assert playing.advance(elapsed) == (playing.tick != before)
        assert 0 <= playing.tick < len(timeline)


@pytest.mark.parametrize(
    ("mode", "still", "moving"),
    [
        ("still", "111", "010"),
        ("moment", "010", "010"),
        ("until", "110", "010"),
        ("all", "111", "111"),
    ],
)
def test_what_is_shown_at_the_middle_of_three_moments(mode: str, still: str, moving: str) -> None:
    for moves, expected in ((False, still), (True, moving)):
        assert "".join("01"[int(one)] for one in is_shown(mode, np.arange(3), 1, moving=moves)) == expected


def test_points_of_no_known_time_are_always_shown() -> None:
    assert all(is_shown(mode, np.array([-1]), 5, moving=moves).all() for mode in MODES for moves in (True, False))
    with pytest.raises(InputError, match="Choose one of still, moment"):
        is_shown("never", np.zeros(1, int), 0, moving=False)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 300), st.integers(-1, 5)), min_size=1, max_size=20),
    st.integers(1, 4000),
    st.sampled_from(sorted(MODES)),
)
def test_no_moment_exceeds_the_budget(views: list[tuple[int, int, int]], budget: int, mode: str) -> None:
    counts, moments = np.array([view[:2] for view in views]), np.array([view[2] for view in views])
    drawn = drawn_of(counts, thinning(counts, moments, mode, budget))
    assert drawn.sum() <= RESIDENT * budget
    for now in range(6):
        seen = [drawn[is_shown(mode, moments, now, moving=bool(part)), part].sum() for part in (0, 1)]
        assert sum(seen) <= budget


def test_a_budget_that_suffices_thins_nothing() -> None:
    counts, moments = np.array([[100, 20], [80, 50], [60, 0]]), np.array([0, 1, 1])
    assert thinning(counts, moments, "moment", 190) == 1.0  # 80 + 50 + 60 at moment 1
    assert thinning(counts, moments, "still", 290) == 1.0  # 240 + 50
    assert thinning(counts, moments, "until", 290) == 1.0
    assert thinning(counts, moments, None, 155) == 0.5


def test_splitting_keeps_the_order_and_takes_the_unknown_as_still() -> None:
    rows = np.array([4, 0, 2])
    still, moving = split(np.array([True, False, False, True, True]), rows)
    np.testing.assert_array_equal(still, [2])
    np.testing.assert_array_equal(moving, [4, 0])
    still, moving = split(None, rows)
    np.testing.assert_array_equal(still, rows)
    assert not len(moving)


def test_a_box_moves_between_the_instants_at_which_it_is_known() -> None:
    thing = MovingObject(
        id=7,
        timestamps=np.array([1.0, 2.0]),
        centers=np.array([[0, 0, 0], [2, 0, 4]], np.float32),
        velocities=np.array([[2, 0, 4], [4, 0, 4]], np.float32),
        size=np.array([1, 1, 1], np.float32),
    )
    state = box_at(thing, 1.5)
    assert state is not None
    np.testing.assert_allclose(state.center, (1, 0, 2))
    np.testing.assert_allclose(state.velocity, (3, 0, 4))
    assert state.speed == 5.0 and object_text(thing, state, metric=True) == "#7  5.0 m/s"
    line = arrow(thing, state)
    assert line is not None
    np.testing.assert_allclose(line[1], (3, 0, 4))
    assert box_at(thing, 0.9) is None and box_at(thing, 2.1) is None
    assert box_at(thing, 2.0) is not None
    resting = replace(thing, velocities=np.zeros((2, 3), np.float32))
    assert arrow(resting, box_at(resting, 1.5)) is None  # type: ignore[arg-type]


def test_tracks_by_moments() -> None:
    scene = synthetic_scene.make_scene(gaussians=False)
    trails = trails_of(scene)
    assert trails is not None
    assert scene.tracks is not None
    for moment in range(4):
        points, _, visible = trails.heads(moment)
        np.testing.assert_array_equal(points, scene.tracks.points[:, moment])
        np.testing.assert_array_equal(visible, scene.tracks.visible[:, moment])
    lines, colors = trails.pieces(2)
    np.testing.assert_array_equal(lines, scene.tracks.points[:, 1:3])
    assert colors.shape == (5, 2, 3) and not len(trails.pieces(0)[0])


def test_of_several_views_of_a_moment_the_one_that_sees_the_point_counts() -> None:
    scene = synthetic_scene.make_scene(gaussians=False)
    views = tuple(replace(view, timestamp=float(index // 2)) for index, view in enumerate(scene.views))
    points = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    points[1, 3] = np.nan
    visible = np.array([[0, 1, 1, 0], [0, 0, 0, 1]], bool)
    tracks = Tracks(points, np.ones((2, 4, 2), np.float32), visible)
    trails = trails_of(replace(scene, views=views, tracks=tracks))
    assert trails is not None
    np.testing.assert_array_equal(trails.points[0], points[0, [1, 2]])
    np.testing.assert_array_equal(trails.points[1], points[1, [0, 2]])
    np.testing.assert_array_equal(trails.visible, [[True, True], [False, False]])


def test_tracks_have_the_moments_of_the_timeline_where_some_views_have_no_time() -> None:
    scene = moving_scene.make_scene()
    photo = replace(scene.views[0], name="photo", timestamp=None)
    tracks = scene.tracks
    assert tracks is not None
    nowhere = np.full((len(tracks.points), 1, 3), 77.0, np.float32)
    mixed = replace(
        scene,
        views=(photo, *scene.views),
        tracks=Tracks(
            np.concatenate([nowhere, tracks.points], 1),
            np.concatenate([tracks.pixels[:, :1], tracks.pixels], 1),
            np.concatenate([tracks.visible[:, :1], tracks.visible], 1),
        ),
    )
    stage, found, expected = stage_of(mixed), trails_of(mixed), trails_of(scene)
    assert found is not None and expected is not None and stage.times == moving_scene.TIMES
    np.testing.assert_array_equal(found.points, expected.points)  # one per tick of the timeline, none of the photo
    single = trails_of(replace(mixed, views=tuple(replace(view, timestamp=3.0) for view in mixed.views)))
    assert single is not None and single.points.shape[1] == 1


def test_tracks_are_limited_and_say_so() -> None:
    scene = synthetic_scene.make_scene(gaussians=False)
    trails = trails_of(scene, most=2)
    assert trails is not None and len(trails) == 2 == drawn_tracks(scene, 2)
    assert trails_of(replace(scene, tracks=None)) is None


def test_trails_are_fainter_where_the_point_is_hidden() -> None:
    scene = synthetic_scene.make_scene(gaussians=False)
    trails = trails_of(scene)
    assert trails is not None
    _, colors = trails.pieces(2)
    ends = trails.visible[:, 1:3]
    assert ends.any() and not ends.all()
    vivid = np.ptp(colors.astype(int), axis=-1)
    assert vivid[ends].min() > vivid[~ends].max()


def test_a_trail_is_what_lies_within_its_seconds() -> None:
    assert trail_range(TICKS, 3, 1.0) == range(2, 4)  # from 10.5 s on
    assert trail_range(TICKS, 3, 0.0) == range(4, 4)
    assert trail_range(TICKS, 1, 60.0) == range(1, 2)
    assert trail_range(TICKS, 0, 60.0) == range(1, 1)


def stage_of(scene: Scene, prefix: str = "/a") -> Stage:
    return Stage(scene, prefix, "test")


def test_colours_say_time_sensor_and_motion() -> None:
    stage = stage_of(moving_scene.make_scene())
    assert useful_colorings([stage]) == ("photo", "confidence", "depth", "view", "time", "sensor", "moving / still")
    times = {tuple(ALL_COLORINGS["time"](stage, index)[0]) for index in range(len(stage))}
    assert len(times) == 4
    front, side = (ALL_COLORINGS["sensor"](stage, index) for index in (0, 1))
    assert tuple(front[0]) == sensor_color("front", ("front", "side")) != tuple(side[0])
    assert view_color(stage, 0) == tuple(front[0])
    colors, moves = ALL_COLORINGS["moving / still"](stage, 0).astype(int), stage.pixels(0).dynamic
    assert moves is not None and moves.any() and not moves.all()
    assert (colors[moves, 0] > colors[moves, 2]).all() and (colors[~moves, 0] < colors[~moves, 2]).all()


def test_photos_without_times_offer_no_colours_of_time() -> None:
    scene = synthetic_scene.make_scene()
    views = tuple(replace(view, timestamp=None, sensor=None) for view in scene.views)
    stage = stage_of(replace(scene, views=views, tracks=None))
    assert useful_colorings([stage]) == ("photo", "confidence", "depth", "view")
    assert useful_colorings([stage, stage])[-1] == "scene"
    assert tuple(ALL_COLORINGS["time"](stage, 0)[0]) == tuple(ALL_COLORINGS["sensor"](stage, 0)[0])


def test_legends_name_what_the_colours_mean() -> None:
    stage = stage_of(moving_scene.make_scene())
    assert legend("photo", stage) == ""
    assert "1.5 s" in legend("time", stage) and " m<" in legend("depth", stage)
    assert "front" in legend("sensor", stage) and "stands still" in legend("moving / still", stage)
    spoilt = replace(stage.scene, views=(replace(stage.scene.views[0], sensor="<b>"),), tracks=None)
    assert "<b>" not in legend("sensor", stage_of(spoilt))


def test_what_of_a_stage_is_shown_at_a_tick() -> None:
    stage = stage_of(moving_scene.make_scene())  # eight views, two of each moment
    state = ViewState(moment=1, timing="still")
    np.testing.assert_array_equal(shown_parts(stage, state)[:, 0], np.ones(8, bool))
    np.testing.assert_array_equal(np.flatnonzero(shown_parts(stage, state)[:, 1]), [2, 3])
    one = shown_parts(stage, replace(state, timing="moment", sensors=frozenset({"side"})))
    np.testing.assert_array_equal(one, [[index == 3] * 2 for index in range(8)])
    stage.set_ticks(np.array([-1, 0]))
    assert not shown_parts(stage, ViewState(moment=0, timing="until")).any()


def test_scenes_side_by_side_do_not_touch_and_stand_on_the_same_ground() -> None:
    first, second = moving_scene.make_scene(), moving_scene.make_scene(times=(0.0,))
    stages = [stage_of(first), stage_of(second, "/b")]
    arrange(stages)
    ends = [stage.sample.points @ stage.rotation.T + stage.position for stage in stages]
    assert ends[1][:, 0].min() > ends[0][:, 0].max()  # right of the first camera's view is +x
    np.testing.assert_allclose(ends[1][:, 1].max(), ends[0][:, 1].max(), atol=0.1)
    arrange(stages, "overlay")
    assert not stages[1].position.any()
    start = start_of(stages)
    assert start.position[2] < 0 < start.look_at[2]


def test_a_scene_with_another_up_is_turned_upright() -> None:
    scene = moving_scene.make_scene(tracks=False, objects=False)
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # its y axis points up, not down
    views = tuple(
        replace(
            view,
            points=(view.points @ turn.T).astype(np.float32),
            camera=replace(view.camera, world_from_cam=np.block([[turn, np.zeros((3, 1))], [np.zeros(3), 1]])),
        )
        for view in scene.views
    )
    stages = [stage_of(scene), stage_of(replace(scene, views=views), "/b")]
    arrange(stages)
    np.testing.assert_allclose(stages[1].rotation @ stages[1].up, stages[0].up, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(stages[1].rotation), 1.0)
    np.testing.assert_allclose(stages[1].rotation @ turn, np.eye(3), atol=1e-6)


def test_views_keep_their_ids_while_a_stage_grows() -> None:
    scene = moving_scene.make_scene(tracks=False)
    stage = stage_of(replace(scene, views=scene.views[:4]))
    assert stage.times == moving_scene.TIMES[:2]
    held = stage.pixels(3)
    stage.replace_views(replace(scene, views=scene.views[2:]), [2, 3, 4, 5, 6, 7])
    assert stage.times == moving_scene.TIMES[1:] and stage.pixels(1) is held
    np.testing.assert_array_equal(stage.moments, [0, 0, 1, 1, 2, 2])
    assert stage.index_of(1) is None and stage.pixels_of(1) is None and stage.pixels_of(3) is held
    assert [view.name for view in stage.views_at(2)] == ["front_11.5", "side_11.5"]


def test_frames_of_a_video_without_times_are_moments() -> None:
    scene = moving_scene.make_scene()
    views = tuple(replace(view, timestamp=None) for view in scene.views[::2])
    tracks = scene.tracks
    assert tracks is not None
    tracks = Tracks(tracks.points[:, ::2], tracks.pixels[:, ::2], tracks.visible[:, ::2])
    stage = stage_of(replace(scene, views=views, tracks=tracks))
    assert not stage.timed and len(stage.times) == 4 and stage.times[1] == 1 / 24
    np.testing.assert_array_equal(stage.moments, [0, 1, 2, 3])
    assert "frame" in legend("time", stage)
    still = stage_of(replace(scene, views=tuple(replace(view, dynamic=None) for view in views), tracks=None))
    assert still.times == () and (still.moments == -1).all()


def uneven_stage() -> Stage:
    """Confidence and depth that differ from pixel to pixel; of one view it is not known what moves."""
    random = np.random.default_rng(3)
    views = [
        replace(
            view,
            confidence=random.uniform(1, 5, view.depth.shape).astype(np.float32),
            depth=random.uniform(1, 9, view.depth.shape).astype(np.float32),
            mask=random.uniform(size=view.depth.shape) > 0.2,
            dynamic=None if number == 2 else view.dynamic,
        )
        for number, view in enumerate(moving_scene.make_scene().views[:4])
    ]
    return stage_of(Scene(views=tuple(views)))


UNEVEN = uneven_stage()


@pytest.mark.parametrize("motion", ["all", "static", "dynamic"])
@given(st.floats(0, 99), st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=25)
def test_pixels_are_counted_as_they_are_chosen(motion: str, confidence: float, depth: tuple[float, float]) -> None:
    state = ViewState(motion=motion, confidence=confidence, depth=depth)
    threshold = UNEVEN.threshold(confidence)
    for index in range(len(UNEVEN)):
        rows = split(UNEVEN.pixels(index).dynamic, kept_pixels(UNEVEN, state, index))
        assert count_parts(UNEVEN, state, index, threshold) == tuple(map(len, rows))
