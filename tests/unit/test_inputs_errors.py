"""Bad input gets one sentence of cause and one of remedy; all bad files are named at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.errors import InputError
from worldline.inputs import load_views


def photo(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 80, 3)).astype(np.uint8))


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def bad_folder(folder: Path) -> dict[str, str]:
    """Two good photos and one of each kind of bad file, with what must be said about it."""
    photo(1).save(folder / "good_1.jpg")
    photo(2).save(folder / "good_2.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("This is a list of photos, in words: näm.\n" * 20)
    (folder / "page.png").write_text("\n<!DOCTYPE html><html>not found</html>")
    (folder / "paper.jpg").write_bytes(b"%PDF-1.7 \x00\x01")
    (folder / "packed.jpg").write_bytes(b"PK\x03\x04\x00\x00")
    (folder / "noise.jpg").write_bytes(bytes(range(256)) * 4)
    for name in ("cut.jpg", "cut.png", "cut.webp", "cut.tif", "cut.bmp"):
        photo(3).save(folder / name)
        cut(folder / name, 0.6)
    photo(4).save(folder / "flipped.png")
    data = bytearray((folder / "flipped.png").read_bytes())
    start = data.index(b"IDAT") + 4
    data[start : start + 64] = bytes(64)
    (folder / "flipped.png").write_bytes(data)
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    return {
        "empty.jpg": "is empty",
        "text.jpg": "is a text file, not a photo",
        "page.png": "is a web page, not a photo",
        "paper.jpg": "is a PDF document, not a photo",
        "packed.jpg": "is a zip archive, not a photo",
        "noise.jpg": "is damaged, or no image format that can be read",
        "cut.jpg": "is truncated: the end of the file is missing",
        "cut.png": "is truncated: the end of the file is missing",
        "cut.webp": "is ",
        "cut.tif": "is ",
        "cut.bmp": "is truncated: the end of the file is missing",
        "flipped.png": "is damaged",
        "link.jpg": "does not exist",
    }


def test_all_bad_files_are_named_at_once(tmp_path):
    expected = bad_folder(tmp_path)
    with pytest.raises(InputError) as caught:
        load_views(tmp_path)
    assert caught.value.cause.startswith(f"{len(expected)} of {len(expected) + 2} photos cannot be used: ")
    for name, reason in expected.items():
        assert f"{name} {reason}" in caught.value.cause
    assert "good" not in caught.value.cause
    assert caught.value.remedy == "Repair or remove them, or go on without them: --skip-bad (skip_bad=True)."


def test_skip_bad_goes_on_and_records(tmp_path):
    expected = bad_folder(tmp_path)
    views = load_views(tmp_path, skip_bad=True)
    assert [view.name for view in views] == ["good_1.jpg", "good_2.png"]
    assert {line.split(": ")[0] for line in views.skipped} == set(expected)
    for name, reason in expected.items():
        assert any(line.startswith(f"{name}: {reason}") for line in views.skipped)


def test_nothing_but_bad_files(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("words")
    with pytest.raises(InputError, match=r"None of the 2 photos can be used: a.jpg is a text file.*b.jpg is a text"):
        load_views(tmp_path, skip_bad=True)
    with pytest.raises(
        InputError, match=r"^The photo cannot be used: .*a.jpg is a text file, not a photo\. Give another"
    ):
        load_views(tmp_path / "a.jpg")


def test_missing_path_and_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist\. Check the spelling"):
        load_views(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is empty\. Put photos into it"):
        load_views(tmp_path)
    with pytest.raises(InputError, match=r"The list of photos is empty\."):
        load_views([])
    with pytest.raises(InputError, match=r"https://example.org/a.jpg is a web address\. Download"):
        load_views("https://example.org/a.jpg")
    with pytest.raises(InputError, match=r"A int is no source of photos\. Give a folder"):
        load_views(3)


def test_folder_without_photos_says_where_they_may_be(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InputError, match=r"There are no photos in the folder .*\. Photos are files named"):
        load_views(tmp_path)
    (tmp_path / "shot.nef").write_bytes(b"raw")
    with pytest.raises(InputError, match=r"Convert camera raw files such as shot.nef"):
        load_views(tmp_path)
    (tmp_path / "images").mkdir()
    photo().save(tmp_path / "images/a.jpg")
    with pytest.raises(InputError, match=r"Give the folder inside it that holds them: .*images\.$"):
        load_views(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"Give the video file itself: .*clip.mp4"):
        load_views(tmp_path)


def test_lists_with_wrong_items(tmp_path):
    photo().save(tmp_path / "a.jpg")
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "raw.cr2").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    items = [tmp_path / name for name in ("a.jpg", "a.jpg", "clip.mp4", "raw.cr2", "sub", "gone.jpg")]
    with pytest.raises(InputError) as caught:
        load_views([*items, np.zeros((4, 4, 7))])
    for sentence in (
        "6 of 7 photos",
        "a.jpg is given twice",
        "clip.mp4 is a video (give one video alone",
        "raw.cr2 is a camera raw file",
        "sub is a folder",
        "gone.jpg does not exist",
        "An array of shape (4, 4, 7) is no photo",
    ):
        assert sentence in caught.value.cause
    with pytest.raises(InputError, match="Item 1 of the list is a int, not a photo"):
        load_views([tmp_path / "a.jpg", 7])


def test_unreadable_file(tmp_path, monkeypatch):
    photo().save(tmp_path / "a.jpg")
    photo(1).save(tmp_path / "b.jpg")
    real_open = Image.open

    def locked(file, *rest):
        if Path(file).name == "a.jpg":
            raise PermissionError(13, "Permission denied")
        return real_open(file, *rest)

    monkeypatch.setattr(Image, "open", locked)
    with pytest.raises(InputError, match=r"1 of 2 photos cannot be used: a.jpg may not be read \(no permission\)"):
        load_views(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fit": "stretch"}, r"no way to fit photos called 'stretch'\. Choose one of: crop, square, pad"),
        ({"size": 100}, r"100 is no positive multiple of 16"),
        ({"size": 0}, "no positive multiple"),
        ({"max_views": 0}, "max_views is 0"),
        ({"fps": 0}, "fps is 0"),
        ({"max_pixels": 0}, "max_pixels is 0"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(InputError, match=sentence):
        load_views(np.zeros((2, 20, 30, 3), np.uint8), **options)


def test_fps_on_photos_is_said():
    assert "fps has no effect on photos." in load_views(np.zeros((2, 20, 30, 3), np.uint8), fps=2).notes


def test_too_narrow_for_the_crop():
    narrow = np.zeros((2, 10, 400, 3), np.uint8)
    with pytest.raises(InputError, match="too long and narrow for a crop at size 512"):
        load_views(narrow, size=512)
    assert load_views(narrow, size=512, fit="pad")[0].image.shape == (512, 512, 3)
    assert load_views(narrow, size=224)[0].image.shape == (224, 224, 3)
