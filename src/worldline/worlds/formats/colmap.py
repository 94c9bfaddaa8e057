"""COLMAP reconstructions, written by COLMAP's own library: images/, and sparse/0 with exact tracks of still points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from worldline.errors import InputError
from worldline.worlds.formats.plan import Plan, photo, photographs, save_photo, scene_folder
from worldline.worlds.truth import Instants, PointTracks, sample_tracks
from worldline.worlds.truth.queries import Shots
from worldline.worlds.world import World

if TYPE_CHECKING:
    import pycolmap

_CORNER = 0.5  # COLMAP counts pixels from the corner of the first one, we from its centre


def paths(world: World, root: Path, name: str) -> list[Path]:
    """The folder of a scene."""
    return [root / name]


def check(world: World) -> None:
    """A point needs two photos.

    Raises:
        InputError: there is only one.
    """
    if world.views < 2:
        raise InputError("A reconstruction needs two photos at least.", "Ask for more views.")


def write(world: World, root: Path, name: str, plan: Plan) -> None:
    """Write the folder of a scene."""
    shots = Shots.of(world, height=plan.height, width=plan.width, sensor=None)
    tracks = sample_tracks(
        world, plan.tracks, height=plan.height, width=plan.width, sensor=None, moving_share=0.0,
        instants=Instants(world, plan.device),
    )  # fmt: skip
    colors = np.zeros((len(tracks.queries), 3), np.uint8)
    with scene_folder(root / name) as folder:
        for row, sample, view in photographs(world, np.arange(world.views), plan):
            picture = photo(sample, view)
            save_photo(picture, folder / "images" / photo_name(world, row, plan))
            mine = np.flatnonzero(tracks.queries[:, 2] == row)
            x, y = tracks.queries[mine, :2].astype(int).T
            colors[mine] = np.asarray(picture)[y, x]
        (folder / "sparse" / "0").mkdir(parents=True)
        names = [photo_name(world, row, plan) for row in range(world.views)]
        reconstruction(shots, tracks, colors, names).write_binary(str(folder / "sparse" / "0"))


def photo_name(world: World, row: int, plan: Plan) -> str:
    """Name of a photo below images/: one folder per sensor where there are several."""
    file = f"{row:06d}.{plan.image_format}"
    return f"{world.sensors[world.cameras.sensor[row]]}/{file}" if len(world.sensors) > 1 else file


def reconstruction(
    shots: Shots, tracks: PointTracks, colors: UInt8[np.ndarray, "n 3"], names: list[str]
) -> pycolmap.Reconstruction:
    """PINHOLE cameras (photos with equal intrinsics share one), poses, and the still points that two photos see."""
    import pycolmap

    model = pycolmap.Reconstruction()
    kept = ~tracks.moves & (tracks.visible.sum(0) >= 2)
    camera_ids: dict[tuple[float, ...], int] = {}
    place = np.zeros(tracks.visible.shape, np.int64)  # of a point among the observations of a photo
    for row, name in enumerate(names):
        matrix = shots.matrix[row]
        lens = (matrix[0, 0], matrix[1, 1], matrix[0, 2] + _CORNER, matrix[1, 2] + _CORNER)
        if lens not in camera_ids:
            camera_ids[lens] = len(camera_ids) + 1
            model.add_camera_with_trivial_rig(
                pycolmap.Camera(
                    model="PINHOLE", width=shots.width, height=shots.height, params=lens, camera_id=camera_ids[lens]
                )
            )
        seen = np.flatnonzero(kept & tracks.visible[row])
        place[row, seen] = np.arange(len(seen))
        image = pycolmap.Image(
            name=name, keypoints=tracks.pixel[row, seen] + _CORNER, camera_id=camera_ids[lens], image_id=row + 1
        )
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(np.linalg.inv(shots.world_from_cam[row])[:3]))
    for number in np.flatnonzero(kept):
        rows = np.flatnonzero(tracks.visible[:, number])
        elements = [pycolmap.TrackElement(int(row) + 1, int(place[row, number])) for row in rows]
        model.add_point3D(tracks.world[0, number], pycolmap.Track(elements), colors[number])
    model.update_point_3d_errors()
    return model
