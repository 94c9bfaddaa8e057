"""Pictures and films of scenes of which the truth is known: procedural worlds, rendered by their own tracer."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from synthetic_scene import make_scene
from worldline.errors import InputError, OutputError
from worldline.outputs import film_file
from worldline.outputs.render import rasterize
from worldline.outputs.render import scene as scene_module
from worldline.outputs.render.film import beside_photos, is_film, write_film, write_still
from worldline.outputs.render.paths import PathOptions, make_path
from worldline.outputs.render.picture import Picture
from worldline.outputs.render.points import PointOptions
from worldline.outputs.render.scene import (
    RenderOptions,
    SceneRenderer,
    default_moment,
    render_scene,
    render_still,
    still_camera,
)
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene
from worldline.types import Camera, Gaussians
from worldline.worlds.sampling import TEST_SEEDS, sample


@pytest.fixture(scope="module")
def room() -> Scene:
    return exact_scene(sample("rooms", TEST_SEEDS[3], views=5, height=60, width=80, effects=0.0))


@pytest.fixture(scope="module")
def video() -> Scene:
    knobs = {"rate": 2.0, "effects": 0.0, "shooting": "walk"}
    return exact_scene(sample("dynamic", TEST_SEEDS[5], views=4, height=48, width=64, **knobs))


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray | None = None) -> float:
    error = (first.astype(np.float64) - second) ** 2
    return float(10 * np.log10(255**2 / max(error.mean() if where is None else error[where].mean(), 1e-9)))


def test_photos_come_back_at_their_own_cameras(room: Scene) -> None:
    cameras = [view.camera for view in room.views]
    for view, picture in zip(room.views, render_scene(room, cameras), strict=True):
        assert psnr(picture.color, view.image) > 22  # others saw it from nearer and farther
        assert (picture.alpha == 1).all()
        error = np.abs(picture.depth / view.depth - 1)
        assert (
            np.median(error) < 2e-3 and (error < 0.03).mean() > 0.88
        )  # edges move by half a pixel, of which there are few


def test_a_photo_that_was_not_used_is_seen_by_the_others(room: Scene) -> None:
    rest = dataclasses.replace(room, views=room.views[:2] + room.views[3:])
    held_out = room.views[2]
    picture = next(iter(render_scene(rest, [held_out.camera])))
    covered = picture.alpha > 0.5
    right = covered & (np.abs(picture.depth / held_out.depth - 1) < 0.02)
    assert covered.mean() > 0.5
    assert right.sum() > 0.8 * covered.sum()  # others saw past what hides a surface here
    assert psnr(picture.color, held_out.image, right) > 19


def test_only_the_asked_moment_of_what_moves_is_drawn(video: Scene) -> None:
    for index in (0, 3):
        view = video.views[index]
        assert view.dynamic is not None
        shown = next(iter(render_scene(video, [view.camera], moment=view.timestamp)))
        assert psnr(shown.color, view.image) > 22
    moving = [view.dynamic.sum() for view in video.views if view.dynamic is not None]
    assert max(moving) > 20  # else the test shows nothing
    renderer = SceneRenderer(video, RenderOptions())
    everything = sum(int(view.mask.sum()) for view in video.views)
    assert len(renderer._still) + sum(len(renderer._at(time)) for time in video.times) <= everything
    assert len(renderer._still) <= everything - sum(moving)
    assert default_moment(video) == video.times[2] and default_moment(make_scene()) is None


def test_each_picture_may_have_its_own_moment(video: Scene) -> None:
    camera = video.views[0].camera
    apart = [next(iter(render_scene(video, [camera], moment=time))).color for time in video.times]
    together = [picture.color for picture in render_scene(video, [camera] * 4, moment=list(video.times))]
    assert all((a == b).all() for a, b in zip(apart, together, strict=True))
    assert any((a != apart[0]).any() for a in apart[1:])
    with pytest.raises(InputError, match="2 moments for 1"):
        render_scene(video, [camera], moment=[0.0, 1.0])
    with pytest.raises(InputError, match="nothing at 99"):
        render_scene(video, [camera], moment=99.0)


def test_threads_change_nothing(room: Scene) -> None:
    cameras = make_path("orbit", room, PathOptions(frames=5, size=(40, 60))).cameras
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(np.stack([picture.color for picture in render_scene(room, cameras)]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert (drawn[0] == drawn[1]).all()


def test_a_still_shows_much_of_the_scene(room: Scene, video: Scene) -> None:
    for scene in (room, video, make_scene(gaussians=False)):
        picture = render_still(scene, (90, 160))
        assert picture.color.shape == (90, 160, 3)
        assert (picture.depth > 0).mean() > 0.3
        assert picture.color[picture.alpha == 1].std() > 10
    camera = still_camera(room, (90, 160), options=PathOptions(field=50.0))
    assert camera.intrinsics[0, 0] == pytest.approx(80 / np.tan(np.radians(25)))


def test_walls_seen_from_behind_do_not_hide_a_room(room: Scene) -> None:
    camera = make_path("orbit", room, PathOptions(frames=1, size=(60, 80), elevation=35, distance=1.5)).cameras[0]
    one, two = (
        next(iter(render_scene(room, [camera], options=RenderOptions(points=PointOptions(one_sided=side)))))
        for side in (True, False)
    )
    both = (one.alpha > 0) & (two.alpha > 0)
    assert one.alpha.mean() < two.alpha.mean() or (one.depth[both] > 1.05 * two.depth[both]).mean() > 0.2


def test_gaussians_are_drawn_where_there_are_some() -> None:
    scene = make_scene()
    views = scene.views[:1]
    points, keep = views[0].points, views[0].mask
    spots = Gaussians(
        points[keep], np.full((keep.sum(), 3), 0.03, np.float32), np.tile(np.float32([1, 0, 0, 0]), (keep.sum(), 1)),
        np.full(keep.sum(), 0.9, np.float32), views[0].image[keep].astype(np.float32) / 255,
    )  # fmt: skip
    scene = dataclasses.replace(scene, views=views, gaussians=spots)
    camera = views[0].model_camera
    kinds = ("auto", "gaussians", "points")
    auto, gaussians, points_ = (next(iter(render_scene(scene, [camera], kind=kind))).color for kind in kinds)
    assert (auto == gaussians).all() and (auto != points_).any()
    assert psnr(gaussians[8:-8, 8:-8], views[0].image[8:-8, 8:-8]) > 25
    sure = next(iter(render_scene(scene, [camera], min_confidence=1.0)))  # Gaussians have no confidence: points
    assert (sure.color == points_).all()


def one_gaussian(camera: Camera) -> tuple[Gaussians, list[torch.Tensor]]:
    """A Gaussian far smaller than a pixel in the middle of a picture, and its tensors."""
    pose = camera.world_from_cam
    middle = (pose[:3, 3] + 2 * pose[:3, 2]).astype(np.float32)[None]
    color, turn = np.float32([[0.2, 0.4, 0.6]]), np.float32([[1, 0, 0, 0]])
    spot = Gaussians(middle, np.full((1, 3), 1e-5, np.float32), turn, np.float32([0.9]), color)
    return spot, [torch.tensor(p) for p in (middle, spot.scales, turn, spot.opacities, color)]


def test_the_models_gaussians_get_the_filter_that_they_were_trained_with() -> None:
    camera = make_scene().views[0].model_camera
    spot, tensors = one_gaussian(camera)
    scene = dataclasses.replace(make_scene(), gaussians=spot)
    places = [torch.tensor(part[None], dtype=torch.float32) for part in (camera.world_from_cam, camera.intrinsics)]
    expected = rasterize(
        *tensors, world_from_cam=places[0], intrinsics=places[1], size=(camera.height, camera.width), eps2d=0.1
    )
    drawn = next(iter(render_scene(scene, [camera])))
    np.testing.assert_allclose(drawn.alpha, expected.alpha[0].numpy(), atol=1e-6)
    for factor in (2, 4):  # the same ellipse, averaged over the area of pixels: 2 pi x variance x opacity
        fine = next(iter(render_scene(scene, [camera], options=RenderOptions(supersample=factor))))
        assert fine.alpha.sum() == pytest.approx(2 * np.pi * 0.1 * 0.9, rel=0.05)


def test_long_films_keep_few_moments(video: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, made = video.views[0].camera, []
    plain = [SceneRenderer(video, RenderOptions()).draw(camera, time).color for time in video.times]
    everything = SceneRenderer(video, RenderOptions()).draw(camera).color
    monkeypatch.setattr(scene_module, "_KEPT", 2)
    renderer = SceneRenderer(video, RenderOptions())
    surfels_of = scene_module.surfels_of
    monkeypatch.setattr(scene_module, "surfels_of", lambda view, *rest: made.append(view) or surfels_of(view, *rest))
    drawn = [renderer.draw(camera, time).color for time in video.times for _ in range(2)]
    assert all((a == plain[index // 2]).all() for index, a in enumerate(drawn))
    assert len(renderer._moving) == 2 and len(made) <= len(video)  # none twice while the time passes
    made.clear()
    assert all((renderer.draw(camera).color == everything).all() for _ in range(3))
    assert len(made) <= len(video)


def test_threads_make_no_moment_twice(video: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made, surfels_of, before = [], scene_module.surfels_of, torch.get_num_threads()
    monkeypatch.setattr(scene_module, "surfels_of", lambda view, *rest: made.append(view) or surfels_of(view, *rest))
    monkeypatch.setattr(scene_module, "_KEPT", 3)  # as many as two threads have at hand
    try:
        torch.set_num_threads(2)
        moments = [time for time in video.times for _ in range(2)]
        list(render_scene(video, [video.views[0].camera] * len(moments), moment=moments))
    finally:
        torch.set_num_threads(before)
    assert len(made) <= 2 * len(video)  # of each view what stands still and what moves


def test_threads_find_all_that_they_share_ready(video: Scene) -> None:
    renderer = SceneRenderer(video, RenderOptions(kind="depth"), [view.camera for view in video.views])
    renderer.prepare(video.times[0])
    assert {"_still", "_least", "_depth_range"} <= vars(renderer).keys()
    renderer.prepare(None)
    assert "_all_moving" in vars(renderer)


def test_confidence_is_read_only_where_it_matters(room: Scene) -> None:
    renderer = SceneRenderer(room, RenderOptions(min_confidence=0.5))
    del renderer._least
    tracemalloc.start()
    assert renderer._least == 0.5
    assert tracemalloc.get_traced_memory()[1] < 4 * room.views[0].confidence.size
    tracemalloc.stop()


def test_the_least_confident_points_can_be_left_out() -> None:
    scene = make_scene(gaussians=False)
    counts = [len(SceneRenderer(scene, RenderOptions(confidence_percent=percent))) for percent in (0.0, 25.0, 75.0)]
    assert counts[1] == pytest.approx(0.75 * counts[0], rel=0.01)
    assert counts[2] == pytest.approx(0.25 * counts[0], rel=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "mesh"}, "no kind 'mesh'"),
        ({"kind": "gaussians"}, "no Gaussians"),
        ({"kind": "splats", "min_confidence": 2.0}, "no confidence"),
        ({"background": "blue-ish"}, "background"),
        ({"supersample": 0}, "supersampling"),
        ({"supersample": 200}, "million pixels, which would take about"),
        ({"min_confidence": 1e9}, "no points"),
        ({"confidence_percent": 100.0}, "confidence percent"),
        ({"kind": "splats", "confidence_percent": 5.0}, "no confidence"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_first_picture(room: Scene, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        render_scene(room, [room.views[0].camera], options=RenderOptions(**options))


def test_depth_is_coloured_alike_in_all_pictures(room: Scene) -> None:
    camera = room.views[0].camera
    alone = next(iter(render_scene(room, [camera, room.views[1].camera], kind="depth")))
    again = list(render_scene(room, [room.views[1].camera, camera], kind="depth"))[1]
    assert (alone.color == again.color).all()
    near, far = (np.abs(alone.depth - np.percentile(alone.depth, q)).argmin() for q in (3, 97))
    red, blue = alone.color.reshape(-1, 3)[[near, far]].astype(int)
    assert red[0] > red[2] and blue[2] > blue[0]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def ramp(count: int, size: tuple[int, int] = (33, 47)) -> list[Picture]:
    empty = np.zeros(size, np.float32)
    return [Picture(np.full((*size, 3), 20 + 15 * index, np.uint8), empty, empty) for index in range(count)]


@pytest.mark.parametrize("ending", [".mp4", ".gif", ".webp"])
def test_films_have_all_frames_in_order_at_their_times(ending: str, tmp_path: Path) -> None:
    file, heard = tmp_path / f"film{ending}", []
    film = write_film(ramp(7), file, fps=10, progress=lambda: heard.append(1))
    assert (film.frames, len(heard)) == (7, 7)
    if ending == ".mp4":
        frames = decoded(file)
        assert film.size == (32, 46)  # even
        with av.open(str(file)) as container:
            assert float(container.duration / av.time_base) == pytest.approx(0.7, abs=0.11)
    else:
        with Image.open(file) as animation:
            frames, shown = [], []
            for index in range(animation.n_frames):
                animation.seek(index)
                frames.append(np.asarray(animation.convert("RGB")))
                shown.append(animation.info["duration"])
            assert animation.info.get("loop") == 0 and set(shown) == {100}
    assert [frame.shape[:2] for frame in frames] == [film.size] * 7
    assert [abs(float(frame.mean()) - (20 + 15 * index)) < 4 for index, frame in enumerate(frames)] == [True] * 7


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_colours_of_a_film_are_those_of_the_pictures(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_file, "CODECS", (codec,))
    colors = np.array([(220, 30, 30), (30, 220, 30), (30, 30, 220), (128, 128, 128)], np.uint8)
    picture = np.tile(colors.repeat(32, axis=0), (64, 1, 1))
    file = write_film([picture] * 3, tmp_path / "film.mp4").path
    content = file.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is loaded
    with av.open(str(file)) as container:
        said = container.streams.video[0].codec_context
        assert (said.colorspace, said.color_range, said.color_primaries, said.color_trc) == (1, 1, 1, 1)
        planes = next(container.decode(video=0)).to_ndarray(format="yuv420p")
    columns = np.arange(16, 128, 32)
    luma = (planes[32, columns] - 16.0) / 219
    blue, red = (
        (planes[64 + start :][:16].reshape(32, 64)[16, columns // 2] - 128.0) / 224 for start in (0, 16)
    )  # fmt: skip
    decoded = np.stack([luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue], 1)  # BT.709
    np.testing.assert_allclose(255 * decoded, colors, atol=5)


def test_a_film_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(b"the film from before")

    def failing():
        yield from ramp(2)
        raise RuntimeError("out of power")

    with pytest.raises(RuntimeError):
        write_film(failing(), file)
    with pytest.raises(InputError, match="different sizes"):
        write_film([*ramp(1), *ramp(1, (20, 20))], file)
    with pytest.raises(InputError, match="no frames"):
        write_film([], file)
    assert file.read_bytes() == b"the film from before" and len(list(tmp_path.iterdir())) == 1


def test_names_of_files_are_checked(tmp_path: Path) -> None:
    assert is_film(tmp_path / "a.MP4") and not is_film(tmp_path / "a.jpeg")
    for name, says in (("a.avi", "by its ending"), ("a", "by its ending"), ("nowhere/a.mp4", "does not exist")):
        with pytest.raises(InputError, match=says):
            is_film(tmp_path / name)
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        is_film(tmp_path / "b.mp4")
    with pytest.raises(InputError):
        write_still(ramp(1)[0], tmp_path / "a.mp4")
    with pytest.raises(InputError):
        write_film(ramp(1), tmp_path / "a.png")
    assert np.asarray(Image.open(write_still(ramp(1)[0], tmp_path / "a.png"))).mean() == 20


def test_the_photo_stands_beside_its_rendering_at_the_same_scale(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "photos", gaussians=False)  # turned by EXIF, cropped, padded
    path = make_path("cameras", scene, PathOptions(size=(120, 160)))
    for frame, view in zip(beside_photos(render_scene(scene, path.cameras), path, scene), scene.views, strict=True):
        assert frame.shape == (120, 320, 3)
        photo, drawn = frame[:, :160], frame[:, 160:]
        shown = (photo != 255).any(-1) & (drawn != 255).any(-1)
        shown[:6], shown[-6:] = False, False
        assert shown.mean() > 0.2, view.name
        assert psnr(photo, drawn, shown) > 24, view.name
    gone = dataclasses.replace(scene, views=tuple(dataclasses.replace(v, source="/gone.jpg") for v in scene.views))
    first, kept = (next(iter(beside_photos(render_scene(s, path.cameras), path, s))) for s in (gone, scene))
    assert psnr(first[20:-20, 40:120], kept[20:-20, 40:120]) > 24  # what the network saw, in the same place
    orbit = make_path("orbit", scene, PathOptions(frames=2, size=(40, 60)))
    with pytest.raises(InputError, match="own cameras"):
        beside_photos(render_scene(scene, orbit.cameras), orbit, scene)
