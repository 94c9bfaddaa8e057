"""Our own layout: one folder per scene with photos, depth maps, cameras, and masks, flow and LiDAR where time passes.

::

    scene.json            {"layout", "seed", "frames": [{"image", "width", "height", "K": [fx, fy, cx, cy],
                           "T_c2w": 4x4, "depth"}]}, OpenCV axes, metres, pixel centres at integers
    images/000000.png     depth/000000.png (uint16 millimetres along the optical axis, 0 = no value)

Where the photos belong to several instants or sensors, a frame also has "timestamp" (seconds), "time_index", "sensor",
"instance", "dynamic"; with flow "flow_forward", "flow_backward"; and a rig adds "rig" and "lidar", per instant::

    instance/000000.png   uint16: instance + 1, 0 = sky
    dynamic/000000.png    uint8: 255 where something is seen that moves between the instants
    flow/000000_forward.flo, flow/000000_forward_hidden.png    to the sensor's next photo (_backward: to the former)
                          Middlebury .flo, unknown (sky) = 1e10; uint8, 255 where the other photo hides the point
    lidar/000000.npy      float32 rows x, y, z, intensity, ring, instance in LiDAR axes (x right, y forward, z up)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from worldline.worlds.formats.plan import (
    Plan,
    is_video,
    millimetres,
    photo,
    photographs,
    save_map,
    save_photo,
    scene_folder,
)
from worldline.worlds.sampling import WorldSample
from worldline.worlds.truth import Instants, flow, sweep
from worldline.worlds.world import World

_FLO_TAG = np.float32(202021.25)
_FLO_UNKNOWN = np.float32(1e10)


def paths(world: World, root: Path, name: str) -> list[Path]:
    """The folder of a scene."""
    return [root / name]


def write(world: World, root: Path, name: str, plan: Plan) -> None:
    """Write the folder of a scene."""
    with scene_folder(root / name) as folder:
        views = np.arange(world.views)
        frames = [_write_view(sample, view, row, folder, plan) for row, sample, view in photographs(world, views, plan)]
        scene: dict[str, Any] = {"layout": world.layout, "seed": world.seed, "frames": frames}
        instants = Instants(world, plan.device)
        if plan.flow:
            _write_flow(world, folder, frames, plan, instants)
        if world.world_from_rig is not None:
            scene["rig"] = [{"time_index": t, "T_r2w": p.tolist()} for t, p in enumerate(world.world_from_rig)]
            scene["lidar"] = [_write_sweep(world, t, folder, instants) for t in range(len(world.motion.times))]
        (folder / "scene.json").write_text(json.dumps(scene, indent=1), encoding="utf-8")


def _write_view(sample: WorldSample, view: int, row: int, folder: Path, plan: Plan) -> dict[str, Any]:
    image, depth = f"images/{row:06d}.{plan.image_format}", f"depth/{row:06d}.png"
    save_photo(photo(sample, view), folder / image)
    save_map(millimetres(sample, view), folder / depth)
    matrix = sample.intrinsics[view].cpu().numpy()
    entry = {
        "image": image, "width": plan.width, "height": plan.height,
        "K": [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]],
        "T_c2w": sample.world_from_cam[view].cpu().numpy().tolist(), "depth": depth,
    }  # fmt: skip
    world = sample.world
    if not is_video(world) and len(world.motion.times) == 1 and len(world.sensors) == 1:
        return entry
    instance, dynamic = f"instance/{row:06d}.png", f"dynamic/{row:06d}.png"
    save_map((sample.instance[view].cpu().numpy() + 1).astype(np.uint16), folder / instance)
    save_map((sample.dynamic[view].cpu().numpy() * 255).astype(np.uint8), folder / dynamic)
    frame, sensor = int(world.cameras.frame[view]), int(world.cameras.sensor[view])
    return {
        **entry, "timestamp": float(world.motion.times[frame]), "time_index": frame, "sensor": world.sensors[sensor],
        "instance": instance, "dynamic": dynamic,
    }  # fmt: skip


def _write_flow(world: World, folder: Path, frames: list[dict[str, Any]], plan: Plan, instants: Instants) -> None:
    """Flow from every photo to the next and to the previous one of its sensor."""
    (folder / "flow").mkdir()
    for sensor in range(len(world.sensors)):
        rows = np.flatnonzero(world.cameras.sensor == sensor)
        for t, row in enumerate(rows):
            for name, other in (("forward", t + 1), ("backward", t - 1)):
                if not 0 <= other < len(rows):
                    continue
                found = flow(world, t, other, height=plan.height, width=plan.width, sensor=sensor, instants=instants)
                stem = f"flow/{row:06d}_{name}"
                write_flo(folder / f"{stem}.flo", np.where(found.valid[..., None], found.flow, _FLO_UNKNOWN))
                save_map((found.occluded * 255).astype(np.uint8), folder / f"{stem}_hidden.png")
                frames[row][f"flow_{name}"] = {
                    "file": f"{stem}.flo", "hidden": f"{stem}_hidden.png", "to": int(rows[other])
                }  # fmt: skip


def write_flo(path: Path, values: np.ndarray) -> None:
    """Middlebury's flow file: tag, width, height, then x and y of every pixel row by row, little-endian float32."""
    height, width, _ = values.shape
    head = np.array([_FLO_TAG], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(head + np.ascontiguousarray(values, "<f4").tobytes())


def _write_sweep(world: World, frame: int, folder: Path, instants: Instants) -> dict[str, Any]:
    (folder / "lidar").mkdir(exist_ok=True)
    turn, file = sweep(world, frame, instants=instants), f"lidar/{frame:06d}.npy"
    columns = (turn.points, turn.intensity[:, None], turn.ring[:, None], turn.instance[:, None])
    np.save(folder / file, np.concatenate(columns, 1).astype(np.float32))
    return {"file": file, "timestamp": turn.time, "time_index": frame, "T_l2w": turn.world_from_lidar.tolist()}
