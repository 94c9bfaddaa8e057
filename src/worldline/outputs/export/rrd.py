"""A scene as a recording for Rerun (extra ``rerun``): cameras with images, depth, masks; points, tracks, boxes; time.

The file holds the scene's numbers and says how they are to be shown (a blueprint). No viewer is started, and nothing is
sent anywhere.
"""

from __future__ import annotations

import errno
import io
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.rrd_blueprint import blueprint
from worldline.outputs.export.rrd_motion import RecordingTimeline, log_objects, log_tracks
from worldline.outputs.facts.caption import model_name, scale_of
from worldline.outputs.facts.moments import Moments
from worldline.outputs.facts.viewpoint import up_direction
from worldline.scene import Scene, SceneView

if TYPE_CHECKING:
    import rerun as rr

STILL, MOVES = 0, 1  # classes of the masks of what moves
_FRUSTUM_SHARE = 0.07  # length of a frustum as a share of the median depth
_RADIUS = 0.6  # of a point, in pixel widths at its depth
_JPEG_QUALITY = 92
_NAMESPACE = uuid.UUID("7c9d0f0e-3f39-4c1f-9f1e-6d6a5d8b6f11")
_UP = ("RIGHT_HAND_{}_UP", "RIGHT_HAND_{}_DOWN")  # names of the SDK's view coordinates


def write_rrd(scene: Scene, folder: OutputFolder) -> Path:
    """scene.rrd: entities under ``world`` in the scene's own frame; docs/formats.md lists them.

    Raises:
        ImportError: rerun-sdk is not installed (the table of formats says so before).
    """
    import rerun as rr

    identity = uuid.uuid5(_NAMESPACE, "\n".join([scene.provenance.created, *(view.name for view in scene.views)]))
    timeline = RecordingTimeline(scene)
    with folder.file("scene.rrd") as path:
        if shutil.disk_usage(path.parent).free < _most_bytes(scene):  # the SDK would wait for its dead thread for ever
            raise OSError(errno.ENOSPC, "No space left on device")
        stream = rr.RecordingStream("worldline", recording_id=identity, send_properties=False)
        stream.set_log_time_enabled(False)
        stream.set_log_tick_enabled(False)
        try:
            stream.save(path, default_blueprint=blueprint(scene, camera_names(scene, timeline.moments), timeline))
            stream.send_recording_name(f"{model_name(scene)}, {len(scene.views)} views")
            _log_scene(scene, stream, timeline)
            stream.flush()
        except RuntimeError as error:  # from the thread that writes
            raise OSError(errno.EIO, str(error)) from error
        finally:
            stream.disconnect()
    return folder.root / "scene.rrd"


def _most_bytes(scene: Scene) -> int:
    """More than a recording of the scene can take."""
    pixels = sum(view.mask.size for view in scene.views)
    splats = 0 if scene.gaussians is None else len(scene.gaussians.means)
    places = 0 if scene.tracks is None else scene.tracks.visible.size
    return 36 * pixels + 48 * splats + 80 * places + 16384 * (len(scene.views) + 64)


def camera_names(scene: Scene, moments: Moments) -> list[str]:
    """The entity of each view's camera below ``world/cameras``.

    Views of a moment share the entity of their sensor ("camera" where they have none), so that it moves; views without
    a moment, and views that would be at one moment on one entity, are entities by their own names.
    """
    shared = [view.sensor or "camera" for view in scene.views]
    twice = len(set(zip(shared, moments.of_view, strict=True))) < len(shared)
    return [
        view.name if twice or moment is None else name
        for view, name, moment in zip(scene.views, shared, moments.of_view, strict=True)
    ]


def _log_scene(scene: Scene, stream: rr.RecordingStream, timeline: RecordingTimeline) -> None:
    import rerun as rr

    up = up_direction([view.camera.world_from_cam for view in scene.views if view.pose_status != "failed"])
    axis = int(np.abs(up).argmax())
    axes = getattr(rr.ViewCoordinates, _UP[int(up[axis] < 0)].format("XYZ"[axis]))
    stream.log("about", rr.TextDocument(_about(scene), media_type="text/markdown"), static=True, strict=True)
    stream.log("world", axes, static=True, strict=True)
    classes = [(STILL, "still", (0, 0, 0, 0)), (MOVES, "moves", (255, 140, 0, 160))]
    stream.log("world/cameras", rr.AnnotationContext(classes), static=True, strict=True)
    names, moments = camera_names(scene, timeline.moments), timeline.moments.of_view
    for view, name, moment in zip(scene.views, names, moments, strict=True):
        if moment is not None:
            timeline.set(stream, timeline.moments.times[moment])
        _log_view(view, name, stream, static=moment is None)
    _log_trajectories(scene, names, timeline.moments, stream)
    if scene.gaussians is not None and hasattr(rr, "GaussianSplats3D"):
        cloud = scene.gaussians
        rgba = np.concatenate([cloud.colors, cloud.opacities[:, None]], axis=1).clip(0, 1)
        splats = rr.GaussianSplats3D(
            cloud.means,
            scales=cloud.scales,
            quaternions=np.roll(cloud.rotations, -1, axis=1),  # x y z w
            colors=np.rint(255 * rgba).astype(np.uint8),
        )
        stream.log("world/gaussians", splats, static=True, strict=True)
    log_tracks(scene, stream, timeline)
    log_objects(scene, stream, timeline)


def _log_view(view: SceneView, name: str, stream: rr.RecordingStream, *, static: bool) -> None:
    """Camera, image, depth, confidence, mask and points of one view, at the time that is set or for all times."""
    import rerun as rr

    def log(path: list[object], *values: Any) -> None:
        stream.log(path, *values, static=static, strict=True)

    moves = np.zeros_like(view.mask) if view.dynamic is None else view.mask & view.dynamic
    log(["world", "points", name], _points(view, view.mask & ~moves))
    if view.dynamic is not None:
        log(["world", "moving", name], _points(view, moves))
    camera = view.model_camera
    at: list[object] = ["world", "cameras", name]
    if view.pose_status != "failed":
        median = float(np.median(view.depth[view.mask])) if view.mask.any() else 1.0
        pose, photo = camera.world_from_cam, view.camera
        log(at, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        log(
            at,
            rr.Pinhole(
                image_from_camera=camera.intrinsics,
                resolution=[camera.width, camera.height],
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=_FRUSTUM_SHARE * median,
            ),
        )
        values: dict[str, Any] = {
            "photo_intrinsics": photo.intrinsics.ravel(),
            "photo_size": [photo.height, photo.width],
        }
        log(at, rr.AnyValues(view=view.name, pose_status=view.pose_status, **values))
    log([*at, "image"], rr.EncodedImage(contents=_jpeg(view.image), media_type="image/jpeg"))
    log([*at, "depth"], rr.DepthImage(np.where(view.mask, view.depth, np.float32(0)), meter=1.0))
    log([*at, "confidence"], rr.Image(np.ascontiguousarray(view.confidence), color_model="L"))
    if view.dynamic is not None:
        log([*at, "dynamic"], rr.SegmentationImage(np.where(view.dynamic, MOVES, STILL).astype(np.uint8)))


def _points(view: SceneView, keep: Bool[np.ndarray, "height width"]) -> rr.Points3D:
    import rerun as rr

    distance = np.linalg.norm(view.points[keep] - view.camera.center, axis=1)
    radii: Float32[np.ndarray, "n"] = (_RADIUS * distance / view.model_camera.intrinsics[0, 0]).astype(np.float32)
    return rr.Points3D(view.points[keep], colors=view.image[keep], radii=radii)


def _log_trajectories(scene: Scene, names: list[str], moments: Moments, stream: rr.RecordingStream) -> None:
    """The way of each camera that moves through time."""
    import rerun as rr

    for name in dict.fromkeys(names):
        timed = [
            (moment, view.camera.center)
            for view, own, moment in zip(scene.views, names, moments.of_view, strict=True)
            if own == name and moment is not None and view.pose_status != "failed"
        ]
        if len(timed) > 1:
            way = np.stack([center for _, center in sorted(timed, key=lambda pair: pair[0])])
            line = rr.LineStrips3D([way], colors=(150, 150, 150))
            stream.log(["world", "trajectory", name], line, static=True, strict=True)


def _jpeg(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _about(scene: Scene) -> str:
    source = scene.provenance
    rows = {
        "model": model_name(scene),
        "weights": source.weights_sha256,
        "licence": source.license,
        "scale": scale_of(scene),
        "made": source.created,
        "views": len(scene.views),
    }
    lines = [f"* **{label}**: {value}" for label, value in rows.items() if value]
    return "\n".join(["# A scene by worldline", *lines, *(f"* note: {text}" for text in scene.warnings)])
