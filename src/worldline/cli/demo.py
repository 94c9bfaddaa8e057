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
    """Folder for the scene and its exports."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(argv: list[str]) -> int:
    """Reconstruct, draw a picture, say how to look at the result."""
    arguments = tyro.cli(Demo, args=argv, prog="worldline demo")
    from worldline.cli.common import console
    from worldline.cli.reconstruct import Reconstruct, execute
    from worldline.outputs.overview import write_overview
    from worldline.scene import Scene

    execute(Reconstruct(path=(str(DEMO_PHOTOS),), out=arguments.out, to=DEMO_FORMATS, device=arguments.device))
    picture = write_overview(Scene.load(arguments.out), arguments.out / "overview.jpg")
    console().print(
        f"\nLook at it:\n  {picture}  photos, depth, and the cloud from above\n"
        f"  {arguments.out / 'scene.glb'}  drag into any glTF viewer (Blender, a browser viewer, Windows 3D Viewer)\n"
        f"  {arguments.out / 'points.ply'}  MeshLab, CloudCompare\n"
        f"Then your own photos:\n  worldline reconstruct PHOTOS -o OUT --to glb"
    )
    return 0
