"""Optical flow between two images, from a table of backends."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from worldline.errors import InputError, MissingExtraError, WeightsError
from worldline.scene.motion.sampling import grid, sample

Image = UInt8[np.ndarray, "height width 3"]
FlowMap = Float32[np.ndarray, "height width 2"]

_LEAST = 16  # pixels of a side below which no pyramid can be built


class FlowBackend(Protocol):
    """Computes where the pixels of one image are in another."""

    def __call__(self, image_a: Image, image_b: Image) -> FlowMap: ...


def optical_flow(
    image_a: Image,
    image_b: Image,
    backend: str | FlowBackend = "dis",
    *,
    initial: FlowMap | None = None,
) -> FlowMap:
    """Where every pixel of image a is in image b: pixel + flow, in pixels (x, y).

    Args:
        image_a, image_b: RGB of the same size.
        backend: a name in ``FLOW_BACKENDS``, or a callable (:class:`Given` holds known flow).
        initial: a first guess, e.g. the camera flow. Image b is warped back by it and only the remainder is searched
            for: a still world then hardly moves, however far the camera went, and a car moves by its own way alone.

    Raises:
        InputError: unknown backend, or images that cannot be compared.
        MissingExtraError: OpenCV (``dis``) or torchvision (``raft``) is not installed.
        WeightsError: the weights of ``raft`` are not on this machine.
    """
    if image_a.shape != image_b.shape or image_a.ndim != 3 or image_a.shape[2] != 3:
        raise InputError(
            f"Flow between images of {image_a.shape} and {image_b.shape} is not defined.",
            "Give two RGB images of the same size.",
        )
    if min(image_a.shape[:2]) < _LEAST:
        raise InputError(f"Images of {image_a.shape[:2]} pixels are too small for flow.", f"Use {_LEAST} or more.")
    search = flow_backend(backend)
    if initial is None or isinstance(search, Given):
        flow = search(image_a, image_b)
    else:
        rest = search(image_a, sample(image_b, grid(*initial.shape[:2]) + initial))
        flow = rest + sample(initial, grid(*rest.shape[:2]) + rest)
    if flow.shape != (*image_a.shape[:2], 2):
        raise InputError(
            f"The flow is of shape {flow.shape} for images of {image_a.shape[:2]}.", "Give one vector per pixel."
        )
    return np.asarray(flow, np.float32)


def flow_backend(backend: str | FlowBackend) -> FlowBackend:
    """The backend of a name; a callable is returned as it is.

    Raises:
        InputError: unknown name; lists the choices.
    """
    if not isinstance(backend, str):
        return backend
    if backend not in FLOW_BACKENDS:
        raise InputError(f"Unknown flow backend {backend!r}.", f"Choose one of: {', '.join(sorted(FLOW_BACKENDS))}.")
    return FLOW_BACKENDS[backend]()


def import_cv2(feature: str) -> Any:
    """OpenCV, or a sentence that says how to get it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError(feature, "motion") from error
    return cv2


class Given:
    """A backend that answers with known flow, one call after the other: for tests and for exact flow of worlds."""

    def __init__(self, *flows: FlowMap) -> None:
        self._waiting = iter(flows)

    def __call__(self, image_a: Image, image_b: Image) -> FlowMap:
        """The next flow.

        Raises:
            InputError: none is left.
        """
        try:
            return next(self._waiting)
        except StopIteration:
            raise InputError("More flow was asked for than was given.", "Give one map per call.") from None


def dis() -> FlowBackend:
    """Dense inverse search (Kroeger et al., ECCV 2016) by OpenCV, medium preset. Needs no weights."""
    cv2 = import_cv2("Optical flow by dense inverse search")
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def search(image_a: Image, image_b: Image) -> FlowMap:
        grey_a, grey_b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (image_a, image_b))
        return engine.calc(grey_a, grey_b, None)

    return search


def raft(size: str = "large", *, download: bool = False) -> FlowBackend:
    """RAFT (Teed and Deng, ECCV 2020) by torchvision.

    Args:
        size: "large" or "small".
        download: fetch the weights where they are not in torch's cache; never done without being asked.

    Raises:
        MissingExtraError: torchvision is not installed.
        WeightsError: the weights are not on this machine and ``download`` is False.
    """
    network, device = _raft_network(size, download)
    return _through_raft(network, device)


def _through_raft(network: Any, device: Any) -> FlowBackend:
    """Images in [-1, 1], padded to multiples of 8 and at least 128 pixels a side as the network demands."""
    import torch

    def forward(image_a: Image, image_b: Image) -> FlowMap:
        height, width = image_a.shape[:2]
        below, right = (max(128, -(-side // 8) * 8) - side for side in (height, width))
        both = np.stack([image_a, image_b])
        padded = np.pad(both, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        images = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        with torch.inference_mode():
            flow = network(images[:1], images[1:])[-1][0]
        return flow[:, :height, :width].permute(1, 2, 0).float().cpu().numpy()

    return forward


@lru_cache(maxsize=2)
def _raft_network(size: str, download: bool) -> tuple[Any, Any]:
    import torch

    models = _torchvision_flow()
    if size not in ("large", "small"):
        raise InputError(f"RAFT has no size {size!r}.", "Choose one of: large, small.")
    weights = getattr(models, f"Raft_{size.capitalize()}_Weights").DEFAULT
    file = weights.url.rsplit("/", 1)[-1]
    if not download and not (_checkpoints() / file).is_file():
        raise WeightsError(
            f"The weights of RAFT ({file}) are not on this machine.",
            f"Allow the download with worldline.scene.motion.raft({size!r}, download=True), or use the backend 'dis'.",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return getattr(models, f"raft_{size}")(weights=weights).to(device).eval(), device


def _checkpoints() -> Any:
    from pathlib import Path

    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _torchvision_flow() -> ModuleType:
    try:
        from torchvision.models import optical_flow as models
    except ImportError as error:
        raise MissingExtraError("Optical flow by RAFT", "raft") from error
    return models


FLOW_BACKENDS: dict[str, Callable[[], FlowBackend]] = {
    "dis": dis,
    "raft": raft,
    "raft-small": lambda: raft("small"),
}
