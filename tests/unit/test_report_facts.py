"""The numbers of a report are those of the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import report_scenes
from worldline.outputs.report.contents import gather
from worldline.outputs.report.facts import BINS, choose, collect, papers, sample_points
from worldline.weights.registry import MODELS


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new view of reports is tested where rendering is, and from the command line."""
    monkeypatch.setattr("worldline.outputs.report.contents._new_view", report_scenes.quick_new_view)


def test_every_view_and_the_whole_are_counted_exactly() -> None:
    scene = report_scenes.photos(5)
    facts = collect(scene, choose(scene, 24))
    assert facts.views == 5 and [each.number for each in facts.shown] == [1, 2, 3, 4, 5]
    assert facts.points == len(scene.point_cloud()[0]) == 5 * 24 * 24
    assert facts.statuses == {"estimated": 4, "failed": 1}
    first, view = facts.shown[0], scene.views[0]
    assert first.depth == pytest.approx(float(np.median(view.depth[view.mask])))
    assert (first.near, first.far) == pytest.approx(tuple(np.percentile(view.depth[view.mask], (2, 98))))
    assert first.valid == 0.75 and first.focal == 30 and first.size == (32, 24)
    assert first.confidence == pytest.approx(float(np.median(view.confidence)))
    assert facts.spread == pytest.approx(1.5)  # the fifth camera has no pose
    assert facts.unit == "units" and facts.way is None and facts.dynamic is None


def test_the_histogram_counts_every_valid_pixel_once() -> None:
    scene = report_scenes.photos(3)
    histogram = collect(scene, [0]).histogram
    assert histogram is not None
    values = scene.point_cloud()[2]
    edges = np.geomspace(values.min(), values.max(), BINS + 1)
    expected = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    assert histogram.counts.sum() == len(values)
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= len(values) / 24  # values on an edge
    assert (histogram.scale.low, histogram.scale.high) == pytest.approx((values.min(), values.max()))


def test_confidence_that_is_the_same_everywhere_has_no_histogram_and_no_maps() -> None:
    scene = report_scenes.photos(2)
    flat = replace(scene, views=tuple(replace(v, confidence=np.full_like(v.confidence, 2)) for v in scene.views))
    contents = gather(flat, "flat")
    assert contents.facts.histogram is None
    assert [row.label for row in contents.rows] == ["input", "depth"]
    assert ("confidence", "2 everywhere") in contents.summary


def test_a_stream_has_metres_a_way_and_moving_pixels() -> None:
    facts = collect(report_scenes.stream(4), [0])
    assert facts.unit == "m" and facts.sensors == ("FRONT", "LEFT", "BACK") and facts.moments == 4
    assert facts.way == pytest.approx(3.0) and facts.seconds == pytest.approx(1.5)
    assert facts.dynamic == pytest.approx(8 / 24) and facts.objects == 1


def test_few_views_of_a_long_scene_are_spread_evenly() -> None:
    scene = report_scenes.photos(50)
    rows = choose(scene, 8)
    assert rows[0] == 0 and rows[-1] == 49 and len(rows) == 8
    assert set(np.diff(rows)) == {7}
    assert choose(scene, 50) == tuple(range(50)) and choose(scene, 1) == (0,)
    contents = gather(scene, "long", 8)
    assert contents.selection.startswith("8 of 50 views")
    assert [row[0] for row in contents.table[1:]] == [str(row + 1) for row in rows]
    assert contents.facts.points == 50 * 24 * 24  # of all views, shown or not


def test_of_a_rig_whole_moments_are_shown() -> None:
    scene = report_scenes.stream(10)
    rows = choose(scene, 8)  # room for two moments of three sensors
    assert [scene.views[row].sensor for row in rows] == ["FRONT", "LEFT", "BACK"] * 2
    assert {scene.views[row].timestamp for row in rows} == {100.0, 104.5}
    assert choose(scene, 30) == tuple(range(30))
    assert gather(scene, "rig", 8).columns == 3


def test_a_scene_without_one_valid_pixel_still_has_a_report() -> None:
    scene = report_scenes.photos(2)
    nothing = replace(scene, views=tuple(replace(v, mask=np.zeros_like(v.mask)) for v in scene.views))
    contents = gather(nothing, "nothing")
    assert contents.facts.points == 0
    assert contents.table[1][6:8] == ("–", "–")


def test_the_sample_keeps_to_its_size_and_to_valid_pixels() -> None:
    scene = report_scenes.photos(4)
    sample = sample_points(scene, 500)
    assert 350 < len(sample.points) <= 500 == 500
    cloud = {tuple(point) for point in scene.point_cloud()[0].tolist()}
    assert all(tuple(point) in cloud for point in sample.points.tolist())
    assert len(sample_points(scene).points) == 4 * 24 * 24


@pytest.mark.parametrize("name", MODELS)
def test_every_known_model_has_a_paper_to_cite(name: str) -> None:
    assert "arXiv" in papers(name)[0]


def test_weights_of_unknown_origin_cite_only_the_program() -> None:
    assert papers("/home/me/my.safetensors") == ()
