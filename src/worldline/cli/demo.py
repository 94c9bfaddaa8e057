"""``worldline demo``: the whole chain on bundled photos with the embedded weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

DEMO_PHOTOS = Path(__file__).resolve().parents[1] / "assets" / "demo"
DEMO_FORMATS = "glb,ply,colmap"


@dataclass(frozen=True)
class Demo:
    """Reconstruct bundled photos with the embedded weights."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo_output")
    """Folder for the scene, its exports and its pictures."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(argv: list[str]) -> int:
    """Reconstruct, render, report, say how to look at the result."""
    arguments = tyro.cli(Demo, args=argv, prog="worldline demo")
    from worldline.cli.common import console
    from worldline.cli.reconstruct import Reconstruct, execute
    from worldline.outputs.drawing import save_picture
    from worldline.outputs.render.scene import render_still
    from worldline.outputs.report import write_scene_reports
    from worldline.scene import Scene

    folder = arguments.out
    execute(Reconstruct(path=(str(DEMO_PHOTOS),), out=folder, to=DEMO_FORMATS, device=arguments.device))
    out = console()
    with out.status("drawing"):
        scene = Scene.load(folder)
        still = save_picture(render_still(scene).color, folder / "still.png")
        report, figure = write_scene_reports(
            scene, [folder / "report.html"], figures=[folder / "overview.jpg"], title="Six photos of a room"
        )
    shown = {
        report: "everything about it on one page: open it in a browser",
        figure: "photos, depth, confidence, a map with the cameras, a new view",
        still: "a new view alone",
        folder / "scene.glb": "drag into any glTF viewer (Blender, a browser viewer, Windows 3D Viewer)",
        folder / "points.ply": "MeshLab, CloudCompare",
    }
    wide = max(len(str(path)) for path in shown)
    lines = [f"  {path!s:<{wide}}  {text}" for path, text in shown.items()]
    out.print("\nLook at it:", *lines, sep="\n")
    out.print("Turn it in the browser (pip install 'worldline[view]'), or make a film of it:")
    out.print(f"  worldline view {folder}\n  worldline render {folder} -o {folder / 'film.mp4'}")
    out.print("Then your own photos:\n  worldline reconstruct PHOTOS -o OUT --to glb")
    return 0
