"""Depth files of a teacher, and errors of depth that are made on purpose."""

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.inputs.logs.crops import published_halves
from worldline.train.supervision import (
    TEACHER_SIZE,
    Corruption,
    corrupt,
    read_teacher,
    teacher_depth,
    teacher_file,
)
from worldline.types import ImageTransform

PHOTO = (900, 1600)
WHOLE = ImageTransform(PHOTO, (128, 224), (0, 0), (128, 224))


def ramp(size: tuple[int, int], part: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Depth 10 m + 10 m times the place from left to right in the photo, of which the map shows ``part``."""
    place = (np.arange(size[1]) + 0.5) / size[1] * (part[1] - part[0]) + part[0]
    return np.broadcast_to(10 + 10 * place, size).astype(np.float32)


def test_file_of_a_photo(tmp_path) -> None:
    path = teacher_file(tmp_path, "CAM_FRONT", "samples/CAM_FRONT/n015-2018__CAM_FRONT__1531.jpg")
    assert path == tmp_path / "CAM_FRONT" / "n015-2018__CAM_FRONT__1531_depth(0)_pred.npz"
    path.parent.mkdir()
    depth = ramp(TEACHER_SIZE).copy()
    depth[0, :3] = [np.nan, np.inf, -1]
    np.savez_compressed(path, depth=depth)
    found = read_teacher(path)
    assert found.dtype == np.float32 and (found[0, :3] == 0).all()
    np.testing.assert_array_equal(found[1:], depth[1:])


@pytest.mark.parametrize("content", ["nothing", "text", "other name", "four maps", "objects"])
def test_unusable_files(tmp_path, content: str) -> None:
    path = tmp_path / "depth.npz"
    if content == "text":
        path.write_text("not a zip")
    elif content == "other name":
        np.savez(path, disparity=ramp((4, 5)))
    elif content == "four maps":
        np.savez(path, depth=np.ones((4, 5, 6), np.float32))
    elif content == "objects":
        np.savez(path, depth=np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="depth") as raised:
        read_teacher(path)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("reading", "part"),
    [("resized", (0.0, 1.0)), ("padded", (16 / 800, 784 / 800))],
)
def test_readings_put_the_map_where_it_was_seen(reading: str, part: tuple[float, float]) -> None:
    found = teacher_depth(ramp(TEACHER_SIZE, part), WHOLE, reading=reading)
    expected = ramp((128, 224))
    known = found > 0
    assert known.mean() > 0.9 and (reading == "padded" or known.all())
    assert np.abs(found - expected)[known].max() <= 10 / 768 / 2 * 1.05  # half a pixel of the map
    other = teacher_depth(ramp(TEACHER_SIZE, part), WHOLE, reading="padded" if reading == "resized" else "resized")
    assert np.abs(other - expected)[other > 0].max() > 0.15  # 2 % of the width


def test_published_resize_rings_and_ours_does_not() -> None:
    """Around the map there is nothing, and Lanczos leaves small positive values there, which count as depth."""
    step = np.where(np.arange(768) < 384, 5.0, 50.0) * np.ones(TEACHER_SIZE)
    left, right = published_halves()
    for half in (left, right):
        published = teacher_depth(step, half, official=True)
        assert published.shape == (224, 224) and published.max() > 50.5
        ours = teacher_depth(step, half, reading="padded")
        assert set(np.unique(ours)) <= {0.0, 5.0, 50.0}
        smooth = np.abs(np.diff(ours, axis=1, prepend=ours[:, :1])) == 0
        interior = np.zeros_like(smooth)
        interior[8:-8, 12:-12] = True
        for shift in range(-4, 5):
            interior &= np.roll(smooth, shift, axis=1)
        np.testing.assert_allclose(published[interior], ours[interior], rtol=2e-2)
    border = teacher_depth(np.full(TEACHER_SIZE, 50.0), left, official=True)[:, :6]
    assert ((border > 0) & (border < 25)).any()


def test_range_and_padding_of_the_network() -> None:
    depth = np.full((4, 8), 30.0, np.float32)
    depth[:, 0], depth[:, -1] = 0.05, 200
    transform = ImageTransform((8, 16), (8, 16), (-4, 0), (16, 16))
    found = teacher_depth(depth, transform)
    assert (found[:4] == 0).all() and (found[12:] == 0).all()
    assert (found[4:12, :2] == 0).all() and (found[4:12, -2:] == 0).all() and (found[4:12, 2:-2] == 30).all()
    assert (teacher_depth(depth, transform, range_m=(0, 1e9))[4:12] > 0).all()
    with pytest.raises(InputError, match="8x4"):
        teacher_depth(depth, transform, reading="padded")
    with pytest.raises(InputError, match="reading"):
        teacher_depth(depth, transform, reading="cropped")


def exact(images: int = 6, size: tuple[int, int] = (64, 112)) -> np.ndarray:
    depth = np.broadcast_to(np.geomspace(2, 80, size[0])[:, None], (images, *size)).copy()
    depth[:, :5] = 0
    return depth


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_no_error_is_no_change() -> None:
    depth = exact()
    assert corrupt(depth, Corruption(), rng()) is depth


@pytest.mark.parametrize("text", ["bias=0.1", "stretch=0.2", "wander=0.1", "noise=0.05", "holes=0.3", "farthest=40"])
def test_errors(text: str) -> None:
    depth, errors = exact(), Corruption.parse(text)
    found = corrupt(depth, errors, rng())
    np.testing.assert_array_equal(found, corrupt(depth, errors, rng()))
    assert found.shape == depth.shape and found.dtype == depth.dtype
    assert (found[depth == 0] == 0).all() and np.isfinite(found).all() and (found >= 0).all()
    known = (depth > 0) & (found > 0)
    ratio = np.log(found[known] / depth[known])
    if errors.bias:
        np.testing.assert_allclose(ratio, np.log(1.1))
    elif errors.stretch:
        np.testing.assert_allclose(ratio, 0.2 * np.log(depth[known] / 10))
    elif errors.wander or errors.noise:
        assert ratio.std() == pytest.approx(errors.wander or errors.noise, rel=0.15)
        step = np.diff(np.log(np.where(known, found, 1))[:, 5:] - np.log(depth[:, 5:]), axis=2).std()
        assert step < 0.03 if errors.wander else step > 0.06  # smooth, or new in every pixel
    elif errors.holes:
        assert (ratio == 0).all()
        missing = found[:, 5:] == 0
        assert missing.mean() == pytest.approx(0.3, abs=0.05)
        # blobs: the neighbour of a hole is mostly a hole
        assert missing[:, :, 1:][missing[:, :, :-1]].mean() > 0.9
    else:
        np.testing.assert_array_equal(known, (depth > 0) & (depth <= 40))


def test_a_larger_error_is_the_same_error_enlarged() -> None:
    depth = exact()
    small, large = (corrupt(depth, Corruption(wander=0.1 * k, noise=0.02 * k), rng()) for k in (1, 2))
    known = depth > 0
    logs = [np.log(found[known] / depth[known]) for found in (small, large)]
    np.testing.assert_allclose(logs[1], 2 * logs[0], atol=1e-9)
    few, many = (corrupt(depth, Corruption(holes=share), rng()) == 0 for share in (0.1, 0.4))
    assert (many[few]).all() and many.sum() > 2 * few.sum()
    other = corrupt(depth, Corruption(holes=0.1, noise=0.3), rng()) == 0
    np.testing.assert_array_equal(few, other)


def test_images_have_patterns_of_their_own() -> None:
    found = corrupt(exact().reshape(2, 3, 64, 112), Corruption(holes=0.3), rng()).reshape(6, -1)
    assert len({(row == 0).tobytes() for row in found}) == 6


def test_a_generator_goes_on() -> None:
    """Two calls differ, and a generator that is put back to where it was repeats itself."""
    random, errors = rng(), Corruption(holes=0.3)
    state = random.bit_generator.state
    first, second = corrupt(exact(), errors, random), corrupt(exact(), errors, random)
    assert (first != second).any()
    random.bit_generator.state = state
    np.testing.assert_array_equal(corrupt(exact(), errors, random), first)


def test_float16_as_drives_keep_it() -> None:
    found = corrupt(exact().astype(np.float16), Corruption(bias=0.1, wander=0.1), rng())
    assert found.dtype == np.float16 and np.isfinite(found).all()


def test_text() -> None:
    errors = Corruption(bias=-0.1, holes=0.25, farthest=40)
    assert str(errors) == "bias=-0.1,holes=0.25,farthest=40" and Corruption.parse(str(errors)) == errors
    assert Corruption.parse("none") == Corruption.parse(" ") == Corruption() and str(Corruption()) == "none"


@pytest.mark.parametrize("text", ["blur=1", "bias", "bias=far", "bias=0.1,bias=0.2", "holes=2", "noise=-1", "bias=-1",
                                  "farthest=0", "farthest=nan", "wander=inf"])  # fmt: skip
def test_mistakes(text: str) -> None:
    with pytest.raises(InputError) as raised:
        Corruption.parse(text)
    assert raised.value.remedy
