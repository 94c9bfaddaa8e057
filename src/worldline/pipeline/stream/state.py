"""A session as flat tensors, so that a stream goes on after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worldline.errors import InputError
from worldline.files import replacing_file, reporting
from worldline.pipeline.stream.assembly import Moving
from worldline.pipeline.stream.rigs import parts_of
from worldline.scene.align.rig import SensorMap
from worldline.types import ImageTransform

if TYPE_CHECKING:
    from worldline.pipeline.stream.session import StreamSession

VERSION = 1


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
        saved[f"waiting/{sensor}/image"] = _tensor(each.image)
        if each.lidar is not None:
            saved[f"waiting/{sensor}/lidar"] = _tensor(each.lidar)
        if each.moving.dynamic is not None:
            saved[f"waiting/{sensor}/dynamic"] = _tensor(each.moving.dynamic)
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
        "sensors": list(session.rig.sensors),
        "sizes": {name: list(framing.merged.original_size) for name, framing in session._framings.items()},
        "last": session._last,
        "steps": session._steps,
        "waiting": waiting,
    }
    saved["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
    return {name: value.detach().cpu().contiguous().clone() for name, value in saved.items()}


def put_back(session: StreamSession, saved: Mapping[str, torch.Tensor]) -> None:
    """Inverse of :func:`collect`."""
    from worldline.pipeline.stream.session import Pushed

    about = _about(saved)
    if about["sensors"] != list(session.rig.sensors):
        raise InputError(
            f"The saved stream has the sensors {', '.join(about['sensors'])}.",
            f"This rig has {', '.join(session.rig.sensors)}; use the rig that it was saved with.",
        )
    session._framings = {name: session._plan((size[0], size[1])) for name, size in about["sizes"].items()}
    session._last, session._steps = about["last"], about["steps"]
    session._pool = session._aligner = None
    session._motion = session._watch()
    session._history.clear()
    session._waiting.clear()
    pool = _under(saved, "pool/")
    if not pool:
        return
    session._ready().restore(pool)
    assert session._aligner is not None
    session._aligner.restore({name: value.numpy() for name, value in _under(saved, "align/").items()})
    motion = _under(saved, "motion/")
    if motion and session._motion is not None:
        session._motion.restore({name: value.numpy() for name, value in motion.items()})
    for sensor, own in about["waiting"].items():
        tensors = _under(saved, f"waiting/{sensor}/")
        dynamic = tensors.get("dynamic")
        session._waiting[sensor] = Pushed(
            own["step"],
            own["timestamp"],
            0.0,
            tensors["image"].numpy(),
            session._framings[sensor],
            _poses(own["poses"]),
            tensors["lidar"].numpy() if "lidar" in tensors else None,
            own["speed"],
            Moving(None if dynamic is None else dynamic.numpy()),
            _maps(own["maps"], tensors, dict(parts_of(sensor, session._framings[sensor]))),
        )


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
        known = about["version"] <= VERSION
    except (KeyError, ValueError, TypeError) as error:
        raise InputError("This is no saved stream.", "Give what session.state() returned.") from error
    if not known:
        raise InputError("The stream was saved by a newer version.", "Update worldline.")
    return about


def _under(saved: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _maps(
    kinds: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], transforms: Mapping[str, ImageTransform]
) -> dict[str, SensorMap]:
    return {
        part: SensorMap(
            tensors[f"points/{part}"].numpy(),
            tensors[f"confidence/{part}"].numpy(),
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
