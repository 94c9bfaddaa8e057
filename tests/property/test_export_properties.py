"""What must hold of exports for any photo, any name and any value."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pycolmap
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import synthetic_scene
from worldline.outputs.export.depth_png import depth_at_photo_size
from worldline.outputs.export.images import export_stems
from worldline.outputs.export.spz import _fractional_bits, _int24
from worldline.scene import Scene, SceneView
from worldline.scene.storage.document import compact_matrices
from worldline.types import Camera, ImageTransform


@st.composite
def transforms(draw: st.DrawFn) -> ImageTransform:
    """Photos of any orientation, resized by up to 4 either way, cropped or padded at every side."""
    stored = (draw(st.integers(20, 90)), draw(st.integers(20, 90)))
    resized = (draw(st.integers(20, 90)), draw(st.integers(20, 90)))
    offset = (draw(st.integers(-12, 10)), draw(st.integers(-12, 10)))
    return ImageTransform(stored, resized, offset, (32, 40), draw(st.integers(1, 8)))


def view_of(transform: ImageTransform, name: str = "photo.png") -> SceneView:
    height, width = transform.original_size
    intrinsics = np.array([[1.1 * width, 0, 0.45 * width], [0, 1.2 * width, 0.53 * height], [0, 0, 1]])
    camera = Camera(intrinsics, synthetic_scene.look_at((0.3, 0.1, 0), (0, 0, 4), 0.2), height, width)
    points, depth, image = synthetic_scene.surface(camera.to_model(transform))
    return SceneView(
        name=name,
        image=image,
        transform=transform,
        camera=camera,
        points=points.astype(np.float32),
        depth=depth.astype(np.float32),
        confidence=np.ones(depth.shape, np.float32),
        mask=transform.inside.copy(),
    )


@settings(max_examples=25, deadline=None)
@given(transforms())
def test_cameras_fit_the_photo_whatever_was_done_to_it(transform: ImageTransform) -> None:
    with tempfile.TemporaryDirectory() as folder:
        view = view_of(transform)
        upright = synthetic_scene.surface(view.camera)[2]
        source = Path(folder) / "photo.png"
        synthetic_scene.write_photo(upright, transform.orientation, source)
        scene = Scene(views=(dataclasses.replace(view, source=str(source)),))
        written = scene.export(Path(folder) / "out", ["colmap", "nerfstudio"])
        image = pycolmap.Reconstruction(written["colmap"] / "sparse" / "0").images[1]
        frame = json.loads((written["nerfstudio"] / "transforms.json").read_text())["frames"][0]
        points, pixels = synthetic_scene.world_points(view, count=5)
        found = np.array([image.project_point(point) for point in points]) - 0.5
        assert np.abs(found - pixels).max() < 0.1
        assert np.allclose([frame["cx"], frame["cy"]], image.camera.params[2:])
        assert np.array_equal(np.asarray(Image.open(written["colmap"] / "images" / "photo.png")), upright)


@settings(max_examples=50, deadline=None)
@given(transforms())
def test_depth_of_a_photo_pixel_is_that_of_the_model_pixel_on_it(transform: ImageTransform) -> None:
    view = view_of(transform)
    depth = depth_at_photo_size(view)
    assert depth.shape == transform.original_size
    rows, columns = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
    pixels = transform.to_model(np.stack([columns, rows], axis=-1).reshape(-1, 2)).reshape(*depth.shape, 2)
    safe = (pixels[..., 0] > 0) & (pixels[..., 0] < 39) & (pixels[..., 1] > 0) & (pixels[..., 1] < 31)
    outside = (pixels < -0.51).any(axis=-1) | (pixels[..., 0] > 39.51) | (pixels[..., 1] > 31.51)
    assert not depth[outside].any()
    exact = synthetic_scene.surface(view.camera)[1]
    model_pixel = view.depth.max() / 20  # depth cannot change more than this from one model pixel to the next
    assert (np.abs(depth - exact)[safe & (depth > 0)] < model_pixel).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=8, unique=True))
def test_names_are_plain_and_apart(names: list[str]) -> None:
    view = view_of(ImageTransform.identity(8, 8))
    stems = export_stems(Scene(views=tuple(dataclasses.replace(view, name=name) for name in names)))
    assert len({stem.lower() for stem in stems}) == len(names)
    assert all(stem.isascii() and stem and not set(stem) & set(' /\\:*?"<>|\n\t') for stem in stems)
    assert all(stem.strip(".") for stem in stems)


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=20))
def test_spz_positions_never_wrap(points: list[tuple[float, float, float]]) -> None:
    positions = np.array(points)
    bits = _fractional_bits(positions)
    packed = _int24(np.rint(positions * 2.0**bits)).reshape(-1, 3, 3).astype(int)
    whole = packed @ [1, 256, 65536]
    found = np.where(whole >= 2**23, whole - 2**24, whole) / 2.0**bits
    assert np.abs(found - positions).max() <= 0.5 / 2.0**bits + 1e-9


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(json_values)
def test_compact_rows_change_nothing_but_white_space(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    assert json.loads(compact_matrices(text)) == value
