"""The Gaussians of a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer
    from worldline.types import Gaussians

_HALF_RANGE = (1e-3, 3e4)  # variances that half floats hold with full precision
_TYPICAL = 0.3  # standard deviation that the median Gaussian is sent with


class Splats:
    """Draws the Gaussians instead of the points. They belong to all views together, so nothing is left out of them."""

    depends = frozenset({"shown"})

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handle: viser.GaussianSplatHandle | None = None

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Send the Gaussians when they are first asked for; afterwards show or hide them."""
        gaussians, wanted = self.stage.scene.gaussians, state.shown == "gaussians"
        if gaussians is None or not len(gaussians.means):
            return
        if wanted and self._handle is None:
            self._handle = self._add(gaussians)
        if self._handle is not None:
            self._handle.visible = wanted

    def _add(self, gaussians: Gaussians) -> viser.GaussianSplatHandle:
        unit = transport_unit(gaussians.scales)
        return self.viewer.server.scene.add_gaussian_splats(
            f"{self.stage.prefix}/gaussians",
            centers=np.asarray(gaussians.means) / unit,
            covariances=covariances(np.asarray(gaussians.scales) / unit, np.asarray(gaussians.rotations)),
            rgbs=np.asarray(gaussians.colors),
            opacities=np.asarray(gaussians.opacities)[:, None],
            scale=unit,
        )


def transport_unit(scales: Float32[np.ndarray, "n 3"]) -> float:
    """The length that is called 1 on the way to the browser.

    viser sends covariances as half floats: those of a Gaussian of a millimetre would be rounded to a tenth of their
    value or to nothing. In this unit the median Gaussian is far from both ends of what half floats hold.
    """
    largest = np.max(scales, axis=-1)
    return float(np.median(largest)) / _TYPICAL or 1.0


def covariances(
    scales: Float32[np.ndarray, "n 3"], rotations: Float32[np.ndarray, "n 4"]
) -> Float32[np.ndarray, "n 3 3"]:
    """Standard deviations along the axes and unit quaternions w, x, y, z -> R diag(s)^2 R^T, within half floats."""
    w, x, y, z = np.moveaxis(rotations, -1, 0)
    matrix = np.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        axis=-1,
    ).reshape(-1, 3, 3)
    smallest, largest = np.sqrt(_HALF_RANGE)
    root = matrix * np.clip(scales, smallest, largest)[:, None, :]
    return (root @ np.swapaxes(root, -1, -2)).astype(np.float32)
