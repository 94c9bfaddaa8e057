"""Which camera of a cameras file belongs to which photo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.errors import InputError
from worldline.inputs import attach_cameras, load_views, read_known_cameras


def files(tmp_path: Path, *names: str) -> list[str]:
    generator = np.random.default_rng(0)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (32, 48, 3), dtype=np.uint8)).save(tmp_path / name)
    return [str(tmp_path / name) for name in names]


def focals(tmp_path: Path, photos: list[str], frames: dict[str, float]) -> list[float | None]:
    document = {"frames": [{"image": name, "K": [focal, focal, 23.5, 15.5]} for name, focal in frames.items()]}
    (tmp_path / "cameras.json").write_text(json.dumps(document))
    views = attach_cameras(load_views(photos), read_known_cameras(tmp_path / "cameras.json"))
    return [None if view.intrinsics is None else float(view.intrinsics[0, 0]) for view in views]


def test_equal_file_names_in_two_folders_keep_their_own_cameras(tmp_path: Path) -> None:
    photos = files(tmp_path, "left/0.png", "right/0.png")
    assert focals(tmp_path, photos, {"right/0.png": 90, "left/0.png": 40}) == [40, 90]
    assert focals(tmp_path, photos, {"left_0.png": 40}) == [40, None]
    assert focals(tmp_path, photos, {"left/0.png": 40}) == [40, None]


def test_a_camera_for_one_of_two_equal_names_is_not_given_to_the_other(tmp_path: Path) -> None:
    photos = files(tmp_path, "left/0.png", "right/0.png")
    with pytest.raises(InputError, match="several photos or frames are called"):
        focals(tmp_path, photos, {"0.png": 40})


def test_the_folder_does_not_matter_where_names_are_unique(tmp_path: Path) -> None:
    photos = files(tmp_path, "left/0.png", "left/1.png")
    assert focals(tmp_path, photos, {"images/1.png": 90, "./0.png": 40}) == [40, 90]
