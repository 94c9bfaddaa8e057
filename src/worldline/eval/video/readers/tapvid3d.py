"""TAPVid-3D's files: one .npz per clip, and one per prediction.

::

    images_jpeg_bytes (T)   queries_xyt (N, 3)   tracks_XYZ (T, N, 3)   visibility (T, N)   fx_fy_cx_cy (4)
    extrinsics_w2c (T, 4, 4), absent where the camera stands still (pstudio)

Tracks are in metres in the camera of the same frame; pixels count from the corner of the image, so that scaling
intrinsics with the size is right. :mod:`worldline.worlds.formats.tapvid3d` writes clips of procedural worlds.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.eval.video.tracks3d import Tracks3D, intrinsics_at_256
from worldline.files import replacing_file, reporting

SUBSETS = ("drivetrack", "adt", "pstudio")
_KEYS = ("images_jpeg_bytes", "queries_xyt", "tracks_XYZ", "visibility", "fx_fy_cx_cy")


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip of the benchmark. Frames are decoded when asked for."""

    name: str
    jpegs: np.ndarray  # [T] bytes
    queries: Float64[np.ndarray, "n 3"]  # x, y in pixels from the corner, t
    tracks: Tracks3D  # [t n]
    intrinsics: Float64[np.ndarray, "4"]  # fx, fy, cx, cy in pixels of the video, from the corner
    cam_from_world: Float64[np.ndarray, "t 4 4"] | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), from the header of the first frame."""
        with Image.open(io.BytesIO(self.jpegs[0])) as image:
            return image.height, image.width

    @property
    def queries_tyx(self) -> Float64[np.ndarray, "n 3"]:
        """In the metric's order."""
        return self.queries[:, ::-1]

    @property
    def lens(self) -> Float64[np.ndarray, "4"]:
        """Intrinsics at the benchmark's size (shorter side 256)."""
        return intrinsics_at_256(self.intrinsics, *self.size)

    def frames(self) -> UInt8[np.ndarray, "t h w 3"]:
        """All photos."""
        return np.stack([np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in self.jpegs])


def find_clips(folder: Path) -> dict[str, list[Path]]:
    """Clips by subset: those of the subfolders named as in the benchmark (or any with .npz), else of the folder itself.

    Raises:
        InputError: there is none.
    """
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = {path.name: sorted(path.glob("*.npz")) for path in subfolders}
    found = {name: paths for name, paths in found.items() if paths}
    if not found and (own := sorted(folder.glob("*.npz"))):
        found = {folder.resolve().name: own}
    if not found:
        raise InputError(f"{folder} holds no .npz clip.", "Give the folder of TAPVid-3D or of one of its subsets.")
    return found


def read_clip(path: Path) -> Clip:
    """Read a clip.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    values = _load(path, _KEYS, ("extrinsics_w2c",))
    tracks = Tracks3D(values["tracks_XYZ"], values["visibility"].astype(bool))
    queries, length = values["queries_xyt"].astype(np.float64), len(values["images_jpeg_bytes"])
    if tracks.points.shape != (length, len(queries), 3) or tracks.visible.shape != tracks.points.shape[:2]:
        raise InputError(
            f"{path} has {length} frames, {len(queries)} queries and tracks of shape {tracks.points.shape}.",
            "They must be T, N and [T, N, 3].",
        )
    poses = values.get("extrinsics_w2c")
    return Clip(
        path.stem, values["images_jpeg_bytes"], queries, tracks, values["fx_fy_cx_cy"].astype(np.float64),
        None if poses is None else poses.astype(np.float64),
    )  # fmt: skip


def write_clip(path: Path, clip: Clip) -> None:
    """Write a clip as the benchmark stores it.

    Raises:
        OutputError: no permission, full disk.
    """
    values = {
        "images_jpeg_bytes": np.array(clip.jpegs), "queries_xyt": clip.queries,
        "tracks_XYZ": np.asarray(clip.tracks.points, np.float32), "visibility": np.asarray(clip.tracks.visible, bool),
        "fx_fy_cx_cy": clip.intrinsics,
    }  # fmt: skip
    if clip.cam_from_world is not None:
        values["extrinsics_w2c"] = clip.cam_from_world
    _save(path, values)


def read_prediction(path: Path) -> Tracks3D:
    """tracks_XYZ [T, N, 3] and visibility [T, N].

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    values = _load(path, ("tracks_XYZ", "visibility"), ())
    return Tracks3D(values["tracks_XYZ"], values["visibility"].astype(bool))


def write_prediction(path: Path, points: Float[np.ndarray, "t n 3"], visible: Bool[np.ndarray, "t n"]) -> None:
    """Write predicted tracks, in the camera of each frame, as the benchmark reads them.

    Raises:
        OutputError: no permission, full disk.
    """
    _save(path, {"tracks_XYZ": np.asarray(points, np.float32), "visibility": np.asarray(visible, bool)})


def _load(path: Path, keys: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in (*keys, *(name for name in optional if name in stored))}
    except KeyError as error:
        raise InputError(f"{path} has no {error.args[0]}.", f"Expected are: {', '.join(keys)}.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Download or write it again.") from error


def _save(path: Path, values: dict[str, np.ndarray]) -> None:
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **values)
