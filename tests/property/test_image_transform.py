"""The way from a photo to the network input and back is exact: formulas against each other and against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from worldline.errors import InputError
from worldline.inputs.fit import apply_fit, plan_fit, upright_extent
from worldline.types import Camera, ImageTransform

SIZES = st.tuples(st.integers(20, 5000), st.integers(20, 5000))
FITS = st.sampled_from([(224, "crop"), (512, "crop"), (224, "pad"), (512, "pad"), (64, "crop"), (128, "square")])


def planned(stored: tuple[int, int], orientation: int, fit: tuple[int, str]) -> ImageTransform:
    try:
        return plan_fit(stored, orientation, *fit)
    except InputError:
        assume(False)
        raise


@given(SIZES, st.integers(1, 8), FITS)
def test_back_and_forth_is_identity(stored, orientation, fit):
    transform = planned(stored, orientation, fit)
    points = np.array([[0, 0], [13.25, 7.5], [transform.original_size[1] - 1, transform.original_size[0] - 1]])
    np.testing.assert_allclose(transform.to_original(transform.to_model(points)), points, atol=1e-8)
    np.testing.assert_allclose(transform.model_from_original @ transform.original_from_model, np.eye(3), atol=1e-9)


@given(SIZES, st.integers(1, 8), FITS)
def test_shapes_follow_the_rules(stored, orientation, fit):
    transform = planned(stored, orientation, fit)
    height, width = transform.original_size
    size, how = fit
    assert (height, width) == (stored[::-1] if orientation > 4 else stored)
    assert all(side % 16 == 0 for side in transform.model_size)
    if how != "crop" or size == 224:
        assert transform.model_size == (size, size)
    if how == "pad":
        assert transform.used_share == 1
        assert transform.inside.sum() == transform.resized_size[0] * transform.resized_size[1]
    else:
        assert transform.inside.all()
        rows, columns = transform.model_size
        np.testing.assert_allclose(
            transform.used_share, rows * columns / (transform.resized_size[0] * transform.resized_size[1])
        )


@given(SIZES, st.integers(1, 8), FITS)
def test_inside_is_where_the_photo_is(stored, orientation, fit):
    transform = planned(stored, orientation, fit)
    rows, columns = transform.model_size
    corners = [(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1), (columns // 2, rows // 2)]
    height, width = transform.original_size
    for x, y in corners:
        px, py = transform.to_original(np.array([x, y], float))
        lies_inside = -0.5 <= px <= width - 0.5 and -0.5 <= py <= height - 0.5
        assert transform.inside[y, x] == lies_inside


@given(SIZES, st.integers(1, 8), FITS, st.floats(0.3, 3))
def test_a_camera_projects_to_the_mapped_pixel(stored, orientation, fit, focal):
    transform = planned(stored, orientation, fit)
    height, width = transform.original_size
    matrix = np.array([[focal * width, 0, 0.4 * width], [0, focal * width, 0.6 * height], [0, 0, 1]])
    camera = Camera(matrix, np.eye(4), height, width)
    point = np.array([[0.1, -0.2, 2.0]])
    pixel, _ = camera.project(point)
    in_model, _ = camera.to_model(transform).project(point)
    np.testing.assert_allclose(in_model, transform.to_model(pixel), rtol=1e-9, atol=1e-6)
    again, _ = camera.to_model(transform).to_original(transform).project(point)
    np.testing.assert_allclose(again, pixel, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored", [(5, 7), (6, 3)])
def test_stored_pixels_against_exif_transpose(orientation, stored):
    """Each pixel of a coded image carries its own stored coordinates; Pillow shows it, the matrix must find it."""
    height, width = stored
    rows, columns = np.mgrid[:height, :width]
    coded = Image.fromarray(np.stack([columns, rows, 0 * rows], -1).astype(np.uint8))
    exif = coded.getexif()
    exif[0x0112] = orientation
    shown = np.asarray(ImageOps.exif_transpose(coded))
    transform = plan_fit(stored, orientation, 224, "crop")
    assert transform.original_size == shown.shape[:2]
    ys, xs = np.mgrid[: shown.shape[0], : shown.shape[1]]
    upright = np.stack([xs, ys, np.ones_like(xs)], -1).reshape(-1, 3)
    found = upright @ transform.stored_from_original.T
    assert np.array_equal(found[:, :2].astype(int), shown[..., :2].reshape(-1, 2))


def blob(height: int, width: int, center: tuple[float, float], sigma: float) -> Image.Image:
    ys, xs = np.mgrid[:height, :width]
    values = 255 * np.exp(-((xs - center[0]) ** 2 + (ys - center[1]) ** 2) / (2 * sigma**2))
    return Image.fromarray(np.repeat(values[..., None], 3, -1).round().astype(np.uint8))


def centroid(pixels: np.ndarray) -> np.ndarray:
    weight = pixels[..., 0].astype(float)
    ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(60, 700), st.integers(60, 700)),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    st.sampled_from([(224, "crop"), (224, "pad"), (512, "crop")]),
)
def test_a_blob_is_where_the_transform_says(stored, place, fit):
    height, width = stored
    assume(max(stored) < 2.5 * min(stored))
    # a blob in the middle of the long side is never cropped
    short = min(stored)
    center = ((width - short) / 2 + place[0] * short, (height - short) / 2 + place[1] * short)
    transform = plan_fit(stored, 1, *fit)
    background = blob(height, width, center, short / 16)
    pixels = apply_fit(background, transform).copy()
    pixels[~transform.inside] = 0
    np.testing.assert_allclose(centroid(pixels), transform.to_model(np.array(center)), atol=0.1)


@given(SIZES, st.integers(1, 8))
def test_the_whole_image_stays_whole_when_turned(stored, orientation):
    height, width = stored
    left, top, right, bottom = upright_extent((0, 0, width, height), stored, orientation)
    turned = (width, height) if orientation > 4 else (height, width)
    assert (left, top) == (0, 0)
    assert (bottom, right) == turned


def test_identity():
    transform = ImageTransform.identity(48, 64)
    np.testing.assert_array_equal(transform.model_from_original, np.eye(3))
    assert transform.used_share == 1
    assert transform.inside.all()
    assert transform.original_size == (48, 64)


@given(st.integers(2, 40), st.integers(20, 400), st.integers(0, 1))
def test_square_photos_become_patches_at_every_size(patches, side, longer):
    """The 4:3 crop of square photos divides into patches whatever the size; at the published ones it is exactly 4:3."""
    size = 16 * patches
    height, width = plan_fit((side, side + longer), 1, size, "crop").model_size
    assert width % 16 == 0 and height % 16 == 0 and height > 0
    if longer == 0 and size % 64 == 0:
        assert (height, width) == (size * 3 // 4, size)
