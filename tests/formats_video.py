"""Writers of public video formats: a filmed procedural world becomes a small data set of which everything is known.

They are written from the publishers' descriptions, apart from the readers, so that the two can disagree.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from moving_world import INSTANTS, moving_world
from worldline.worlds import WorldSample, render
from worldline.worlds.truth.tracks import PointTracks
from worldline.worlds.world import STILL, CameraSet, Motion, World

SWITCH = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV <-> OpenGL camera axes
FORWARD = np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # (x, y, z) of OpenCV -> NED (z, x, y)
Y_DOWN = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # z up -> y down, z forward
UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def filmed_world(fov: float = np.pi / 2, open_air: bool = True) -> World:
    """Tumbling boxes, filmed by a camera that moves and turns about all axes: nothing is symmetric."""
    world = moving_world(open_air=open_air)
    motion, cameras = world.motion.world_from_body.copy(), world.cameras.world_from_cam.copy()
    for t in range(INSTANTS):
        motion[t, 1, :3, :3] = Rotation.from_euler("zxy", [0.3 + 0.1 * t, 0.15 * t, -0.1 * t]).as_matrix()
        motion[t, 2, :3, :3] = Rotation.from_euler("zxy", [0.2 - 0.2 * t, 0.1 * t, 0.05 * t]).as_matrix()
        motion[t, 2, :3, 3] += [-0.6, 0.05 * t, 0.1 * t]
        cameras[t, :3, :3] = (
            cameras[t, :3, :3] @ Rotation.from_euler("yxz", [0.08 * t - 0.1, -0.05 * t, 0.1]).as_matrix()
        )
        cameras[t, :3, 3] += [0.0, 0.1 * t, 0.05 * t]

    assert np.allclose(motion[:, STILL], np.eye(4))
    return replace(world, motion=Motion(world.motion.times, motion), cameras=CameraSet.video(cameras, fov))


@dataclass(frozen=True)
class Film:
    """A rendered world as numpy arrays."""

    sample: WorldSample
    images: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    body: np.ndarray  # -1: sky
    world_from_cam: np.ndarray
    intrinsics: np.ndarray

    @property
    def world(self) -> World:
        return self.sample.world

    @property
    def world_from_body(self) -> np.ndarray:
        return self.world.motion.world_from_body

    def choose(self, frames: list[int]) -> Film:
        """Some frames; the world stays whole."""
        arrays = {name: value[frames] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)

    @property
    def size(self) -> tuple[int, int]:
        return self.depth.shape[1], self.depth.shape[2]


def film(world: World, height: int, width: int) -> Film:
    """Render a video."""
    (s,) = render([world], height=height, width=width)
    names = ("images", "depth", "normals", "body", "world_from_cam", "intrinsics")
    return Film(s, *(getattr(s, name).numpy() for name in names))


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_palette(path: Path, labels: np.ndarray) -> None:
    """An indexed PNG with colours that have nothing to do with the labels."""
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(path)


def write_rgb16(path: Path, values: np.ndarray) -> None:
    """A PNG of three channels with 16 bits, which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def quaternion(rotations: np.ndarray) -> np.ndarray:
    """(w, x, y, z)"""
    return Rotation.from_matrix(rotations).as_quat()[..., [3, 0, 1, 2]]


def write_tartanair(root: Path, video: Film, *, second: bool = False) -> Path:
    """A trajectory as TartanAir stores it, or as TartanAir V2 does."""
    home, camera = root / "abandoned" / "Easy" / "P000", "lcam_front" if second else "left"
    images, depths = folder(home / f"image_{camera}"), folder(home / f"depth_{camera}")
    lines = []
    for t, image in enumerate(video.images):
        Image.fromarray(image).save(images / f"{t:06d}_{camera}.png")
        depth = np.where(video.depth[t] > 0, video.depth[t], 1e4).astype("<f4")
        if second:
            blue, green, red, opacity = np.moveaxis(depth[..., None].view(np.uint8), -1, 0)
            Image.fromarray(np.stack([red, green, blue, opacity], -1), "RGBA").save(
                depths / f"{t:06d}_{camera}_depth.png"
            )
        else:
            np.save(depths / f"{t:06d}_{camera}_depth.npy", depth)
        pose = FORWARD @ video.world_from_cam[t] @ np.linalg.inv(FORWARD)  # world and camera, both NED
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        lines.append(" ".join(f"{value:.9g}" for value in (*pose[:3, 3], x, y, z, w)))
    (home / f"pose_{camera}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_rgbd(root: Path, video: Film, color: Film, lost: tuple[int, ...] = ()) -> Path:
    """A scene as ScanNet's exporter writes it; the colour camera has four times the pixels."""
    home = root / "scene0000_00"
    for t in range(len(video.images)):
        Image.fromarray(color.images[t]).save(folder(home / "color") / f"{t}.jpg", quality=98)
        Image.fromarray(np.round(video.depth[t] * 1000).astype(np.uint16)).save(folder(home / "depth") / f"{t}.png")
        pose = np.full((4, 4), -np.inf) if t in lost else video.world_from_cam[t]
        np.savetxt(folder(home / "pose") / f"{t}.txt", pose)
    for name, k in (("color", color.intrinsics[0]), ("depth", video.intrinsics[0])):
        matrix = np.eye(4)
        matrix[:3, :3] = k
        np.savetxt(folder(home / "intrinsic") / f"intrinsic_{name}.txt", matrix)
        np.savetxt(home / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4))
    return root


def write_vkitti(root: Path, video: Film, hidden: tuple[tuple[int, int], ...] = (), order: str = "YXZ") -> Path:
    """Scene01/clone with both maps and all tables; ``hidden`` are (frame, trackID) that pose.txt does not list."""
    home = root / "Scene01" / "clone"
    rgb, depth, labels = (
        folder(home / "frames" / kind / "Camera_0") for kind in ("rgb", "depth", "instanceSegmentation")
    )
    outer = ["frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1"]
    inner = ["frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"]
    space = [
        f"{kind}{space}_space_{axis}"
        for space in ("world", "camera")
        for kind, names in (("", "XYZ"), ("rotation_", "yxz"))
        for axis in names
    ]
    poses = [" ".join(["frame cameraID trackID alpha width height length", *space])]
    for t, image in enumerate(video.images):
        Image.fromarray(image).save(rgb / f"rgb_{t:05d}.jpg", quality=98)
        centimetres = np.where(video.depth[t] > 0, np.round(video.depth[t] * 100), 65535).astype(np.uint16)
        Image.fromarray(centimetres).save(depth / f"depth_{t:05d}.png")
        write_palette(labels / f"instancegt_{t:05d}.png", np.maximum(video.body[t], 0))
        cam_from_world = np.linalg.inv(Y_DOWN @ video.world_from_cam[t])
        k = video.intrinsics[t]
        for camera, shift in ((0, 0.0), (1, 0.532725)):
            moved = cam_from_world.copy()
            moved[0, 3] -= shift
            outer.append(f"{t} {camera} " + " ".join(f"{value:.7f}" for value in moved.ravel()))
            inner.append(f"{t} {camera} {k[0, 0]} {k[1, 1]} {k[0, 2]} {k[1, 2]}")
            for track in range(video.world_from_body.shape[1] - 1):
                pose = Y_DOWN @ video.world_from_body[t, track + 1] @ np.linalg.inv(Y_DOWN)
                if (t, track) in hidden:
                    continue
                numbers = []
                for matrix in (pose, moved @ pose):
                    turn = dict(zip(order, Rotation.from_matrix(matrix[:3, :3]).as_euler(order), strict=True))
                    numbers += [*matrix[:3, 3], turn["Y"], turn["X"], turn["Z"]]
                poses.append(f"{t} {camera} {track} 0 1 1 1 " + " ".join(f"{value:.6f}" for value in numbers))
    for name, rows in (("extrinsic", outer), ("intrinsic", inner), ("pose", poses)):
        (home / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return root


def write_kubric(root: Path, video: Film, *, exported: bool, normals: bool = True) -> Path:
    """A scene of the generator (float TIFF), or as exported from TFDS (16-bit PNG, one list per property)."""
    home = folder(root / "0001")
    height, width = video.size
    rays = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) - video.intrinsics[0][:2, 2]
    longer = np.sqrt(1 + (rays**2).sum(-1) / video.intrinsics[0][0, 0] ** 2)
    distance = np.where(video.depth > 0, video.depth * longer, 1e10)
    low, high = 0.0, float(distance[distance < 1e9].max()) if video.depth.all() else 1e10
    for t, image in enumerate(video.images):
        Image.fromarray(np.dstack([image, np.full(video.size, 255, np.uint8)])).save(home / f"rgba_{t:05d}.png")
        write_palette(home / f"segmentation_{t:05d}.png", np.maximum(video.body[t], 0))
        if exported:
            whole = np.round((distance[t] - low) / (high - low) * 65535).astype(np.uint16)
            Image.fromarray(whole).save(home / f"depth_{t:05d}.png")
        else:
            Image.fromarray(distance[t].astype(np.float32)).save(home / f"depth_{t:05d}.tiff")
        if normals:
            write_rgb16(home / f"normal_{t:05d}.png", np.round((video.normals[t] + 1) / 2 * 65535))
    things = [
        {"positions": p[:, :3, 3].tolist(), "quaternions": quaternion(p[:, :3, :3]).tolist()}
        for p in np.moveaxis(video.world_from_body[:, 1:], 1, 0)
    ]
    blender = video.world_from_cam @ SWITCH
    metadata = {
        "metadata": {"num_frames": len(video.images), "height": height, "width": width, "frame_rate": 10},
        "camera": {
            "focal_length": 32.0 * video.intrinsics[0][0, 0] / width,
            "sensor_width": 32.0,
            "positions": blender[:, :3, 3].tolist(),
            "quaternions": quaternion(blender[:, :3, :3]).tolist(),
        },
        "instances": {name: [thing[name] for thing in things] for name in things[0]} if exported else things,
    }
    if exported:
        metadata["metadata"]["depth_range"] = [low, high]
    (home / "metadata.json").write_text(json.dumps(metadata))
    (home / "data_ranges.json").write_text(json.dumps({"depth": {"min": low, "max": high}}))
    return root


def write_point_odyssey(
    root: Path, video: Film, tracks: PointTracks, *, blender: bool, compressed: bool = True, noise: float = 0.0
) -> Path:
    """A sequence in the convention of the release (OpenCV), or of the generator (Blender axes, another up axis)."""
    home = root / "train" / "dancing"
    for t, image in enumerate(video.images):
        Image.fromarray(image).save(folder(home / "rgbs") / f"rgb_{t:05d}.jpg", quality=98)
        raw = np.where(video.depth[t] > 0, np.round(video.depth[t] * 65.535), 65535).astype(np.uint16)
        Image.fromarray(raw).save(folder(home / "depths") / f"depth_{t:05d}.png")
        vectors = video.normals[t] @ np.linalg.inv(UPRIGHT[:3, :3]).T if blender else video.normals[t]
        picture = np.round((vectors + 1) / 2 * 255).astype(np.uint8)
        Image.fromarray(picture[..., ::-1] if blender else picture).save(
            folder(home / "normals") / f"normal_{t:05d}.jpg", quality=100, subsampling=0
        )
    cam_from_world = np.linalg.inv(video.world_from_cam)
    intrinsics = video.intrinsics.copy()
    intrinsics[:, :2, 2] += 0.5  # counted from the corner
    world = tracks.world @ np.linalg.inv(UPRIGHT[:3, :3]).T if blender else tracks.world
    world, pixels = world.copy(), tracks.pixel + 0.5 + noise
    lost = np.zeros(tracks.visible.shape, bool)
    lost[-1, 0] = True
    world[lost], pixels[lost] = np.inf, np.nan
    world[-1, 1] = -np.inf  # although it is said to be valid
    outside = ((tracks.pixel < -0.5) | (tracks.pixel > np.array(video.size[::-1]) - 0.5)).any(-1)
    seen = tracks.visible | outside  # as if the renderer had a larger image
    save = np.savez_compressed if compressed else np.savez
    save(
        home / "anno.npz",
        trajs_3d=world.astype(np.float32), trajs_2d=pixels.astype(np.float32), visibs=seen & ~lost,
        valids=~lost, intrinsics=intrinsics, extrinsics=SWITCH @ cam_from_world if blender else cam_from_world,
    )  # fmt: skip
    return root


def write_dynamic_replica(
    root: Path, video: Film, tracks: PointTracks, *, isotropic: bool = True, above: bool = True, noise: float = 0.0
) -> Path:
    """A split with one sequence; the right camera has no trajectories."""
    split, name = folder(root / "valid"), "009850-3_obj_source"
    height, width = video.size
    half = np.array([width, height]) / 2
    unit = half.min() if isotropic else half
    entries = []
    for t, image in enumerate(video.images):
        paths = {
            part: f"{name}_left/{part}/{name}-{t:04d}.{kind}"
            for part, kind in (("images", "png"), ("depths", "geometric.png"), ("trajectories", "pth"))
        }
        for path in paths.values():
            folder((split / path).parent)
        Image.fromarray(image).save(split / paths["images"])
        Image.fromarray(video.depth[t].astype(np.float16).view(np.uint16)).save(split / paths["depths"])
        values = {
            "traj_3d_world": tracks.world[t].astype(np.float32),
            "traj_2d": np.pad(tracks.pixel[t] + 0.5 + noise, ((0, 0), (0, 1))).astype(np.float32),
            "verts_inds_vis": tracks.visible[t],
            "img": image,
        }
        torch.save({key: torch.from_numpy(value) for key, value in values.items()}, split / paths["trajectories"])
        view_from_world = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.linalg.inv(video.world_from_cam[t])
        k = video.intrinsics[t]
        viewpoint = {
            "R": view_from_world[:3, :3].T.tolist(),
            "T": view_from_world[:3, 3].tolist(),
            "focal_length": (np.diagonal(k)[:2] / unit).tolist(),
            "principal_point": ((half - k[:2, 2] - 0.5) / unit).tolist(),
            "intrinsics_format": "ndc_isotropic" if isotropic else "ndc_norm_image_bounds",
        }
        for camera in ("left", "right"):
            entries.append({
                "sequence_name": name, "frame_number": t, "frame_timestamp": t / 30, "camera_name": camera,
                "image": {"path": paths["images"], "size": [height, width]},
                "depth": {"path": paths["depths"], "scale_adjustment": 1.0}, "viewpoint": viewpoint,
                "trajectories": {"path": paths["trajectories"]} if camera == "left" else None,
            })  # fmt: skip
    with gzip.open((root if above else split) / "frame_annotations_valid.jgz", "wt", encoding="utf-8") as file:
        json.dump(entries[::-1], file)
    return root
