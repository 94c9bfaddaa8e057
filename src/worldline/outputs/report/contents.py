"""What a report says and shows, once for all of its formats: sentences, tables, tiles, panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PureWindowsPath

import numpy as np
from jaxtyping import UInt8

from worldline import __version__
from worldline.outputs.drawing import Scale, mark, number, paint
from worldline.outputs.facts.caption import model_name
from worldline.outputs.report.facts import Facts, Sample, ViewFacts, choose, collect, sample_points
from worldline.outputs.report.plan import extent
from worldline.outputs.report.top_view import draw_top_view
from worldline.scene import Scene, SceneView

Pixels = UInt8[np.ndarray, "height width 3"]
PANEL = (700, 980)  # height, width of the two large pictures, pixels
_WARNINGS = 8  # shown at most
SOFTWARE = "The worldline authors, worldline (the program that made this reconstruction), Apache-2.0"


@dataclass(frozen=True, eq=False)
class Row:
    """One picture per shown view."""

    label: str  # "depth"
    meaning: str  # what one picture shows, for people who do not see it
    pictures: tuple[Pixels, ...] = field(repr=False)


@dataclass(frozen=True)
class Bar:
    """The colours of a row of pictures as numbers."""

    label: str  # with the unit
    palette: str
    scale: Scale


@dataclass(frozen=True, eq=False)
class Panel:
    """A large picture with a caption."""

    title: str
    caption: str
    picture: Pixels = field(repr=False)


@dataclass(frozen=True, eq=False)
class Contents:
    """A report before it has a format. Text is plain: formats escape it."""

    title: str
    lead: str  # one sentence: how much was reconstructed, in which unit
    origin: str  # one sentence: model, licence of its weights, when, with which version
    warnings: tuple[str, ...]
    facts: Facts
    columns: int  # views beside each other
    captions: tuple[str, ...]  # per shown view
    rows: tuple[Row, ...]
    bars: tuple[Bar, ...]
    panels: tuple[Panel, ...]
    summary: tuple[tuple[str, str], ...]  # the scene as a whole: name, value
    table: tuple[tuple[str, ...], ...]  # the shown views; the first row names the columns
    provenance: tuple[tuple[str, str], ...]
    citations: tuple[str, ...]
    selection: str  # which views are shown; empty: all


def gather(scene: Scene, title: str, most: int = 24) -> Contents:
    """All that a report of a scene says, with at most ``most`` of its views one by one."""
    rows = choose(scene, most)
    views = [scene.views[row] for row in rows]
    facts, sample = collect(scene, rows), sample_points(scene)
    return Contents(
        title=title,
        lead=_lead(facts),
        origin=_origin(scene),
        warnings=_warnings(scene),
        facts=facts,
        columns=_columns(facts),
        captions=tuple(_caption(each) for each in facts.shown),
        rows=_rows(views, facts),
        bars=_bars(facts),
        panels=_panels(scene, sample, rows),
        summary=_summary(scene, facts, sample),
        table=_table(facts),
        provenance=_provenance(scene),
        citations=(*facts.papers, SOFTWARE),
        selection=_selection(facts),
    )


def _warnings(scene: Scene) -> tuple[str, ...]:
    """Each once, and of very many the first."""
    warnings = tuple(dict.fromkeys(scene.warnings))
    if len(warnings) <= _WARNINGS:
        return warnings
    return (*warnings[: _WARNINGS - 1], f"And {len(warnings) - _WARNINGS + 1} more, which scene.json lists.")


def _lead(facts: Facts) -> str:
    counts = [counted(facts.views, "view"), counted(facts.points, "point")]
    for count, name in ((facts.gaussians, "Gaussian"), (facts.tracks, "track"), (facts.objects, "moving object")):
        counts += [counted(count, name)] if count else []
    return f"{', '.join(counts)}. Scale: {facts.scale}."


def counted(count: int, name: str) -> str:
    """ "1 view", "24 views"."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _origin(scene: Scene) -> str:
    provenance = scene.provenance
    version = provenance.versions.get("worldline")
    parts = [f"Model: {model_name(scene)}", f"weights: {provenance.license or 'licence not known'}"]
    parts += [f"made {_date(provenance.created)}"] if provenance.created else []
    return "; ".join([*parts, f"worldline {version or __version__}"]) + "."


def _date(created: str) -> str:
    try:
        return datetime.fromisoformat(created).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    except ValueError:
        return created


def _columns(facts: Facts, most: int = 8) -> int:
    """Views beside each other: one moment of a rig, else as evenly filled lines as possible."""
    count = max(1, len(facts.shown))
    if 1 < len(facts.sensors) <= most and facts.moments > 1:
        return len(facts.sensors)
    lines = -(-count // most)
    return -(-count // lines)


def _caption(view: ViewFacts) -> str:
    name = view.name if view.sensor is None else f"{view.sensor}  {view.seconds or 0:.2f} s"
    return f"{view.number}  {name}"


def _rows(views: Sequence[SceneView], facts: Facts) -> tuple[Row, ...]:
    depth = tuple(paint(view.depth, view.mask, facts.depth_ends, "near") for view in views)
    rows = [
        Row("input", "Input image", tuple(view.image for view in views)),
        Row("depth", "Depth map", depth),
    ]
    if facts.histogram is not None:
        seen = [np.isfinite(view.confidence) for view in views]
        pairs = zip(views, seen, strict=True)
        confidence = tuple(paint(view.confidence, known, facts.confidence_ends, "amount") for view, known in pairs)
        rows.append(Row("confidence", "Confidence map", confidence))
    if facts.dynamic is not None and any(view.dynamic is not None for view in views):
        unknown = np.zeros((1, 1), bool)
        moving = [np.broadcast_to(unknown, view.mask.shape) if view.dynamic is None else view.dynamic for view in views]
        marked = tuple(mark(view.image, moves) for view, moves in zip(views, moving, strict=True))
        rows.append(Row("moving", "Input image with moving pixels in pink", marked))
    return tuple(rows)


def _bars(facts: Facts) -> tuple[Bar, ...]:
    bars = [Bar(f"depth ({facts.unit})", "near", facts.depth_ends)]
    if facts.histogram is not None:
        bars.append(Bar("confidence", "amount", facts.confidence_ends))
    return tuple(bars)


def _from_above(scene: Scene, sample: Sample, rows: Sequence[int]) -> Panel:
    said = ["The points from above, to scale, without the ceiling"]
    if all(view.pose_status == "failed" for view in scene.views):
        said.append("no camera's place is known")
    elif scene.times:
        said.append("the cameras of the views above (blue: the first) and their trajectory")
    else:
        said.append("cameras with their numbers (blue: the first)")
    if scene.tracks is not None and len(scene.tracks.points):
        said.append("the tracks that move most")
    if scene.objects:
        said.append("moving objects (pink): trajectory, and box at its end")
    height, width = PANEL
    return Panel("From above", "; ".join(said) + ".", draw_top_view(scene, sample, rows, width=width, height=height))


def _panels(scene: Scene, sample: Sample, rows: Sequence[int]) -> tuple[Panel, ...]:
    """The map and a new view; only the map where no view has both a pose and points, so that nobody stood anywhere."""
    above = _from_above(scene, sample, rows)
    seen = any(view.pose_status != "failed" and view.mask.any() for view in scene.views)
    return (above, _new_view(scene)) if seen else (above,)


def _new_view(scene: Scene) -> Panel:
    from worldline.outputs.render.scene import default_moment, render_still  # torch: only where it is needed

    kind = "Gaussians" if scene.gaussians is not None else "points"
    moment = default_moment(scene) if scene.gaussians is None else None
    at = "" if moment is None else f", {number(moment - scene.times[0])} s after the start"
    picture = render_still(scene, size=PANEL, moment=moment)
    return Panel("A new view", f"A new view: the {kind} as seen from a place where no camera was{at}.", picture.color)


def _summary(scene: Scene, facts: Facts, sample: Sample) -> tuple[tuple[str, str], ...]:
    size, unit = extent(scene, sample), facts.unit
    poses = ", ".join(f"{count:,} {status}" for status, count in facts.statuses.items())
    rows = [("views", f"{facts.views:,}"), ("poses", poses), ("points", f"{facts.points:,}")]
    if facts.gaussians:
        rows.append(("Gaussians", f"{facts.gaussians:,}"))
    if size is not None:
        rows.append(("extent", f"{' × '.join(number(side) for side in size)} {unit} (without the outermost 2 %)"))
    if facts.spread is not None:
        rows.append(("largest baseline", f"{number(facts.spread)} {unit}"))
    if facts.way is not None:
        rows.append(("trajectory", f"{number(facts.way)} {unit} in {number(facts.seconds)} s"))
    if facts.sensors:
        rows.append(("sensors", f"{len(facts.sensors)} at {counted(facts.moments, 'moment')}"))
    if facts.dynamic is not None:
        rows.append(("moving", f"{number(100 * facts.dynamic)} % of the valid pixels"))
    if facts.tracks:
        rows.append(("tracks", f"{facts.tracks:,}"))
    if facts.objects:
        rows.append(("moving objects", f"{facts.objects:,}"))
    low, high = facts.confidence
    if facts.histogram is None:
        rows.append(("confidence", f"{number(low)} everywhere"))
    else:
        rows.append(("confidence", f"{number(low)} to {number(high)}"))
    return tuple(rows)


def _table(facts: Facts) -> tuple[tuple[str, ...], ...]:
    unit = facts.unit
    varies = facts.histogram is not None
    head = ("", "view", "size", "focal px", "pose", "valid", f"depth, {unit}", "median")
    rows = [(*head, "confidence") if varies else head]
    for view in facts.shown:
        known = np.isfinite(view.depth)
        near, middle, far = (number(value, strip=False) for value in (view.near, view.depth, view.far))
        depths = (f"{near} – {far}", middle) if known else ("–", "–")
        size = f"{view.size[0]} × {view.size[1]}"
        focal, valid = f"{view.focal:.0f}", f"{100 * view.valid:.0f} %"
        confidence = (number(view.confidence, strip=False),) if varies else ()
        rows.append((str(view.number), view.name, size, focal, view.pose, valid, *depths, *confidence))
    return tuple(rows)


def _provenance(scene: Scene) -> tuple[tuple[str, str], ...]:
    provenance = scene.provenance
    rows = [
        ("model", model_name(scene)),
        ("weights' licence", provenance.license or "not known"),
        ("sha256 of the weights", provenance.weights_sha256),
        ("created", provenance.created),
        ("seconds", ", ".join(f"{name} {number(seconds)}" for name, seconds in provenance.timings.items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ("arguments", ", ".join(_flat(provenance.arguments))),
    ]
    return tuple((name, value) for name, value in rows if value)


def _flat(arguments: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """ "size=224", "pool.memory.long_tokens=4000", …"""
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={_without_folders(value)}"


def _without_folders(value: object) -> object:
    """Of paths only the last part: a report goes to other people, whom the folders of a machine do not concern."""
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    return (PureWindowsPath(value).name or value) if isinstance(value, str) else value  # both kinds of slashes


def _selection(facts: Facts) -> str:
    shown = len(facts.shown)
    if shown == facts.views:
        return ""
    return f"{shown} of {facts.views:,} views are shown, evenly spread over the scene; the numbers count all views."
