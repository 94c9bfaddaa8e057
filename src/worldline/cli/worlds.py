"""``worldline worlds write rooms -n 100 -o DIR``: procedural data sets with exact ground truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True)
class Write:
    """Write procedural scenes with exact ground truth, in our layout or in that of a public data set."""

    layout: tyro.conf.Positional[str]
    """What kind of world, e.g. rooms; see: worldline worlds list."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder. Scenes that are there already are left alone, so the same command goes on after an interruption."""
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """Number of scenes."""
    format: str = "ours"
    """ours, nuscenes, tapvid3d or colmap."""
    views: int = 8
    """Photos per scene; for a rig instants times cameras."""
    size: int | None = None
    """Width and height in pixels. Usual are 224 x 224, for nuscenes 900 x 1600."""
    height: int | None = None
    """Height in pixels, where it differs from the width."""
    width: int | None = None
    """Width in pixels, where it differs from the height."""
    split: str = "test"
    """Seeds of which split: train, validation or test; they never overlap."""
    start: int = 0
    """First seed, counted from the beginning of the split."""
    shooting: str | None = None
    """photos, video, walk, orbit or rig; what is usual for the layout or the format if not given."""
    rate: float | None = None
    """Instants per second: video, walk, orbit and rig; usual are 12."""
    speed: float | None = None
    """Factor on how fast cameras and things move; not for photos, which show one instant."""
    objects: int | None = None
    """Number of loose objects."""
    extent: float | None = None
    """Factor on the extent of the scene."""
    texture: float | None = None
    """Contrast of all patterns, 0 to 1."""
    light_change: float | None = None
    """Stops of exposure by which photos differ."""
    effects: float | None = None
    """Factor on what lens, hand, sensor and file do to a photo; 0 gives ideal photos."""
    overlap: tuple[float, float] | None = None
    """Photos: least and greatest share of pixels that a new one has in common with an earlier one."""
    focal_per_view: bool = False
    """Photos: a focal length each instead of one per set."""
    principal_offset: float | None = None
    """Photos: largest shift of the principal point, as a share of the longer image side."""
    image_format: str | None = None
    """png or jpg."""
    flow: bool = False
    """Also write optical flow between neighbouring photos (format ours)."""
    tracks: int = 1024
    """Points per clip (tapvid3d) or reconstruction (colmap)."""
    device: str = "cpu"
    """Where to render: cpu or cuda."""

    def knobs(self) -> dict[str, Any]:
        """The options of the world that were given."""
        names = ("shooting", "rate", "speed", "objects", "texture", "light_change", "effects", "overlap")
        given = {name: getattr(self, name) for name in names} | {"size": self.extent}
        given["principal_offset"] = self.principal_offset
        given["focal_per_view"] = self.focal_per_view or None
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Sheet:
    """Make one picture of several worlds: a row per world, its photos side by side."""

    layout: tyro.conf.Positional[str]
    """What kind of world, e.g. rooms; see: worldline worlds list."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The picture, .jpg or .png."""
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 6
    """Number of worlds."""
    views: int = 4
    """Photos per world."""
    size: int = 160
    """Width and height of a photo in pixels."""
    shooting: str | None = None
    """photos, video, walk, orbit or rig; what is usual for the layout if not given."""
    start: int = 0
    """First seed, counted from the beginning of the test split."""
    truth: bool = True
    """Add depth, normals and instances of the first photo."""


@dataclass(frozen=True)
class Exact:
    """Save the exact truth of one world as a scene, as a perfect reconstruction would: to view, render and export."""

    layout: tyro.conf.Positional[str]
    """What kind of world, e.g. rooms; see: worldline worlds list."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the scene."""
    views: int = 8
    """Photos; for a rig instants times cameras."""
    height: int = 224
    """In pixels."""
    width: int = 224
    """In pixels."""
    start: int = 0
    """Seed, counted from the beginning of the test split."""
    shooting: str | None = None
    """photos, video, walk, orbit or rig; what is usual for the layout if not given."""
    rate: float = 12.0
    """Instants per second: video, walk, orbit and rig."""
    tracks: int = 256
    """Points that are followed through a video."""


@dataclass(frozen=True)
class List:
    """Say which layouts, ways of shooting and formats there are."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    verbs: dict[str, Callable[..., Any]] = {"write": Write, "scene": Exact, "sheet": Sheet, "list": List}
    arguments = tyro.extras.subcommand_cli_from_dict(verbs, args=argv, prog="worldline worlds")
    if isinstance(arguments, Exact):
        return _scene(arguments)
    if isinstance(arguments, Write):
        return _write(arguments)
    return _sheet(arguments) if isinstance(arguments, Sheet) else _list()


def _write(arguments: Write) -> int:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from worldline import worlds
    from worldline.cli.common import console

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("scenes", total=max(arguments.count, 0))

        def progress(done: int, count: int, name: str) -> None:
            bar.update(task, completed=done, description=name)

        written = worlds.write(
            arguments.layout, arguments.count, arguments.out, format=arguments.format, views=arguments.views,
            height=arguments.size if arguments.height is None else arguments.height,
            width=arguments.size if arguments.width is None else arguments.width, split=arguments.split,
            start=arguments.start, image_format=arguments.image_format, flow=arguments.flow, tracks=arguments.tracks,
            device=arguments.device, progress=progress, **arguments.knobs(),
        )  # fmt: skip
    console().print(_summary(len(written), arguments))
    return 0


def _summary(new: int, arguments: Write) -> str:
    if new == 0:
        return f"Nothing new: scenes that are in {arguments.out} already stay as they are, whatever the options."
    return f"{new} new {'scene' if new == 1 else 'scenes'} in {arguments.out} (format {arguments.format})"


def _sheet(arguments: Sheet) -> int:
    import numpy as np
    from PIL import Image

    from worldline import worlds
    from worldline.cli.common import check_positive, console
    from worldline.errors import InputError
    from worldline.files import check_writable, replacing_file, reporting

    check_positive(count=arguments.count, views=arguments.views, size=arguments.size)
    last = len(worlds.TEST_SEEDS) - arguments.count
    if not 0 <= arguments.start <= last:
        raise InputError(f"--start is {arguments.start}.", f"It must lie in 0 to {last}.")
    if arguments.out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{arguments.out} is no name of a picture.", "End it in .jpg or .png.")
    check_writable(arguments.out.parent)
    knobs: dict[str, Any] = {} if arguments.shooting is None else {"shooting": arguments.shooting}
    seeds = worlds.TEST_SEEDS[arguments.start :][: arguments.count]
    samples = worlds.sample_batch(
        arguments.layout, seeds, views=arguments.views, height=arguments.size, width=arguments.size, **knobs
    )
    picture = worlds.contact_sheet(samples, truth=arguments.truth)
    with reporting(arguments.out):
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(arguments.out) as temporary:
            Image.fromarray(np.asarray(picture)).save(temporary)
    count = "1 world" if len(samples) == 1 else f"{len(samples)} worlds"
    console().print(f"{count} of the layout {arguments.layout}: {arguments.out}")
    return 0


def _scene(arguments: Exact) -> int:
    from worldline import worlds
    from worldline.cli.common import check_positive, console
    from worldline.errors import InputError
    from worldline.pipeline.exact import exact_scene
    from worldline.scene.storage import check_replaceable

    check_positive(views=arguments.views, height=arguments.height, width=arguments.width)
    if not 0 <= arguments.start < len(worlds.TEST_SEEDS) or arguments.tracks < 0:
        raise InputError("--start or --tracks is out of range.", "Both count from 0.")
    check_replaceable(arguments.out)
    knobs: dict[str, Any] = {"rate": arguments.rate}
    if arguments.shooting is not None:
        knobs["shooting"] = arguments.shooting
    seed = worlds.TEST_SEEDS[arguments.start]
    [sample] = worlds.sample_batch(
        arguments.layout, [seed], views=arguments.views, height=arguments.height, width=arguments.width, **knobs
    )
    scene = exact_scene(sample, tracks=arguments.tracks)
    scene.save(arguments.out)
    console().print(f"{len(scene)} views of a world of the layout {sample.layout}, exact: {arguments.out}")
    return 0


def _list() -> int:
    from worldline.cli.common import console
    from worldline.worlds import LAYOUTS
    from worldline.worlds.formats import FORMATS

    out = console()
    out.print("layouts, and how they can be shot")
    for name, layout in LAYOUTS.items():
        out.print(f"  {name:<10}{layout.says}  ({', '.join(layout.shooting)})")
    out.print("formats")
    for name, kind in FORMATS.items():
        out.print(f"  {name:<10}{kind.says}")
    return 0
