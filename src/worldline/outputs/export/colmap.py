"""COLMAP reconstructions, written by COLMAP's own library: sparse/0 with tracks, and images/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.images import ExportImage, map_pixels, write_images
from worldline.outputs.export.tracks import find_tracks
from worldline.scene import Scene
from worldline.types import Camera

if TYPE_CHECKING:
    import pycolmap

_COLMAP_FROM_OURS = 0.5  # COLMAP counts pixels from the corner of the first one, we from its centre


def write_colmap(scene: Scene, folder: OutputFolder) -> Path:
    """colmap/: sparse/0/*.bin and images/; returns the folder. See :func:`reconstruction`."""
    return _write(scene, folder, "colmap", text=False)


def write_colmap_text(scene: Scene, folder: OutputFolder) -> Path:
    """colmap_text/: sparse/0/*.txt and images/; returns the folder. See :func:`reconstruction`."""
    return _write(scene, folder, "colmap_text", text=True)


def _write(scene: Scene, folder: OutputFolder, name: str, *, text: bool) -> Path:
    images = write_images(scene, folder, f"{name}/images")
    model = reconstruction(scene, images)
    with folder.workspace(f"{name}/sparse/0") as workspace:
        (model.write_text if text else model.write_binary)(str(workspace))
        folder.take(workspace, f"{name}/sparse/0")
    return folder.root / name


def reconstruction(scene: Scene, images: list[ExportImage]) -> pycolmap.Reconstruction:
    """The scene as COLMAP sees it: PINHOLE cameras in the pixels of the pictures, poses, and tracks of length >= 2.

    Pictures with equal intrinsics and size share one camera. Image ids are 1 + the index of the view; views without a
    pose are left out.
    """
    import pycolmap

    model = pycolmap.Reconstruction()
    camera_ids: dict[tuple[float, ...], int] = {}
    tracks = find_tracks(scene)
    point_index = np.zeros(len(tracks.tracks), np.int64)  # of each observation, within its picture
    for image in images:
        key = (*image.camera.intrinsics.ravel().tolist(), image.camera.height, image.camera.width)
        if key not in camera_ids:
            camera_ids[key] = len(camera_ids) + 1
            model.add_camera_with_trivial_rig(_colmap_camera(image.camera, camera_ids[key]))
        mine = np.flatnonzero(tracks.views == image.index)
        point_index[mine] = np.arange(len(mine))
        record = pycolmap.Image(
            name=image.file_name,
            keypoints=map_pixels(image.picture_from_model, tracks.pixels[mine]) + _COLMAP_FROM_OURS,
            camera_id=camera_ids[key],
            image_id=image.index + 1,
        )
        model.add_image_with_trivial_frame(record, pycolmap.Rigid3d(image.camera.cam_from_world[:3]))
    order = np.argsort(tracks.tracks, kind="stable")
    bounds = np.searchsorted(tracks.tracks[order], np.arange(len(tracks.points) + 1))
    for number, (point, color) in enumerate(zip(tracks.points, tracks.colors, strict=True)):
        observations = order[bounds[number] : bounds[number + 1]]
        elements = [pycolmap.TrackElement(int(tracks.views[o]) + 1, int(point_index[o])) for o in observations]
        model.add_point3D(point.astype(np.float64), pycolmap.Track(elements), color)
    model.update_point_3d_errors()
    return model


def _colmap_camera(camera: Camera, camera_id: int) -> pycolmap.Camera:
    import pycolmap

    intrinsics = camera.intrinsics
    return pycolmap.Camera(
        model="PINHOLE",
        width=int(camera.width),
        height=int(camera.height),
        params=[
            intrinsics[0, 0],
            intrinsics[1, 1],
            intrinsics[0, 2] + _COLMAP_FROM_OURS,
            intrinsics[1, 2] + _COLMAP_FROM_OURS,
        ],
        camera_id=camera_id,
    )
