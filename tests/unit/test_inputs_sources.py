"""Folders, globs, zips, lists and arrays become the same views; what is done to them is said."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.errors import InputError
from worldline.inputs import focal_from_exif, load_views, read_original, require_views, stack
from worldline.inputs.sources import natural_key


def photo(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def write(folder: Path, names: list[str], height: int = 60, width: int = 80) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(seed, height, width)).save(folder / name)


def names_of(views) -> list[str]:
    return [view.name for view in views]


def test_folder_in_natural_order_without_what_is_no_photo(tmp_path):
    write(tmp_path, ["IMG_10.png", "img_2.png", "IMG_1.PNG", ".hidden.png"])
    (tmp_path / "notes.txt").write_text("a list")
    (tmp_path / "inner").mkdir()
    views = load_views(str(tmp_path))
    assert names_of(views) == ["IMG_1.PNG", "img_2.png", "IMG_10.png"]
    assert views[0].source == tmp_path / "IMG_1.PNG"
    assert "2 files that are no photos were ignored: .hidden.png, notes.txt." in views.notes
    assert views.skipped == ()


def test_natural_order():
    names = ["a10", "a9", "A1b", "a1", "b", "10", "9", "²"]
    assert sorted(names, key=natural_key) == ["9", "10", "a1", "A1b", "a9", "a10", "b", "²"]


def test_glob(tmp_path):
    write(tmp_path, ["a/2.png", "a/10.png", "b/1.png", "b/3.bmp"])
    assert [view.source.relative_to(tmp_path).as_posix() for view in load_views(f"{tmp_path}/**/*.png")] == [
        "a/2.png",
        "a/10.png",
        "b/1.png",
    ]
    with pytest.raises(InputError, match=r"No photo matches .*quote it"):
        load_views(f"{tmp_path}/*.png")


def test_a_file_with_brackets_in_its_name_is_no_glob(tmp_path):
    write(tmp_path, ["a[1].png"])
    assert len(load_views(str(tmp_path / "a[1].png"))) == 1


def test_list_keeps_its_order(tmp_path):
    write(tmp_path, ["a.png", "b.png", "c.png"])
    assert names_of(load_views([tmp_path / "c.png", str(tmp_path / "a.png")])) == ["c.png", "a.png"]
    assert names_of(load_views((tmp_path,))) == ["a.png", "b.png", "c.png"]
    assert names_of(load_views(tmp_path.glob("b.png"))) == ["b.png"]


def test_zip(tmp_path):
    write(tmp_path, ["x/2.png", "x/10.png"])
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in ("x/10.png", "x/2.png"):
            archive.write(tmp_path / name, name)
        archive.writestr("__MACOSX/x/._2.png", "junk")
        archive.writestr("readme.md", "text")
    views = load_views(tmp_path / "p.zip")
    assert names_of(views) == ["2.png", "10.png"]
    assert np.array_equal(views[0].image, load_views(tmp_path / "x/2.png")[0].image)
    assert views[1].source == tmp_path / "p.zip/x/10.png"
    assert np.array_equal(read_original(views[1].source), photo(1))
    assert any("readme.md" in note for note in views.notes)


def test_a_zip_cannot_lead_out_of_itself(tmp_path):
    write(tmp_path, ["a.png"])
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "../../evil.png")
        archive.writestr("/root/evil.png", (tmp_path / "a.png").read_bytes())
        archive.write(tmp_path / "a.png", "good.png")
    with pytest.raises(InputError, match=r"2 of 3 photos.*leads out of the zip"):
        load_views(tmp_path / "p.zip")
    views = load_views(tmp_path / "p.zip", skip_bad=True)
    assert names_of(views) == ["good.png"]
    assert len(views.skipped) == 2


def test_zip_limits(tmp_path, monkeypatch):
    from worldline.inputs import zips

    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(100_000))
        archive.writestr("second.png", b"x")
    monkeypatch.setattr(zips, "MAX_MEMBER_BYTES", 10_000)
    with pytest.raises(InputError, match=r"bomb.png unpacks to more than the limit"):
        load_views(tmp_path / "p.zip")
    monkeypatch.setattr(zips, "MAX_MEMBERS", 1)
    with pytest.raises(InputError, match="holds 2 files, more than the limit of 1"):
        load_views(tmp_path / "p.zip")
    (tmp_path / "q.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="not a zip file that can be read"):
        load_views(tmp_path / "q.zip")
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(InputError, match="no photos in the zip"):
        load_views(tmp_path / "r.zip")


def test_arrays_of_every_kind_are_the_same_picture():
    pixels = np.stack([photo(0), photo(1)])
    expected = load_views(pixels)
    assert names_of(expected) == ["image_000000", "image_000001"]
    assert expected[0].source is None
    for same in (
        pixels / 255.0,
        pixels.astype(np.uint16) * 257,
        pixels.astype(np.int64),
        list(pixels),
        [Image.fromarray(image) for image in pixels],
        np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], -1),
    ):
        for one, other in zip(load_views(same), expected, strict=True):
            assert np.array_equal(one.image, other.image)


def test_torch_tensors():
    import torch

    pixels = np.stack([photo(0), photo(1)])
    assert np.array_equal(load_views(torch.from_numpy(pixels))[1].image, load_views(pixels)[1].image)


def test_three_axes_are_grey_images_unless_the_last_is_colour():
    grey = np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(np.uint8)
    views = load_views(grey)
    assert len(views) == 3
    assert np.array_equal(views[0].image[..., 0], views[0].image[..., 2])
    assert len(load_views(photo(0))) == 1
    assert len(load_views(grey[0])) == 1
    assert len(load_views(grey[..., None])) == 3
    assert len(load_views(grey > 10)) == 3


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 3, 20, 30)), r"channels first.*transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 20, 30, 5)), "no set of photos"),
        (np.zeros(7), "no set of photos"),
        (np.zeros((0, 20, 30, 3), np.uint8), "empty"),
        (np.full((2, 20, 30, 3), 128.0), "float64 must be from 0 to 1"),
        (np.full((2, 20, 30, 3), np.nan), "float64 must be from 0 to 1"),
        (np.full((2, 20, 30, 3), -1), "int64 must be from 0 to 255"),
        (np.full((2, 20, 30, 3), "a"), "are no colours"),
    ],
)
def test_arrays_that_are_no_photos(array, sentence):
    with pytest.raises(InputError, match=sentence):
        load_views(array)


def test_share_outside_the_crop_is_said_and_pad_keeps_all(tmp_path):
    write(tmp_path, ["a.png", "b.png"], height=60, width=80)
    views = load_views(tmp_path)
    assert "25 % of the pixels lie outside the square crop and are not used; --fit pad keeps them." in views.notes
    padded = load_views(tmp_path, fit="pad")
    assert not any("outside" in note for note in padded.notes)
    view = padded[0]
    assert view.image.shape == (224, 224, 3)
    assert view.transform.used_share == 1
    assert view.transform.inside.sum() == 168 * 224
    assert set(np.unique(view.image[~view.transform.inside])) == {128}
    large = Image.fromarray(photo(0)).resize((224, 168), Image.Resampling.BICUBIC)
    assert np.array_equal(view.image[view.transform.inside].reshape(168, 224, 3), np.asarray(large))


def test_mixed_shapes(tmp_path):
    write(tmp_path, ["a.png"], 60, 80)
    write(tmp_path / "t", ["b.png"], 90, 50)
    (tmp_path / "t/b.png").rename(tmp_path / "b.png")
    views = load_views(tmp_path)
    assert stack(views).shape == (1, 2, 3, 224, 224)
    assert any("2 different sizes (80x60, 50x90)" in note for note in views.notes)
    different = load_views(tmp_path, size=512)
    assert different[0].image.shape == (384, 512, 3)
    assert different[1].image.shape == (512, 272, 3)
    with pytest.raises(InputError, match=r"2 different shapes cannot be stacked: .*512x384.*fit='square' or fit='pad'"):
        stack(different)
    assert stack(load_views(tmp_path, size=512, fit="pad")).shape == (1, 2, 3, 512, 512)
    assert stack(load_views(tmp_path, size=512, fit="square")).shape == (1, 2, 3, 512, 512)


def test_stack_maps_to_minus_one_and_one():
    views = load_views(np.stack([np.zeros((224, 224, 3), np.uint8), np.full((224, 224, 3), 255, np.uint8)]))
    tensor = stack(views)
    assert (tensor[0, 0] == -1).all()
    assert (tensor[0, 1] == 1).all()
    assert str(tensor.dtype) == "torch.float32"


def test_square_is_the_published_crop_at_any_size():
    pixels = photo(0, 90, 140)
    assert np.array_equal(load_views(pixels, fit="square")[0].image, load_views(pixels)[0].image)
    view = load_views(pixels, size=64, fit="square")[0]
    assert view.transform.resized_size == (64, 100)
    assert view.transform.crop_offset == (0, 18)
    assert view.image.shape == (64, 64, 3)


def test_max_views_are_spread_evenly():
    arrays = [photo(seed) for seed in range(10)]
    views = load_views(arrays, max_views=4)
    assert names_of(views) == ["image_000000", "image_000003", "image_000006", "image_000009"]
    assert "4 of 10 photos are used, spread evenly over them." in views.notes
    assert names_of(load_views(arrays, max_views=1)) == ["image_000000"]
    assert len(load_views(arrays, max_views=20)) == 10


def test_colliding_names_become_unique(tmp_path):
    write(tmp_path, ["left/1.png", "right/1.png", "right/2.png"])
    views = load_views(f"{tmp_path}/*/*.png")
    assert names_of(views) == ["left_1.png", "right_1.png", "2.png"]
    assert any("same file name" in note and "left_1.png" in note for note in views.notes)


def test_same_picture_twice_is_said():
    views = load_views([photo(0), photo(1), photo(0)])
    assert any("same picture" in note and "image_000000, image_000002" in note for note in views.notes)


def test_known_cameras_stay_with_their_photos(tmp_path):
    write(tmp_path, ["a.png", "c.png"])
    (tmp_path / "b.png").write_text("no picture")
    matrices = [np.array([[50 + i, 0, 40], [0, 50 + i, 30], [0, 0, 1.0]]) for i in range(3)]
    poses = [None, np.eye(4), np.eye(4)]
    poses[2] = poses[2] + np.array([[0, 0, 0, 5], *[[0] * 4] * 3])
    views = load_views(tmp_path, skip_bad=True, intrinsics=matrices, poses=poses, names=["x", "y", "z"])
    assert names_of(views) == ["x", "z"]
    assert views[1].intrinsics[0, 0] == 52
    assert views[0].world_from_cam is None
    assert views[1].world_from_cam[0, 3] == 5
    shared = load_views([photo(0), photo(1)], intrinsics=matrices[0])
    assert all(view.intrinsics[0, 0] == 50 for view in shared)
    partly = load_views([photo(0), photo(1)], intrinsics=[None, matrices[1].tolist()])
    assert partly[0].intrinsics is None
    assert partly[1].intrinsics.shape == (3, 3)


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({"intrinsics": np.eye(4)}, r"shape \(4, 4\).*3x3"),
        ({"intrinsics": np.zeros((3, 3))}, "no camera matrix"),
        ({"intrinsics": np.ones((5, 3, 3))}, "5 intrinsics were given for 2 photos"),
        ({"intrinsics": "wide"}, "no matrix of numbers"),
        ({"intrinsics": [None, np.eye(2)]}, r"photo 1 have shape \(2, 2\)"),
        ({"poses": np.eye(4)}, "One matrix was given as the poses of 2 photos"),
        ({"poses": [np.eye(4), 2 * np.eye(4)]}, "pose of photo 1 is no rotation"),
        ({"poses": [np.eye(4), np.diag([1, 1, -1, 1])]}, "pose of photo 1 is no rotation"),
        ({"names": ["a"]}, "1 names were given for 2 photos"),
        ({"names": ["a", "A"]}, "not all different"),
        ({"names": ["a", "../b"]}, "'../b' is no name for a photo"),
    ],
)
def test_known_cameras_that_cannot_be(known, sentence):
    with pytest.raises(InputError, match=sentence):
        load_views([photo(0), photo(1)], **known)


def test_one_intrinsics_for_photos_of_different_sizes():
    matrix = np.array([[50, 0, 40], [0, 50, 30], [0, 0, 1.0]])
    with pytest.raises(InputError, match="One intrinsics matrix cannot belong to photos of 2 different sizes"):
        load_views([photo(0), photo(1, 30, 40)], intrinsics=matrix)
    assert len(load_views([photo(0), photo(1, 30, 40)], intrinsics=[matrix, matrix])) == 2


def test_require_views():
    require_views(load_views([photo(0), photo(1)]))
    with pytest.raises(InputError, match=r"only one view.*at least 2\. Take further photos"):
        require_views(load_views(photo(0)))
    with pytest.raises(InputError, match=r"only 2 views.*at least 4"):
        require_views(load_views([photo(0), photo(1)]), minimum=4)


def test_originals(tmp_path):
    write(tmp_path, ["a.png"])
    assert np.array_equal(read_original(tmp_path / "a.png"), photo(0))
    with pytest.raises(InputError, match=r"gone.png does not exist\. Put the file back"):
        read_original(tmp_path / "gone.png")


def save_with_exif(path: Path, size: tuple[int, int], tags: dict[int, object]) -> Path:
    image = Image.new("RGB", size)
    exif = image.getexif()
    exif[0x8769] = tags
    image.save(path, exif=exif)
    return path


def test_focal_from_exif(tmp_path):
    diagonal = np.hypot(400, 300)
    focal = 26 * diagonal / np.hypot(36, 24)
    full = save_with_exif(tmp_path / "a.jpg", (400, 300), {0xA405: 26})
    assert focal_from_exif(full) == pytest.approx(focal)
    resized = save_with_exif(tmp_path / "b.jpg", (400, 300), {0xA405: 26, 0xA002: 4000, 0xA003: 3000})
    assert focal_from_exif(resized) == pytest.approx(focal)
    cropped = save_with_exif(tmp_path / "c.jpg", (300, 300), {0xA405: 26, 0xA002: 4000, 0xA003: 3000})
    assert focal_from_exif(cropped) is None
    # 10 mm at 2000 pixels per centimetre = 2000 pixels at full size, a tenth after resizing
    plane = {0x920A: 10.0, 0xA20E: 2000.0, 0xA210: 3, 0xA002: 4000, 0xA003: 3000}
    assert focal_from_exif(save_with_exif(tmp_path / "d.jpg", (400, 300), plane)) == pytest.approx(200)
    assert focal_from_exif(save_with_exif(tmp_path / "e.jpg", (400, 300), {})) is None
    (tmp_path / "f.jpg").write_text("no picture")
    assert focal_from_exif(tmp_path / "f.jpg") is None


def test_import_is_light():
    code = "import sys, worldline.inputs; sys.exit(any(name in sys.modules for name in ('torch', 'av', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
