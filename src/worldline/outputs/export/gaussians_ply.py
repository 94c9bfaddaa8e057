"""3D Gaussians in the PLY layout of 3D Gaussian Splatting (Kerbl et al. 2023), degree 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.splats import SH_C0, splats_of, unit_quaternions
from worldline.scene import Scene

_NAMES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_SMALLEST_SCALE = 1e-9  # so that the logarithm stays finite


def write_gaussians_ply(scene: Scene, folder: OutputFolder) -> Path:
    """gaussians.ply: raw parameters, which viewers activate (opacity: logit, scale: log, colour: SH coefficient).

    World frame, OpenCV axes. The colour is constant (degree 0, no f_rest).
    """
    from plyfile import PlyData, PlyElement

    splats = splats_of(scene)
    opacity = splats.opacities.astype(np.float64).clip(1e-4, 1 - 1e-4)
    columns = np.concatenate(
        [
            splats.means,
            np.zeros_like(splats.means),
            (splats.colors.astype(np.float64) - 0.5) / SH_C0,
            np.log(opacity / (1 - opacity))[:, None],
            np.log(splats.scales.astype(np.float64).clip(_SMALLEST_SCALE, None)),
            unit_quaternions(splats.rotations),
        ],
        axis=1,
    )
    vertices = np.empty(len(columns), dtype=[(name, "<f4") for name in _NAMES])
    for name, column in zip(_NAMES, columns.T, strict=True):
        vertices[name] = column
    with folder.file("gaussians.ply") as path:
        PlyData([PlyElement.describe(vertices, "vertex")], text=False, byte_order="<").write(str(path))
    return folder.root / "gaussians.ply"
