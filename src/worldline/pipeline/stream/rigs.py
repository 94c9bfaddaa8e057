"""From the cameras of a rig to the network inputs that they give: a photo that is cut in two counts as two."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.inputs.logs.ring import ring_neighbors
from worldline.pipeline.stream.framing import Framing
from worldline.types import ImageTransform, Rig


def part_name(sensor: str, place: int, framing: Framing) -> str:
    """Name of a network input."""
    return sensor if len(framing.parts) == 1 else f"{sensor}#{place}"


def parts_of(sensor: str, framing: Framing) -> list[tuple[str, ImageTransform]]:
    """Names and transforms of a camera's network inputs."""
    return [(part_name(sensor, place, framing), part) for place, part in enumerate(framing.parts)]


def rig_of_parts(rig: Rig, framings: Mapping[str, Framing]) -> Rig:
    """The rig with one entry per network input."""
    rows, names = [], []
    for row, sensor in enumerate(rig.sensors):
        for name, _ in parts_of(sensor, framings[sensor]):
            rows.append(row)
            names.append(name)
    return Rig(
        tuple(names),
        None if rig.intrinsics is None else rig.intrinsics[rows],
        None if rig.rig_from_cam is None else rig.rig_from_cam[rows],
        tuple(framings[rig.sensors[row]].merged.original_size for row in rows),
        rig.ground,
    )


def pool_geometry(
    rig: Rig, framings: Mapping[str, Framing]
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], Float[Tensor, "3 4"]]]:
    """Who reads whose memory, and the neighbour's pose in the reader's camera, both per network input.

    Neighbours follow from the calibration; without one every camera is on its own. The parts of a photo are neighbours
    of each other and of all parts of the neighbouring photos.
    """
    around = ring_neighbors(rig)
    neighbors: dict[str, tuple[str, ...]] = {}
    relative: dict[tuple[str, str], Tensor] = {}
    for sensor in rig.sensors:
        for name, _ in parts_of(sensor, framings[sensor]):
            beside = [(sensor, other) for other, _ in parts_of(sensor, framings[sensor]) if other != name]
            beside += [(near, other) for near in around.get(sensor, ()) for other, _ in parts_of(near, framings[near])]
            neighbors[name] = tuple(other for _, other in beside)
            if rig.rig_from_cam is None:
                continue
            cam_from_rig = np.linalg.inv(rig.rig_from_cam[rig.index(sensor)])
            for near, other in beside:
                pose = cam_from_rig @ rig.rig_from_cam[rig.index(near)]
                relative[name, other] = torch.from_numpy(pose[:3]).float()
    return neighbors, relative
