"""A session as flat tensors, so that a stream goes on after a crash."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worldline.errors import InputError
from worldline.files import replacing_file, reporting
from worldline.pipeline.stream.assembly import Moving
from worldline.pipeline.stream.framing import Framing
from worldline.pipeline.stream.results import SensorResult
from worldline.pipeline.stream.rigs import parts_of
from worldline.pipeline.stream.static_map import StaticMap
from worldline.pipeline.stream.waiting import Pushed
from worldline.scene.align.rig import SensorMap
from worldline.types import Camera, ImageTransform

if TYPE_CHECKING:
    from worldline.pipeline.stream.session import StreamSession

VERSION = 2

_MAPS = ("points", "depth", "confidence", "mask")  # of a preview


def collect(session: StreamSession) -> dict[str, torch.Tensor]:
    """The state under names ``pool/…``, ``align/…``, ``motion/…``, ``waiting/…`` and ``about`` (JSON)."""
    saved: dict[str, torch.Tensor] = {}
    if session._pool is not None and session._aligner is not None:
        saved |= {f"pool/{name}": value for name, value in session._pool.state().items()}
        saved |= {f"align/{name}": _tensor(value) for name, value in session._aligner.state().items()}
    if session._motion is not None:
        saved |= {f"motion/{name}": _tensor(value) for name, value in session._motion.state().items()}
    waiting = {}
    for sensor, each in session._waiting.items():
        own: dict[str, Any] = {"step": each.step, "timestamp": each.timestamp, "speed": each.speed, "poses": None}
        own["waited"] = time.perf_counter() - each.arrived
        saved[f"waiting/{sensor}/image"] = _tensor(each.image)
        if each.lidar is not None:
            saved[f"waiting/{sensor}/lidar"] = _tensor(each.lidar)
        if each.moving.dynamic is not None:
            saved[f"waiting/{sensor}/dynamic"] = _tensor(each.moving.dynamic)
        if each.moving.flow is not None:
            saved[f"waiting/{sensor}/flow"] = _tensor(each.moving.flow)
        if each.preview is not None:
            saved |= {f"waiting/{sensor}/preview/{name}": _tensor(getattr(each.preview, name)) for name in _MAPS}
            own["preview"] = _preview_record(each.preview)
        for part, one in each.maps.items():
            saved[f"waiting/{sensor}/points/{part}"] = _tensor(one.points)
            saved[f"waiting/{sensor}/confidence/{part}"] = _tensor(one.confidence)
        own["maps"] = {part: [one.fragment, one.is_anchor] for part, one in each.maps.items()}
        if isinstance(each.poses, dict):
            own["poses"] = {name: pose.tolist() for name, pose in each.poses.items()}
        elif each.poses is not None:
            own["poses"] = each.poses.tolist()
        waiting[sensor] = own
    about = {
        "version": VERSION,
        "made_with": _made_with(session),
        "sensors": list(session.rig.sensors),
        "sizes": {name: list(framing.merged.original_size) for name, framing in session._framings.items()},
        "assumed": sorted(session._assumed),
        "last": session._last,
        "steps": session._steps,
        "waiting": waiting,
    }
    saved["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
    return {name: value.detach().cpu().contiguous().clone() for name, value in saved.items()}


def put_back(session: StreamSession, saved: Mapping[str, torch.Tensor]) -> None:
    """Inverse of :func:`collect`. After an error the session is as it was."""
    about = _about(saved)
    if about["sensors"] != list(session.rig.sensors):
        raise InputError(
            f"The saved stream has the sensors {', '.join(about['sensors'])}.",
            f"This rig has {', '.join(session.rig.sensors)}; use the rig that it was saved with.",
        )
    other = [name for name, value in _made_with(session).items() if about["made_with"].get(name) != value]
    if other:
        raise InputError(
            f"The saved stream was made with another choice of: {', '.join(other)}.",
            "Restore it in a session with the weights and options that it was saved with.",
        )
    before = dict(vars(session))
    try:
        _fill(session, about, saved)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        vars(session).update(before)
        raise InputError(f"The saved stream is damaged ({error!r}).", "Begin the stream anew.") from error
    except InputError:
        vars(session).update(before)
        raise


def _fill(session: StreamSession, about: Mapping[str, Any], saved: Mapping[str, torch.Tensor]) -> None:
    """New parts for a session; those that it had are not touched."""
    session._framings = {name: session._plan((size[0], size[1])) for name, size in about["sizes"].items()}
    session._last, session._steps, session._assumed = about["last"], about["steps"], set(about["assumed"])
    session._pool = session._aligner = None
    session._notes, session._history, session._waiting = {}, deque(maxlen=session.options.keep), {}
    session._motion = session._watch()
    session.static_map = StaticMap(session.options.static_voxel, session.options.static_points)
    pool = _under(saved, "pool/")
    if not pool:
        return
    session._ready().restore(pool)
    session._assumed = set(about["assumed"])
    assert session._aligner is not None
    session._aligner.restore({name: value.numpy() for name, value in _under(saved, "align/").items()})
    motion = _under(saved, "motion/")
    if motion and session._motion is not None:
        session._motion.restore({name: value.numpy() for name, value in motion.items()})
    for sensor, own in about["waiting"].items():
        session._waiting[sensor] = _waiting(sensor, own, _under(saved, f"waiting/{sensor}/"), session._framings[sensor])


def _waiting(sensor: str, own: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], framing: Framing) -> Pushed:
    arrays = {name: value.numpy() for name, value in tensors.items()}
    each = Pushed(
        own["step"],
        own["timestamp"],
        time.perf_counter() - own["waited"],
        arrays["image"],
        framing,
        _poses(own["poses"]),
        arrays.get("lidar"),
        own["speed"],
        Moving(arrays.get("dynamic"), arrays.get("flow")),
        _maps(own["maps"], arrays, dict(parts_of(sensor, framing))),
    )
    if "preview" in own:
        record = dict(own["preview"])
        intrinsics, pose, height, width = record.pop("camera")
        each.preview = SensorResult(
            sensor=sensor,
            timestamp=each.timestamp,
            step=each.step,
            preview=True,
            image=each.image,
            transform=framing.merged,
            camera=Camera(np.array(intrinsics), np.array(pose), height, width),
            dynamic=each.moving.dynamic,
            flow=each.moving.flow,
            points=arrays["preview/points"],
            depth=arrays["preview/depth"],
            confidence=arrays["preview/confidence"],
            mask=arrays["preview/mask"],
            **{**record, "notes": tuple(record["notes"])},
        )
    return each


def _preview_record(result: SensorResult) -> dict[str, Any]:
    camera = result.camera
    numbers = ("pose_status", "scale", "scale_sigma", "scale_kind", "seam", "latency", "notes")
    return {
        **{name: getattr(result, name) for name in numbers},
        "camera": [camera.intrinsics.tolist(), camera.world_from_cam.tolist(), camera.height, camera.width],
    }


def _made_with(session: StreamSession) -> dict[str, str]:
    """What must be the same for a saved stream to go on, in words."""
    options = session.options
    return {
        "weights": session.provenance.weights_sha256,
        "network": repr(session.network.config),
        "framing": f"{'crops' if session._crops else 'whole'} {options.pixels} {options.square}",
        "memory": f"{options.mode} {options.pool if options.mode == 'pool' else options.memory}",
        "preview": repr(options.preview),
    }


def write(saved: Mapping[str, torch.Tensor], path: Path) -> None:
    """As one safetensors file that appears whole or not at all."""
    from safetensors.torch import save_file

    with reporting(path), replacing_file(path) as temporary:
        save_file(dict(saved), temporary)


def read(path: Path) -> dict[str, torch.Tensor]:
    """A file of :func:`write`.

    Raises:
        InputError: it does not exist or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is no saved stream ({error}).", "Give a file that session.state(path) wrote."
        ) from error


def _about(saved: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    try:
        about = json.loads(bytes(saved["about"].tolist()))
        version = about["version"]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError("This is no saved stream.", "Give what session.state() returned.") from error
    if version != VERSION:
        raise InputError("The stream was saved by another version of worldline.", "Begin the stream anew.")
    return about


def _under(saved: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _maps(
    kinds: Mapping[str, Any], arrays: Mapping[str, np.ndarray], transforms: Mapping[str, ImageTransform]
) -> dict[str, SensorMap]:
    return {
        part: SensorMap(
            arrays[f"points/{part}"],
            arrays[f"confidence/{part}"],
            transforms[part],
            fragment,
            anchor,
        )
        for part, (fragment, anchor) in kinds.items()
    }


def _tensor(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(value))


def _poses(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: np.array(pose) for name, pose in value.items()}
    return None if value is None else np.array(value)
