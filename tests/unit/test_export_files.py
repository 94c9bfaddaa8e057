"""What exports do to the disk: names are checked first, files are whole, and nobody else's file is replaced."""

import dataclasses
import errno
import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

import synthetic_scene
from worldline.errors import InputError, OutputError
from worldline.outputs.export import FORMATS, check_formats
from worldline.scene import Scene

INSTALLED = [name for name, each in FORMATS.items() if each.needs is None or importlib.util.find_spec(each.needs[0])]


def test_all_formats_at_once_and_again(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.save(tmp_path / "out")
    for _ in range(2):
        written = exact_scene.export(folder, INSTALLED)
        assert list(written) == INSTALLED
        assert written == {name: folder / FORMATS[name].target for name in INSTALLED}
        assert all(path.exists() for path in written.values())
        assert not list(folder.rglob("*partial*"))
    assert len(Scene.load(folder)) == 4


def test_unknown_formats_are_refused_before_anything_happens(exact_scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stl.*Choose from: glb, ply, ") as caught:
        exact_scene.export(tmp_path / "out", ["ply", "stl"])
    assert all(name in caught.value.remedy for name in FORMATS)
    assert list(tmp_path.iterdir()) == []
    assert check_formats("glb") == ("glb",) and check_formats(["glb", "ply", "glb"]) == ("glb", "ply")


@pytest.mark.parametrize(
    ("name", "target"),
    [("glb", "scene.glb"), ("colmap", "colmap/sparse/0/images.bin"), ("nerfstudio", "nerfstudio/transforms.json")],
)
def test_files_of_the_user_stay(exact_scene: Scene, tmp_path: Path, name: str, target: str) -> None:
    path = tmp_path / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(OutputError, match="not written by worldline"):
        exact_scene.export(tmp_path, [name])
    assert path.read_text() == "mine" and not list(tmp_path.rglob("*partial*"))
    path.rename(tmp_path / "elsewhere")
    assert exact_scene.export(tmp_path, [name])[name].exists()


@pytest.mark.parametrize("name", INSTALLED)
def test_a_full_disk(exact_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    exact_scene.export(tmp_path, [name])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"Cannot write .*: the disk is full\. Free some space"):
        exact_scene.export(tmp_path, [name])
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_where_the_folder_should_be(exact_scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="a file is where"):
        exact_scene.export(tmp_path / "file", ["ply"])
    (tmp_path / "colmap").write_text("mine")
    with pytest.raises(OutputError, match="file"):
        exact_scene.export(tmp_path, ["colmap"])


def test_equal_and_awkward_names_do_not_collide(tmp_path: Path) -> None:
    view = synthetic_scene.make_view(0, None)
    names = [
        "a/IMG 1.jpg",
        "b/IMG 1.jpg",
        "a_IMG_1.png",
        "A_img_1.JPG",
        "写真.png",
        "図.png",
        "..",
        "x.y",
        "frame 7",
        "-ü ö",
    ]
    scene = Scene(views=tuple(dataclasses.replace(view, name=name) for name in names))
    written = scene.export(tmp_path, ["colmap-text", "nerfstudio", "depth-png"])
    images = sorted(path.name for path in (written["colmap-text"] / "images").iterdir())
    assert len({name.lower() for name in images}) == len(names)
    assert all(name.isascii() and " " not in name for name in images)
    model = pycolmap.Reconstruction(written["colmap-text"] / "sparse" / "0")
    assert sorted(image.name for image in model.images.values()) == images
    frames = json.loads((written["nerfstudio"] / "transforms.json").read_text(encoding="utf-8"))["frames"]
    assert [frame["name"] for frame in frames] == names
    assert model.images[1].name == "a_IMG_1.png" and model.images[2].name == "b_IMG_1.png"
    assert len(list(written["depth-png"].glob("*.png"))) == len(names)


def test_upright_photos_are_copied_and_turned_ones_rewritten(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.export(tmp_path, ["colmap"])["colmap"] / "images"
    copies = ["holiday_IMG_1.png", "cafe_IMG_1.png", "turned.png", "portrait.png"]
    for view, name in zip(exact_scene.views, copies, strict=True):
        same = (folder / name).read_bytes() == Path(view.source).read_bytes()
        assert same == (view.transform.orientation == 1)
        with Image.open(folder / name) as picture:
            assert picture.getexif().get(synthetic_scene.EXIF_ORIENTATION, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_written_upright(tmp_path: Path, orientation: int) -> None:
    view = synthetic_scene.make_view(0, None)
    upright = synthetic_scene.surface(view.camera)[2]
    height, width = upright.shape[:2]
    stored = (height, width) if orientation <= 4 else (width, height)
    source = tmp_path / "photo.jpg"
    picture = Image.fromarray(upright)
    if synthetic_scene.STORE[orientation] is not None:
        picture = picture.transpose(synthetic_scene.STORE[orientation])
    exif = Image.Exif()
    exif[synthetic_scene.EXIF_ORIENTATION] = orientation
    picture.save(source, exif=exif, quality=95)
    transform = dataclasses.replace(view.transform, stored_size=stored, orientation=orientation)
    scene = Scene(views=(dataclasses.replace(view, transform=transform, source=str(source), name="p.jpg"),))
    path = scene.export(tmp_path / "out", ["colmap"])["colmap"] / "images" / "p.jpg"
    with Image.open(path) as written:
        assert written.size == (width, height) and written.getexif().get(synthetic_scene.EXIF_ORIENTATION, 1) == 1
        difference = abs(np.asarray(written).astype(int) - upright)
    assert difference.mean() < 2 and difference.max() < 25


def test_a_photo_that_changed_since_is_not_used(exact_scene: Scene, tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.new("RGB", (33, 44)).save(source)
    scene = Scene(views=(dataclasses.replace(exact_scene.views[0], source=str(source), name="photo.png"),))
    with pytest.warns(UserWarning, match=r"1 photos .*photo.png"):
        folder = scene.export(tmp_path / "out", ["colmap"])["colmap"]
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert (model.cameras[1].height, model.cameras[1].width) == scene.views[0].transform.model_size
    with Image.open(tmp_path / "out" / "colmap" / "images" / "photo.png") as picture:
        assert (picture.height, picture.width) == scene.views[0].transform.model_size


def test_photos_in_a_zip_are_written_at_full_size(exact_scene: Scene, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for view in exact_scene.views:
            file.write(view.source, view.name)
    views = [dataclasses.replace(view, source=str(archive / view.name)) for view in exact_scene.views]
    folder = dataclasses.replace(exact_scene, views=tuple(views)).export(tmp_path / "out", ["colmap"])["colmap"]
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    for index, view in enumerate(views):
        image = model.images[index + 1]
        assert (image.camera.height, image.camera.width) == view.transform.original_size
        written = np.asarray(Image.open(folder / "images" / image.name))
        assert np.array_equal(written, synthetic_scene.surface(view.camera)[2])


def test_frames_of_a_video_are_written_at_full_size(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    video = tmp_path / "clip.mp4"
    view = synthetic_scene.make_view(0, None)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 4_000_000
        for number in range(5):
            pixels = np.full((240, 320, 3), 40 * number + 20, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    views = [
        dataclasses.replace(view, name=f"frame_{number:06d}", source=str(video), timestamp=number / 10)
        for number in (1, 3)
    ]
    folder = Scene(views=tuple(views)).export(tmp_path / "out", ["nerfstudio"])["nerfstudio"]
    for number in (1, 3):
        written = np.asarray(Image.open(folder / "images" / f"frame_{number:06d}.jpg"))
        assert written.shape == (240, 320, 3) and abs(written.mean() - (40 * number + 20)) < 6
