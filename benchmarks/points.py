"""How fast points are drawn: processor seconds per frame and points per second, by points and by size of the picture.

    OMP_NUM_THREADS=1 python benchmarks/points.py room --sizes 480x270 960x540 --repeats 3

The scene is any saved one, e.g. of ``worldline worlds scene rooms --views 24 --start 3 -o room``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from worldline.cli.common import markdown_table
from worldline.outputs.render.paths import PathOptions, fitted, make_path
from worldline.outputs.render.scene import RenderOptions, SceneRenderer
from worldline.scene import Scene
from worldline.types import Camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["480x270", "960x540"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 2], help="every so many pixels in both directions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scene, rows = Scene.load(arguments.scene), []
    for step in arguments.steps:
        renderer = SceneRenderer(scene, RenderOptions(kind="points", step=step))
        for text in arguments.sizes:
            width, height = map(int, text.split("x"))
            orbit = make_path("orbit", scene, PathOptions(frames=4, size=(height, width))).cameras
            inside = [fitted(view.camera, (height, width)) for view in scene.views[:4]]
            for name, cameras in (("orbit", orbit), ("a photo's camera", inside)):
                seconds = min(_frame(renderer, cameras) for _ in range(arguments.repeats))
                rows.append(
                    {
                        "points": f"{len(renderer):,}",
                        "picture": text,
                        "seen from": name,
                        "CPU s per frame": f"{seconds:.2f}",
                        "million points per CPU s": f"{len(renderer) / seconds / 1e6:.1f}",
                    }
                )
    print(markdown_table(rows))


def _frame(renderer: SceneRenderer, cameras: list[Camera] | tuple[Camera, ...]) -> float:
    """Processor seconds per picture."""
    started = time.process_time()
    for camera in cameras:
        renderer.draw(camera)
    return (time.process_time() - started) / len(cameras)


if __name__ == "__main__":
    main()
