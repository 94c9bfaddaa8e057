"""Data sets on disk: one folder per scene with photos, depth maps, intrinsics and poses."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from worldline.errors import InputError, OutputError
from worldline.worlds import sampling

MILLIMETRES = 1000.0
_SPLITS = {
    "train": sampling.TRAIN_SEEDS,
    "validation": sampling.VALIDATION_SEEDS,
    "test": sampling.TEST_SEEDS,
}


def write(
    layout: str,
    count: int,
    directory: Path | str,
    *,
    views: int = 8,
    height: int = 224,
    width: int = 224,
    split: str = "test",
    start: int = 0,
    image_format: str = "png",
    device: str = "cpu",
) -> list[Path]:
    """Write scenes ``<directory>/<layout>_<seed>/`` and return the folders written.

    A scene folder holds ``images/000000.png``, ``depth/000000.png`` (uint16 millimetres along the optical axis, 0 = no
    value) and ``scene.json``: {"layout", "seed", "frames": [{"image", "width", "height", "K": [fx, fy, cx, cy],
    "T_c2w": 4x4, "depth"}]} with OpenCV axes, metres and pixel centres at integers. A folder appears only when it is
    complete, and one that exists is left alone (and not in the returned list).

    Args:
        layout: "rooms".
        count: number of scenes.
        directory: made when absent.
        split: "train", "validation" or "test": the range that the seeds come from.
        start: first seed, counted from the beginning of the split.
        image_format: "png" or "jpg" (quality 92).

    Raises:
        InputError: unknown layout, split or image format, or numbers below 1.
        OutputError: the folder cannot be written.
    """
    layout = sampling.canonical_layout(layout)
    if split not in _SPLITS:
        raise InputError(f"Unknown split {split!r}.", f"Choose one of: {', '.join(_SPLITS)}.")
    if image_format not in ("png", "jpg"):
        raise InputError(f"Unknown image format {image_format!r}.", "Choose png or jpg.")
    for name, value in (("count", count), ("views", views), ("height", height), ("width", width), ("start", start + 1)):
        if value < 1:  # a negative count would be read as "all scenes but"
            raise InputError(f"The {name} of the scenes to write is too small.", "Give a positive number.")
    root = Path(directory)
    written = []
    try:
        root.mkdir(parents=True, exist_ok=True)
        for seed in _SPLITS[split][start : start + count]:
            target = root / f"{layout}_{seed:010d}"
            if target.exists():
                continue
            sample = sampling.sample(layout, seed, views=views, height=height, width=width, device=device)
            if _write_scene(sample, target, image_format):
                written.append(target)
    except OSError as error:
        raise OutputError(
            f"Cannot write to {root}: {error.strerror or error}.", "Choose a folder with space that you may write to."
        ) from error
    return written


def _write_scene(sample: sampling.WorldSample, target: Path, image_format: str) -> bool:
    """Fill a temporary folder beside the target and rename it; False if another process was faster."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        frames = []
        (scratch / "images").mkdir()
        (scratch / "depth").mkdir()
        views, height, width = sample.depth.shape
        for view in range(views):
            image, depth = f"images/{view:06d}.{image_format}", f"depth/{view:06d}.png"
            photo = Image.fromarray(sample.images[view].cpu().numpy())
            if image_format == "jpg":
                photo.save(scratch / image, quality=92, subsampling=0)
            else:
                photo.save(scratch / image)
            Image.fromarray(_millimetres(sample, view)).save(scratch / depth)
            matrix = sample.intrinsics[view].cpu().numpy()
            frames.append({
                "image": image, "width": width, "height": height,
                "K": [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]],
                "T_c2w": sample.world_from_cam[view].cpu().numpy().tolist(), "depth": depth,
            })  # fmt: skip
        scene = {"layout": sample.layout, "seed": sample.seed, "frames": frames}
        (scratch / "scene.json").write_text(json.dumps(scene, indent=1))
        scratch.chmod(0o755)
        try:
            os.rename(scratch, target)  # noqa: PTH104 - Path.rename would replace an empty folder silently just the same
        except OSError:
            if target.exists():
                return False
            raise
        return True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _millimetres(sample: sampling.WorldSample, view: int) -> UInt16[np.ndarray, "height width"]:
    depth = np.where(sample.valid[view].cpu().numpy(), sample.depth[view].cpu().numpy() * MILLIMETRES, 0.0)
    return np.clip(np.rint(depth), 0, 65535).astype(np.uint16)
