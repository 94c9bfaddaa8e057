"""Every kind of image file becomes the same upright 8-bit RGB picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.errors import InputError, MissingExtraError
from worldline.inputs import decode, load_views, read_original

SHARED = Path(__file__).resolve().parents[3] / "shared"


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth picture without symmetry, so that every flip and turn shows."""
    ys, xs = np.mgrid[:height, :width]
    return np.stack([255 * xs / width, 255 * ys / height, 127 + 60 * np.sin(xs / 9) * (ys > height / 3)], -1).astype(
        np.uint8
    )


def grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L"))


def stored_as(image: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that a camera stores so that a reader who obeys the orientation tag shows ``image``."""
    stored = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image, 1),
        7: image.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(image, -1),
    }[orientation]
    return np.ascontiguousarray(stored)


def save_oriented(path: Path, image: np.ndarray, orientation: int, **options) -> None:
    stored = Image.fromarray(stored_as(image, orientation))
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif, **options)


def assert_shows(path: Path, expected: np.ndarray, tolerance: float) -> None:
    """Compared at the size of the photo, so that no resampling hides anything."""
    difference = np.abs(read_original(path).astype(int) - expected.astype(int))
    assert difference.max() <= tolerance, (path.name, difference.max())
    view = load_views(path)[0]
    reference = load_views(expected)[0]
    assert np.abs(view.image.astype(int) - reference.image).max() <= tolerance + 1
    assert view.transform.original_size == expected.shape[:2]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(tmp_path, suffix, orientation):
    image = picture()
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    save_oriented(tmp_path / f"a.{suffix}", image, orientation, **options)
    assert_shows(tmp_path / f"a.{suffix}", image, 8 if suffix == "jpg" else 0)
    transform = load_views(tmp_path / f"a.{suffix}")[0].transform
    assert transform.orientation == orientation
    assert transform.stored_size == stored_as(image, orientation).shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_nonsense_orientation_is_ignored(tmp_path, orientation):
    stored = Image.fromarray(picture())
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert_shows(tmp_path / "a.png", picture(), 0)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_pil_images(tmp_path, orientation):
    save_oriented(tmp_path / "a.png", picture(), orientation)
    with Image.open(tmp_path / "a.png") as image:
        (view,) = load_views([image])
    assert np.array_equal(view.image, load_views(picture())[0].image)
    assert view.name == "a.png"


def test_grey_16_bits(tmp_path):
    ramp = (np.linspace(0, 65535, 64 * 96).reshape(64, 96)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    expected = np.repeat(np.round(ramp / 257)[..., None], 3, -1).astype(np.uint8)
    assert expected.min() == 0 and expected.max() == 255
    assert_shows(tmp_path / "a.png", expected, 1)
    assert_shows(tmp_path / "a.tif", expected, 1)


def test_colour_16_bits(tmp_path):
    """Written by hand: Pillow cannot save 48-bit PNG files."""
    import struct
    import zlib

    deep = picture().astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", deep.shape[1], deep.shape[0], 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert_shows(tmp_path / "a.png", picture(), 1)


def test_grey_one_bit_palette_and_cmyk(tmp_path):
    image = picture()
    flat = (image // 128 * 128).astype(np.uint8)  # few colours, so that a palette holds them all
    cases = {
        "grey.png": (Image.fromarray(grey(image)), np.repeat(grey(image)[..., None], 3, -1), 0),
        "bits.png": (Image.fromarray(grey(image) > 100), np.repeat((grey(image) > 100)[..., None] * 255, 3, -1), 0),
        "palette.png": (Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE), flat, 2),
        "first.gif": (Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE), flat, 2),
        "plain.bmp": (Image.fromarray(image), image, 0),
        "ink.tif": (Image.fromarray(image).convert("CMYK"), image, 1),
        "ink.jpg": (Image.fromarray(image).convert("CMYK"), image, 12),
    }
    for name, (stored, expected, tolerance) in cases.items():
        stored.save(tmp_path / name)
        assert_shows(tmp_path / name, expected.astype(np.uint8), tolerance)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_shown_on_white(tmp_path, mode):
    image = np.full((32, 32, 3), 10, np.uint8)
    clear = np.zeros((32, 32), bool)
    clear[:, :16] = True
    if mode in ("P", "RGB"):
        image[clear] = (0, 255, 0)
        stored = Image.fromarray(image)
        stored = stored.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else stored
        key = stored.getpixel((0, 0))
        stored.save(tmp_path / "a.png", transparency=key)
    else:
        layers = np.dstack([image[..., :1] if mode == "LA" else image, np.where(clear, 0, 255)]).astype(np.uint8)
        Image.fromarray(layers).save(tmp_path / "a.png")
    expected = np.where(clear[..., None], 255, np.full((32, 32, 3), 10)).astype(np.uint8)
    assert_shows(tmp_path / "a.png", expected, 0)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_first_frame_of_many(tmp_path, suffix):
    first, second = (Image.new("RGB", (32, 32), color) for color in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **options)
    assert_shows(tmp_path / f"a.{suffix}", np.full((32, 32, 3), (255, 0, 0), np.uint8), 1)


def test_float_tiff(tmp_path):
    Image.fromarray((grey(picture()) / 255).astype(np.float32)).save(tmp_path / "a.tif")
    assert_shows(tmp_path / "a.tif", np.repeat(grey(picture())[..., None], 3, -1), 1)
    Image.fromarray(np.full((32, 32), 7.5, np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match="floating-point pixels outside 0 to 1"):
        load_views(tmp_path / "b.tif")


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(picture())).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.heic").read_bytes())  # phones do send them misnamed
    for name in ("a.heic", "b.jpg"):
        assert np.abs(read_original(tmp_path / name).astype(int) - picture()).mean() < 4


def test_heic_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    Image.fromarray(picture()).save(tmp_path / "b.png")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'worldline\[heic\]'"):
        load_views(tmp_path)
    views = load_views(tmp_path, skip_bad=True)
    assert [view.name for view in views] == ["b.png"]
    assert "worldline[heic]" in views.skipped[0]


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_huge_jpeg_is_decoded_at_a_fraction_with_the_same_geometry(tmp_path, monkeypatch, orientation):
    height, width = 1197, 1803  # no multiples of 8, so that the fraction's edge is not the photo's edge
    ys, xs = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255 * np.exp(-((xs - 1300) ** 2 + (ys - 900) ** 2) / (2 * 60**2))
    save_oriented(tmp_path / "a.jpg", image, orientation, quality=95)
    exact = load_views(tmp_path / "a.jpg")[0]
    decoded_sizes = []
    original = decode._as_rgb
    monkeypatch.setattr(decode, "_DRAFT_PIXELS", 1000)
    monkeypatch.setattr(decode, "_as_rgb", lambda image: decoded_sizes.append(image.size) or original(image))
    drafted = load_views(tmp_path / "a.jpg")[0]
    assert max(decoded_sizes[0]) == 902  # half of it
    assert drafted.transform == exact.transform
    weights = [view.image[..., 0].astype(float) - view.image[..., 0].min() for view in (exact, drafted)]
    rows, columns = np.mgrid[:224, :224]
    centers = [((columns * w).sum() / w.sum(), (rows * w).sum() / w.sum()) for w in weights]
    np.testing.assert_allclose(centers[0], centers[1], atol=0.05)
    np.testing.assert_allclose(centers[1], exact.transform.to_model(np.array([1300.0, 900.0])), atol=0.15)


def test_pixel_limit(tmp_path, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"96x64.*more than the limit.*raise max_pixels"):
        load_views(tmp_path / "a.png", max_pixels=96 * 64 - 1)
    assert len(load_views(tmp_path / "a.png", max_pixels=96 * 64)) == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own limit must neither warn nor stop us
    assert len(load_views(tmp_path / "a.png")) == 1
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="reference data not beside the checkout")
def test_real_photos_in_all_orientations():
    folder = SHARED / "data/real/photos/exif_orientation/images"
    for start in (0, 8):
        views = [load_views(folder / f"{index:06d}.jpg")[0] for index in range(start, start + 8)]
        assert [view.transform.orientation for view in views] == list(range(1, 9))
        for view in views[1:]:
            assert view.transform.original_size == views[0].transform.original_size
            assert np.abs(view.image.astype(float) - views[0].image).mean() < 6


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="reference data not beside the checkout")
def test_real_photos_with_and_without_orientation_tag():
    upright, tagged = (
        load_views(SHARED / f"data/real/photos/{name}/images") for name in ("nle_tower", "nle_tower_exif")
    )
    assert {view.transform.orientation for view in tagged} == {1, 3, 6, 8}
    for one, other in zip(upright, tagged, strict=True):
        assert one.name == other.name
        assert one.transform.original_size == other.transform.original_size
        assert np.abs(one.image.astype(float) - other.image).mean() < 6


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_heic_is_turned_by_its_own_reader_and_not_twice(tmp_path, orientation):
    """HEIF files say how they are turned in a box of their own; the EXIF tag repeats it and must be ignored."""
    heif = pytest.importorskip("pillow_heif")
    stored = Image.fromarray(stored_as(picture(), orientation))
    exif = stored.getexif()
    exif[0x0112] = orientation
    heif.from_pillow(stored).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    shown = np.asarray(heif.open_heif(tmp_path / "a.heic").to_pillow())
    assert np.array_equal(read_original(tmp_path / "a.heic"), shown)
    assert load_views(tmp_path / "a.heic")[0].transform.orientation == 1
