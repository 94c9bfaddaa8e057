"""TAPVid-3D's clips: one .npz per video with JPEG frames, 3D tracks in camera coordinates, visibility and intrinsics.

Keys as the benchmark's code reads them: images_jpeg_bytes (T), queries_xyt (N, 3), tracks_XYZ (T, N, 3) in the camera
of the same frame (OpenCV axes, metres), visibility (T, N), fx_fy_cx_cy (4), extrinsics_w2c (T, 4, 4). The benchmark
rescales intrinsics by a plain factor, so its pixels count from the corner of the image: centres are at .5 here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from worldline.errors import InputError
from worldline.files import replacing_file
from worldline.worlds.formats.plan import Plan, photo, photographs
from worldline.worlds.truth import Instants, sample_tracks
from worldline.worlds.truth.queries import Shots
from worldline.worlds.world import World

_CORNER = 0.5  # their coordinates of the pixel centre that is (0, 0) here


def paths(world: World, root: Path, name: str) -> list[Path]:
    """One file per sensor."""
    if len(world.sensors) == 1:
        return [root / f"{name}.npz"]
    return [root / f"{name}_{sensor}.npz" for sensor in world.sensors]


def check(world: World) -> None:
    """One camera's intrinsics must serve the whole clip.

    Raises:
        InputError: the focal length or the principal point varies.
    """
    for sensor in range(len(world.sensors)):
        own = world.cameras.sensor == sensor
        lens = np.column_stack([world.cameras.fov[own], world.cameras.principal_offset[own]])
        if np.ptp(lens, axis=0).max() > 0:
            raise InputError(
                "A TAPVid-3D clip has one set of intrinsics, but these photos have several.",
                "Leave focal_per_view and principal_offset alone.",
            )


def write(world: World, root: Path, name: str, plan: Plan) -> None:
    """Write the clips of a world; those that exist are left alone."""
    instants = Instants(world, plan.device)
    for sensor, path in enumerate(paths(world, root, name)):
        if path.exists():
            continue
        values = _clip(world, sensor, plan, instants)
        with replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **values)


def _clip(world: World, sensor: int, plan: Plan, instants: Instants) -> dict[str, np.ndarray]:
    shots = Shots.of(world, height=plan.height, width=plan.width, sensor=sensor)
    tracks = sample_tracks(
        world, plan.tracks, height=plan.height, width=plan.width, sensor=sensor, instants=instants
    )  # fmt: skip
    frames = []
    for _, sample, view in photographs(world, np.flatnonzero(world.cameras.sensor == sensor), plan):
        buffer = io.BytesIO()
        photo(sample, view).save(buffer, "JPEG", quality=92, subsampling=0)
        frames.append(buffer.getvalue())
    return clip_arrays(
        frames=frames,
        queries=tracks.queries,
        tracks=tracks.position,
        visible=tracks.visible,
        matrix=shots.matrix[0],
        world_from_cam=shots.world_from_cam,
    )


def clip_arrays(
    *, frames: Sequence[bytes], queries: Float[np.ndarray, "n 3"], tracks: Float[np.ndarray, "t n 3"],
    visible: Bool[np.ndarray, "t n"], matrix: Float[np.ndarray, "3 3"], world_from_cam: Float[np.ndarray, "t 4 4"],
) -> dict[str, np.ndarray]:  # fmt: skip
    """The benchmark's keys, from our conventions: pixel centres at integers, poses instead of extrinsics.

    Args:
        frames: JPEG files.
        queries: x, y in pixels and t.
        tracks: in the camera of the same frame, OpenCV axes.
        matrix: intrinsics in pixels.
    """
    return {
        "images_jpeg_bytes": np.array(frames) if len(frames) else np.zeros(0, "S1"),
        "queries_xyt": queries + np.array([_CORNER, _CORNER, 0.0]),
        "tracks_XYZ": tracks.astype(np.float32),
        "visibility": visible,
        "fx_fy_cx_cy": np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2] + _CORNER, matrix[1, 2] + _CORNER]),
        "extrinsics_w2c": np.linalg.inv(world_from_cam),
    }
