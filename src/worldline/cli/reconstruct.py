"""``worldline reconstruct PATH... -o OUT``: photos or a video -> a scene folder, and exports of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Reconstruct:
    """Photos or a video of a static scene -> a 3D scene, in one forward pass."""

    path: tyro.conf.Positional[tuple[str, ...]]
    """A folder, photos, a quoted glob, a zip of photos, or one video."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the scene; exports are written into it too."""
    to: str = ""
    """Comma-separated exports, e.g. glb,ply,colmap,nerfstudio. They are checked before anything runs."""
    model: str = "mvdust3r-plus-mini"
    """Name, folder, checkpoint file or hub id: see `worldline models list`."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    max_views: int | None = None
    """At most this many views; of a video the sharpest of evenly spaced frames."""
    fps: float | None = None
    """Video: candidate frames per second."""
    fit: Literal["crop", "pad"] = "crop"
    """crop: the square centre of each photo. pad: the whole photo, letterboxed."""
    size: int | None = None
    """Model resolution; by default the one the weights were trained at."""
    reference: int = 0
    """Index of the view whose camera is the world frame."""
    order: Literal["demo", "evaluation", "spread", "input"] = "demo"
    """How the views are fed to the network; results are always in input order."""
    references: int = 4
    """Reference paths of MV-DUSt3R+."""
    focal: Literal["shared", "per-view"] = "shared"
    """One focal length for all photos of the set, or one each."""
    cameras: Path | None = None
    """JSON with known cameras, {"frames": [{"image": name, "K": [fx, fy, cx, cy], "T_c2w": 4x4}, ...]}; K or T_c2w may
    be absent."""
    confidence_percent: float = 3.0
    """Share of the least confident pixels that is masked."""
    skip_bad: bool = False
    """Go on without unreadable files and record them in the scene."""
    quiet: bool = False
    """Print nothing but errors."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    return execute(tyro.cli(Reconstruct, args=argv, prog="worldline reconstruct"))


def execute(arguments: Reconstruct) -> int:
    """Validate what can be validated first, then reconstruct, save, export and say what was written."""
    from worldline.cli.common import console, parse_formats, print_scene, source_of
    from worldline.files import check_writable
    from worldline.inputs import read_known_cameras
    from worldline.outputs.export import check_formats, check_targets
    from worldline.pipeline import ReconstructOptions, load
    from worldline.scene.storage import check_replaceable

    formats = parse_formats(arguments.to)
    check_formats(formats)
    check_writable(arguments.out)
    check_replaceable(arguments.out)
    check_targets(arguments.out, formats)
    source = source_of(arguments.path)
    out = console(quiet=arguments.quiet)
    known = read_known_cameras(arguments.cameras) if arguments.cameras else None
    model = load(arguments.model, arguments.device)
    options = ReconstructOptions(
        size=arguments.size,
        fit=arguments.fit,
        max_views=arguments.max_views,
        fps=arguments.fps,
        skip_bad=arguments.skip_bad,
        reference=arguments.reference,
        order=arguments.order,
        references=arguments.references,
        shared_focal=arguments.focal == "shared",
        confidence_percent=arguments.confidence_percent,
    )
    with out.status("reading the photos and reconstructing"):
        scene = model.reconstruct(source, known=known, options=options)
    scene.save(arguments.out)
    written = scene.export(arguments.out, formats) if formats else {}
    print_scene(out, scene, arguments.out, written)
    return 0
