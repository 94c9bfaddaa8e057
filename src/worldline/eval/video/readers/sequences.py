"""Sequences in any format of :mod:`worldline.eval.readers` (our own scene.json, TUM, 7-Scenes, …) as videos."""

from __future__ import annotations

from collections.abc import Sequence as Names
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers import HELP, find_sequences, read_sequence
from worldline.eval.sequences import SAME_POSE, Sequence
from worldline.eval.video.readers.posed_video import PosedVideo
from worldline.types import Camera


def read_sequences(
    folder: Path, *, step: int = 1, most: int | None = None, left_out: list[str] | None = None, only: Names[str] = ()
) -> list[PosedVideo]:
    """Every sequence at or below a folder, all of its frames or a part.

    Depth that a second camera measured from elsewhere is left out: it has no value for most pixels of the photo.

    Args:
        step: every so-manieth frame.
        most: at most so many frames of a sequence.
        only: take those whose path contains one of these.
        left_out: gets a sentence about every sequence that cannot be used; None: that is an error.

    Raises:
        InputError: no sequence that can be used.
    """
    places = [place for place in find_sequences(folder) if not only or any(part in str(place) for part in only)]
    if not places:
        raise InputError(
            f"{folder} holds no sequence with ground truth.",
            f"{HELP} Videos without it can be checked against themselves: --consistency.",
        )
    videos, chosen = [], slice(0, None if most is None else step * most, step)
    for place in places:
        try:
            videos.append(_video(read_sequence(place), chosen))
        except InputError as error:
            if left_out is None or len(places) == 1:
                raise
            left_out.append(f"left out: {error.cause}")
    if not videos:
        raise InputError(f"No sequence in {folder} can be used.", HELP)
    return videos


def _video(sequence: Sequence, chosen: slice) -> PosedVideo:
    cameras, measured = sequence.cameras[chosen], sequence.depths[chosen]
    maps: dict[Path, DepthMap] = {}
    for camera, depth in zip(cameras, measured, strict=True):
        if depth is not None and _same_place(camera, depth.camera):
            maps[depth.path] = depth
    complete = len(maps) == len(cameras)

    def read_depth(path: Path) -> Float[np.ndarray, "height width"]:
        return maps[path].read()

    return PosedVideo(
        sequence.name.replace("/", "_"),
        sequence.images[chosen],
        tuple(maps) if complete else None,
        read_depth if complete else None,
        np.stack([camera.world_from_cam for camera in cameras]),
        _intrinsics(cameras, tuple(maps.values())) if complete else None,
    )


def _same_place(camera: Camera, sensor: Camera | None) -> bool:
    return sensor is None or bool(np.abs(sensor.world_from_cam - camera.world_from_cam).max() < SAME_POSE)


def _intrinsics(cameras: tuple[Camera, ...], maps: tuple[DepthMap, ...]) -> Float64[np.ndarray, "t 3 3"]:
    """Of the depth maps, in their pixels."""
    height, width = maps[0].read().shape
    found = []
    for camera, depth in zip(cameras, maps, strict=True):
        sensor = depth.camera or camera
        x, y = width / sensor.width, height / sensor.height
        resize = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])  # the image's edges stay edges
        found.append(resize @ sensor.intrinsics)
    return np.stack(found)
