"""Tracks of a video as files: TAPVid-3D's NPZ and a CSV."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from worldline.outputs.export.folder import OutputFolder
from worldline.scene.video.tracks import VideoTracks

MOST_ROWS = 5_000_000  # of a CSV: what is longer is for numpy
_ROWS = 200_000  # written at a time


@dataclass(frozen=True, eq=False)
class TrackRecord:
    """Tracks of a video with everything that is needed to read them."""

    tracks: VideoTracks  # ``points`` in the camera of the same frame
    known: Bool[np.ndarray, "n t"]  # False where a track is not followed: before or after windows that lost it
    seconds: Float64[np.ndarray, "t"]
    intrinsics: Float64[np.ndarray, "t 3 3"]  # original pixels, centres at integers
    world_from_cam: Float64[np.ndarray, "t 4 4"]  # NaN where it is not known
    world: Float32[np.ndarray, "n t 3"] | None = None  # the same points in the world frame, where they were asked for


def write_tracks_npz(
    record: TrackRecord, folder: OutputFolder, frames: Iterable[UInt8[np.ndarray, "height width 3"]] = ()
) -> Path:
    """tracks.npz in TAPVid-3D's layout, with more keys of our own.

    The benchmark's keys: images_jpeg_bytes (T), queries_xyt (N, 3), tracks_XYZ (T, N, 3) in the camera of the same
    frame, visibility (T, N), fx_fy_cx_cy (4; medians over the frames), extrinsics_w2c (T, 4, 4). Its pixels count from
    the image's corner: centres are at .5. Ours: tracks_xy (T, N, 2) in the same pixels, known (T, N),
    visibility_probability and confidence (T, N), seconds (T), intrinsics (T, 3, 3) with pixel centres at integers, and
    tracks_XYZ_world (T, N, 3) where asked for.

    Args:
        frames: pictures to store as JPEG; none: the key holds an empty array.
    """
    from worldline.worlds.formats.tapvid3d import clip_arrays  # with it come the worlds: only when there is a file

    tracks, lens = record.tracks, record.intrinsics
    values = clip_arrays(
        frames=[_jpeg(frame) for frame in frames],
        queries=tracks.queries,
        tracks=tracks.points.transpose(1, 0, 2),
        visible=(tracks.visible & record.known).T,
        matrix=np.median(lens, axis=0),
        world_from_cam=record.world_from_cam,
    )
    values |= {
        "tracks_xy": (tracks.pixels.transpose(1, 0, 2) + np.float32(0.5)).astype(np.float32),
        "known": record.known.T,
        "visibility_probability": tracks.visibility.T.astype(np.float32),
        "confidence": tracks.confidence.T.astype(np.float32),
        "seconds": np.asarray(record.seconds, np.float64),
        "intrinsics": lens,
    }
    if record.world is not None:
        values["tracks_XYZ_world"] = record.world.transpose(1, 0, 2).astype(np.float32)
    with folder.file("tracks.npz") as path, path.open("wb") as file:
        np.savez_compressed(file, **values)  # type: ignore[arg-type]  # newer stubs take ** for allow_pickle
    return folder.root / "tracks.npz"


def write_tracks_csv(record: TrackRecord, folder: OutputFolder) -> Path | None:
    """tracks.csv: a row per track and frame in which it is followed.

    Columns: track, frame, seconds, x, y (original pixels, centres at integers), visible (0 or 1), visibility,
    confidence, X, Y, Z (in the camera of the frame, or in the world where the record has world positions).

    Returns:
        the file; None where it would have more than :data:`MOST_ROWS` rows, and nothing is written.
    """
    track, frame = np.nonzero(record.known)
    if len(track) > MOST_ROWS:
        return None
    tracks = record.tracks
    points = tracks.points if record.world is None else record.world
    with folder.file("tracks.csv") as path, path.open("w", encoding="ascii", newline="\n") as file:
        file.write("track,frame,seconds,x,y,visible,visibility,confidence,X,Y,Z\n")
        for start in range(0, len(track), _ROWS):
            at = track[start : start + _ROWS], frame[start : start + _ROWS]
            table = np.column_stack(
                [*at, record.seconds[at[1]], tracks.pixels[at], tracks.visible[at], tracks.visibility[at],
                 tracks.confidence[at], points[at]]
            )  # fmt: skip
            np.savetxt(file, table, "%d,%d,%.6f,%.3f,%.3f,%d,%.4f,%.5g,%.6g,%.6g,%.6g")
    return folder.root / "tracks.csv"


def _jpeg(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
