"""The page of format ``html``, decoded by a reader of its own: points, colours, cameras, size, and what must not be."""

import base64
import dataclasses
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import moving_world
import synthetic_scene
from scene_checks import with_motion
from worldline.errors import InputError
from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.html import scene_page, write_html
from worldline.outputs.export.web_points import STEPS, octahedral, pack_points, pack_within
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene, SceneView
from worldline.worlds import sampling


def script(page: str, name: str) -> str:
    found = re.search(rf'<script id="{name}" type="[a-z/]+">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


def unfold(x: float, y: float) -> np.ndarray:
    """The direction of a point of the unfolded octahedron, in words of geometry: mirror the outer triangles back."""
    z = 1 - abs(x) - abs(y)
    if z < 0:
        x, y = np.copysign(1 - abs(y), x), np.copysign(1 - abs(x), y)
    return np.array([x, y, z]) / np.linalg.norm([x, y, z])


def read_points(page: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, colours and levels of confidence, by the description in docs/formats.md only."""
    scene = json.loads(script(page, "scene"))
    planes = np.frombuffer(zlib.decompress(base64.b64decode(script(page, "points"))), np.uint8).reshape(10, -1)
    assert planes.shape[1] == scene["count"] == sum(view["still"] + view["moving"] for view in scene["views"])
    folded = planes[:3].astype(int) + 256 * planes[3:6].astype(int)
    steps = np.cumsum(np.where(folded % 2, -(folded + 1) // 2, folded // 2), axis=1) % 65536 / 65535
    green, red, blue, level = np.cumsum(planes[6:].astype(int), axis=1) % 256
    colors = np.stack([red + green, green, blue + green], axis=1) % 256
    points, at = [], 0
    for view in scene["views"]:
        near, far = view["range"]
        for x, y, height in steps[:, at : at + view["still"] + view["moving"]].T:
            points.append(
                np.array(view["center"]) + unfold(2 * x - 1, 2 * y - 1) * np.exp(near + height * (far - near))
            )
            at += 1
    return np.array(points).reshape(-1, 3), colors, level


def thinned(scene: Scene, step: int = 5) -> Scene:
    """The same scene with fewer valid pixels, since the reader above is slow."""
    keep = np.zeros((512, 512), bool)
    keep[::step, ::step] = True
    views = [
        dataclasses.replace(view, mask=view.mask & keep[: view.mask.shape[0], : view.mask.shape[1]])
        for view in scene.views
    ]
    return dataclasses.replace(scene, views=tuple(views))


@pytest.fixture(scope="module")
def page(exact_scene: Scene) -> str:
    return scene_page(thinned(exact_scene))


def test_points_and_colours_are_those_of_the_scene(exact_scene: Scene, page: str) -> None:
    points, colors, confidence = thinned(exact_scene).point_cloud()
    found, found_colors, levels = read_points(page)
    assert np.array_equal(found_colors, colors)
    centers = np.concatenate(
        [np.tile(view.camera.center, (int(view.mask.sum()), 1)) for view in thinned(exact_scene).views]
    )
    distance = np.linalg.norm(points - centers, axis=1)
    error = np.linalg.norm(found - points, axis=1) / distance
    assert error.max() < 8e-5  # 0.02 pixels of a photo with a focal length of 300, at every distance
    table = np.array(json.loads(script(page, "scene"))["levels"])
    assert (table[levels] <= confidence * (1 + 1e-6)).all() and abs(np.mean(levels < 64) - 0.25) < 0.01
    hidden = confidence[levels < 128]
    assert hidden.max() <= confidence[levels >= 128].min()


def test_cameras_reproject_into_the_photo(exact_scene: Scene, page: str) -> None:
    for view, record in zip(exact_scene.views, json.loads(script(page, "scene"))["views"], strict=True):
        points, pixels = synthetic_scene.world_points(view)
        x, y, z = np.array(record["axes"]) @ (points - record["center"]).T
        fx, fy, cx, cy = record["k"]
        assert np.abs(np.stack([fx * x / z + cx, fy * y / z + cy], axis=1) - pixels).max() < 1e-3
        assert tuple(record["size"]) == view.transform.original_size and record["name"] == view.name
        left, top, right, bottom = record["picture"]  # what the network saw of the photo, without padding
        height, width = view.transform.original_size
        assert -0.51 <= left < right <= width - 0.49 and -0.51 <= top < bottom <= height - 0.49


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_directions_survive(vector: list[float]) -> None:
    direction = np.array(vector) / np.linalg.norm(vector)
    x, y = octahedral(direction[None])[0]
    assert max(abs(x), abs(y)) <= 1 + 1e-12
    assert np.abs(unfold(x, y) - direction).max() < 1e-9
    coarse = np.rint((np.array([x, y]) + 1) / 2 * STEPS) / STEPS * 2 - 1
    assert np.linalg.norm(unfold(*coarse) - direction) < 8e-5


def test_one_stray_point_coarsens_no_other(exact_scene: Scene) -> None:
    view = thinned(exact_scene).views[0]
    points = view.points.copy()
    points[0, 0], points[5, 5], points[10, 10] = (
        (0, 0, 1e9),
        (0, 0, -3),
        view.camera.center,
    )  # far, behind, at the centre
    scene = Scene(views=(dataclasses.replace(view, points=points),))
    found, _, _ = read_points(scene_page(scene))
    truth = scene.point_cloud()[0]
    distance = np.linalg.norm(truth - view.camera.center, axis=1)
    error = np.linalg.norm(found - truth, axis=1)
    assert (error <= np.maximum(2e-4 * distance, 1.1)).all()  # a point at the centre itself may be 10^-9 of 10^9 away
    assert (error <= 2e-4 * distance)[distance > 1].all()


def test_equal_scenes_have_equal_pages(exact_scene: Scene, page: str, tmp_path: Path) -> None:
    saved = Scene.load(thinned(exact_scene).save(tmp_path / "scene"))
    assert scene_page(saved) == page
    assert scene_page(thinned(exact_scene)) == page


def test_a_size_is_kept_and_the_choice_is_even(exact_scene: Scene) -> None:
    total = sum(int(view.mask.sum()) for view in exact_scene.views)
    whole = scene_page(exact_scene)
    assert f"{total:,} points" in whole and json.loads(script(whole, "scene"))["count"] == total
    limit = 130_000
    page = scene_page(exact_scene, max_bytes=limit)
    scene = json.loads(script(page, "scene"))
    assert 0.9 * limit < len(page.encode()) <= limit < len(whole.encode())
    assert f"{scene['count']:,} of {total:,} points (evenly chosen)" in page
    share = scene["count"] / total
    assert scene["spread"] == pytest.approx(share**-0.2, rel=0.02)
    for view, record in zip(exact_scene.views, scene["views"], strict=True):
        assert record["still"] / view.mask.sum() == pytest.approx(share, abs=0.01)
    packed = pack_points(exact_scene, 0.1, total)
    assert packed.count / total == pytest.approx(0.1, abs=0.005)
    with pytest.raises(InputError, match=r"10,000 bytes has no room"):
        scene_page(exact_scene, max_bytes=10_000)
    assert pack_within(exact_scene, 20_000).count > 1000


def test_a_choice_leaves_no_holes(exact_scene: Scene) -> None:
    """Each square of 8 by 8 pixels gives its share: no square is left out, none is taken whole."""
    view = dataclasses.replace(exact_scene.views[0], dynamic=None)
    found = read_points(scene_page(Scene(views=(view,)), max_bytes=52_000))[0]
    pixels, _ = view.model_camera.project(found)
    cells = np.floor((pixels + 0.5) / 8).astype(int)
    height, width = view.mask.shape
    counts = np.bincount(cells[:, 1] * (width // 8) + cells[:, 0], minlength=height * width // 64)
    assert 4 < counts.mean() < 40  # of 64
    assert counts.min() >= counts.mean() - 4 and counts.max() <= counts.mean() + 4


def without_points(view: SceneView) -> SceneView:
    return dataclasses.replace(view, mask=np.zeros_like(view.mask))


def test_nothing_is_fetched_and_nothing_private_is_told(exact_scene: Scene, page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy[1] and "connect-src" not in policy[1] and "http" not in policy[1]
    assert not re.search(
        r"(?:https?:)?//[a-z]", re.sub(r'<script id="(?:scene|points)".*?</script>', "", page, flags=re.S)
    )
    assert not re.search(r"<(?:link|iframe|img|object|embed)\b|\bsrc=|@import|\bfetch\(|import\(|eval\(", page)
    assert str(Path(exact_scene.views[0].source).parent) not in page
    assert "arguments" not in json.loads(script(page, "scene"))
    assert "exact (licence Apache-2.0)" in page and "scale: model" in page
    for model, shown in (("/home/me/secret/net", "net ("), ("lab/net-large", "lab/net-large (")):
        made = dataclasses.replace(exact_scene.provenance, model=model)
        page = scene_page(dataclasses.replace(thinned(exact_scene), provenance=made))
        assert shown in page and "secret" not in page


def test_awkward_names_stay_text(exact_scene: Scene) -> None:
    name = '</script><script>alert("1")</script><!-- $points ü'
    view = dataclasses.replace(thinned(exact_scene).views[0], name=name)
    page = scene_page(Scene(views=(view,)), title='<b>"title" & $style</b>')
    assert json.loads(script(page, "scene"))["views"][0]["name"] == name
    assert page.count("<script") == 3 and "alert(" in page and "<b>" not in page
    assert page.count("&lt;b&gt;&quot;title&quot; &amp; $style&lt;/b&gt;") == 2


def test_moments_and_what_moves(tmp_path: Path) -> None:
    (sample,) = sampling.render([moving_world.moving_world()], height=24, width=32)
    scene = exact_scene(sample, tracks=12)
    record = json.loads(script(scene_page(scene), "scene"))
    assert record["times"] == list(scene.times) and record["show"] == "moving" and record["start"] == 2
    assert [view["moment"] for view in record["views"]] == list(range(len(scene.times)))
    for view, each in zip(scene.views, record["views"], strict=True):
        assert each["moving"] == (view.mask & view.dynamic).sum() > 0
        assert each["still"] == (view.mask & ~view.dynamic).sum() > 0
    found, _, _ = read_points(scene_page(scene))
    first = scene.views[0]
    expected = np.concatenate([first.points[first.mask & ~first.dynamic], first.points[first.mask & first.dynamic]])
    assert np.abs(found[: len(expected)] - expected).max() < 1e-3
    boxes = {tuple(each["size"]): np.array(each["at"]) for each in record["objects"]}
    for thing in scene.objects:
        at = boxes[tuple(float(f"{value:.9g}") for value in thing.size)]
        assert np.abs(at[:, 1:] - thing.centers).max() < 1e-6 and list(at[:, 0]) == list(range(len(scene.times)))
    tracks = np.frombuffer(zlib.decompress(base64.b64decode(record["tracks"]["points"])), "<f4")
    tracks = tracks.reshape(len(record["tracks"]["colors"]), len(scene.times), 4)
    assert np.array_equal(tracks[..., :3], scene.tracks.points) and np.array_equal(
        tracks[..., 3] > 0, scene.tracks.visible
    )


def test_whatever_a_scene_may_hold(exact_scene: Scene, tmp_path: Path) -> None:
    failed = dataclasses.replace(exact_scene.views[1], pose_status="failed")
    scene = with_motion(dataclasses.replace(thinned(exact_scene), views=(without_points(exact_scene.views[0]), failed)))
    record = json.loads(script(scene_page(dataclasses.replace(scene, tracks=None)), "scene"))
    assert [view["posed"] for view in record["views"]] == [True, False] and "picture" not in record["views"][1]
    for views in ((), (failed,), (without_points(failed),)):
        nothing = Scene(views=views)
        assert json.loads(script(scene_page(nothing), "scene"))["count"] == sum(view.mask.sum() for view in views)
    path = write_html(nothing, OutputFolder(tmp_path), title="ours", name="a.html")
    assert "<title>ours</title>" in path.read_text(encoding="utf-8")


def test_frames_without_times_are_moments_where_things_move() -> None:
    (sample,) = sampling.render([moving_world.moving_world()], height=24, width=32)
    scene = exact_scene(sample, tracks=12)
    frames = tuple(dataclasses.replace(view, timestamp=None) for view in scene.views)
    record = json.loads(script(scene_page(dataclasses.replace(scene, views=frames)), "scene"))
    assert record["times"] == [0, 1, 2, 3, 4] and not record["seconds"] and record["tracks"]
    assert [view["moment"] for view in record["views"]] == [0, 1, 2, 3, 4]
    still = tuple(dataclasses.replace(view, dynamic=None) for view in frames)
    record = json.loads(script(scene_page(dataclasses.replace(scene, views=still, tracks=None)), "scene"))
    assert record["times"] == [] and record["views"][1]["moment"] is None
