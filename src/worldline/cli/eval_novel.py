"""``worldline eval novel rooms``: photos held out of a reconstruction, rendered at their true cameras."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from worldline.eval.novel.report import NovelReport
    from worldline.pipeline import Reconstructor

DEFAULT_MODEL = "mvdust3r-plus-mini"


@dataclass(frozen=True, kw_only=True)
class Novel:
    """Novel views: PSNR, SSIM and LPIPS of held-out photos, with a model's Gaussians or points, beside baselines."""

    source: tyro.conf.Positional[str] = "rooms"
    """Kind of test scene: rooms, objects, outdoor or street. Or a folder of sequences with cameras and depth."""
    scenes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """Number of test scenes; of a folder everything is measured."""
    views: tuple[int, ...] = (4, 8)
    """Numbers of shown photos; the held-out photos are the same for all of them."""
    held_out: int = 2
    """Photos per scene that are not shown."""
    model: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Name or folder of a model; may be given several times. Without any: mvdust3r-plus-mini."""
    baselines_only: bool = False
    """No model: only the baselines and the ceiling."""
    size: int | None = None
    """Pixels of the square photos; by default what the model sees, or 224."""
    spacing: int | None = None
    """Sequences: frames from one to the next, shown or held out; by default they spread over the whole sequence."""
    cache: Path | None = None
    """Folder where scenes are kept once they are rendered, for the next run."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the results as JSON, and beside it as Markdown and as a plot."""
    gallery: bool = False
    """With -o: also a picture of the best, the middle and the worst scene of the first method."""
    plot: bool = True
    """With -o: draw the plot; needs the extra 'eval'."""


def run(arguments: Novel, argv: list[str]) -> int:
    """Measure, print the tables, write files if wanted."""
    from worldline.cli.common import console
    from worldline.eval.methods import load_models
    from worldline.eval.novel.suite import SIZE, NovelSettings, evaluate_novel

    out, path = console(), _check(arguments)
    names = () if arguments.baselines_only else arguments.model or (DEFAULT_MODEL,)
    models = load_models(names, arguments.device) if names else {}
    size = arguments.size or next((model.image_size for model in models.values()), SIZE)
    settings = NovelSettings(
        arguments.source, arguments.scenes, tuple(arguments.views), arguments.held_out, size, arguments.cache,
        _folder(arguments), arguments.spacing,
    )  # fmt: skip

    def keep(report: NovelReport) -> None:
        report.about["command"] = shlex.join(["worldline", "eval", *_without_cache(argv)])
        if path is not None:
            report.write(path)

    report = evaluate_novel(models, settings, say=out.print, done=keep)
    out.print(report.as_markdown(with_definitions=False))
    if path is None:
        return 0
    files = report.write(path, plot=arguments.plot)
    if arguments.gallery:
        files.append(_gallery(report, settings, models, path.with_suffix(".jpg")))
    for file in files:
        out.print(f"wrote {file}")
    return 0


def _gallery(
    report: NovelReport, settings: NovelSettings, models: dict[str, Reconstructor], path: Path
) -> Path:  # fmt: skip
    from worldline.eval.novel.gallery import pick_scenes, write_gallery
    from worldline.eval.novel.suite import find_case

    count, number = report.counts[0], len(report.of(report.methods[0], report.counts[0]))
    bands = {f"{title} of {number}": find_case(settings, name, count) for title, name in pick_scenes(report).items()}
    return write_gallery(bands, models, path)


def _without_cache(argv: list[str]) -> list[str]:
    """The arguments that figures depend on: where scenes are kept is a matter of this machine."""
    kept = [word for word in argv if not word.startswith("--cache=")]
    if "--cache" in kept:
        place = kept.index("--cache")
        kept[place : place + 2] = []
    return kept


def _folder(arguments: Novel) -> Path | None:
    """The folder of sequences, None where a kind of procedural scene is meant.

    Raises:
        InputError: it is neither.
    """
    from worldline.errors import InputError
    from worldline.worlds import LAYOUTS

    if arguments.source in LAYOUTS:
        return None
    if not Path(arguments.source).is_dir():
        raise InputError(
            f"There is no layout and no folder {arguments.source!r}.",
            f"Choose one of {', '.join(sorted(LAYOUTS))}, or give a folder of sequences.",
        )
    return Path(arguments.source)


def _check(arguments: Novel) -> Path | None:
    """Mistakes are found before a model is loaded or a scene rendered; where the results go."""
    from worldline.cli.common import check_positive, parse_counts
    from worldline.errors import InputError
    from worldline.eval.plots import require_matplotlib
    from worldline.files import check_writable

    _folder(arguments)
    parse_counts(arguments.views)
    size = 1 if arguments.size is None else arguments.size
    spacing = 1 if arguments.spacing is None else arguments.spacing
    check_positive(scenes=arguments.scenes, size=size, spacing=spacing, **{"held-out": arguments.held_out})
    if arguments.baselines_only and arguments.model:
        raise InputError("--baselines-only runs no model.", "Leave out --model.")
    if arguments.out is None:
        if arguments.gallery:
            raise InputError("--gallery needs a place for its picture.", "Name it: -o FILE.")
        return None
    path = arguments.out if arguments.out.suffix else arguments.out / f"novel_{Path(arguments.source).name}.json"
    check_writable(path.parent)
    if arguments.plot:
        require_matplotlib()
    return path
