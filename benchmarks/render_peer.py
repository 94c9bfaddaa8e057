"""Pictures of Gaussians beside the PyPI package litesplat (pure Python, Keras on torch), same room, one thread.

    pip install litesplat keras
    OMP_NUM_THREADS=1 python benchmarks/render_peer.py --gaussians 2000 8000 --sizes 64 112

Processor seconds of one picture, the median of three. litesplat reads its scene from files and evaluates every
Gaussian at every pixel, in batches of 1024 pixels (its default).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from worldline.eval.render_bench import room_of_gaussians
from worldline.outputs.render import rasterize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112], help="sides of the pictures, one per number")
    parser.add_argument("--picture", type=Path, help="write the last two pictures side by side, litesplat's first")
    arguments = parser.parse_args()
    for count, side in zip(arguments.gaussians, arguments.sizes, strict=True):
        values, pose, matrix = room_of_gaussians(count)
        lens = matrix * side
        lens[0, 2] = lens[1, 2] = (side - 1) / 2
        lens[2, 2] = 1
        cameras = {"world_from_cam": pose[None], "intrinsics": lens[None]}
        peer = _litesplat(values, pose, lens, side)
        ours = _median(lambda v=values, c=cameras, s=side: rasterize(*v, **c, size=(s, s), background=0.0).color[0])
        theirs = _median(peer)
        print(f"{len(values[0])} Gaussians, {side}x{side}: litesplat {theirs[0]:.3f} s, worldline {ours[0]:.3f} s")
        if arguments.picture:
            pixels = torch.cat([theirs[1], ours[1]], 1).clamp(0, 1).mul(255).byte().numpy()
            Image.fromarray(pixels).save(arguments.picture)


def _litesplat(values: list[Tensor], pose: Tensor, lens: Tensor, side: int) -> Callable[[], Tensor]:
    """A function that renders the scene with litesplat, through its own files."""
    from litesplat.core.camera_model import CameraLayer
    from litesplat.core.gaussian_model import GaussianParameterLayer

    names = ("position", "scale", "rotation", "opacity", "color")
    rows = [
        dict(zip(names, row, strict=True)) | {"translation": [0, 0, 0]}
        for row in zip(*(value.tolist() for value in values), strict=True)
    ]
    inverse = torch.linalg.inv(pose)
    camera = {
        "camera_id": 0, "model": "PINHOLE", "image_name": "view", "width": side, "height": side,
        "fx": float(lens[0, 0]), "fy": float(lens[1, 1]), "cx": float(lens[0, 2]), "cy": float(lens[1, 2]),
        "rotation": inverse[:3, :3].tolist(), "translation": inverse[:3, 3].tolist(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "gaussians.json").write_text(json.dumps(rows), encoding="utf-8")
        Path(folder, "camera.json").write_text(json.dumps([camera]), encoding="utf-8")
        layer = CameraLayer(folder, GaussianParameterLayer(folder))

    def render() -> Tensor:
        return torch.as_tensor(layer.call(inputs=(side, side), batch_size=1024, render=False))

    return render


def _median(render: Callable[[], Tensor], repeats: int = 3) -> tuple[float, Tensor]:
    spent = []
    with torch.no_grad():
        for _ in range(repeats):
            started = time.process_time()
            picture = render()
            spent.append(time.process_time() - started)
    return float(np.median(spent)), picture


if __name__ == "__main__":
    main()
