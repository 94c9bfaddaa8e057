"""The sweeps of streams: the question each one answers, its cases, and how their figures are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from worldline.errors import InputError
from worldline.eval.motion import MOVES, SPEEDS
from worldline.eval.streams.drives import StreamDrive
from worldline.eval.streams.feed import UNDISTURBED, Disturbance
from worldline.eval.streams.runs import Key, StreamRun
from worldline.eval.streams.scores import Figures, Truth, score_drive, score_groups

Split = Callable[[StreamDrive, StreamRun], Mapping[str, Figures]]

_FRONT = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT")
_PAIR = ("CAM_FRONT", "CAM_FRONT_LEFT")
_WINDOWS = ((0, 8), (8, 25), (25, 50), (50, 100), (100, 200))  # steps
_SHARES = ((0.0, 0.005), (0.005, 0.02), (0.02, 0.1), (0.1, 1.0))  # of the moving pixels of an image


@dataclass(frozen=True)
class Case:
    """One way of running a drive."""

    level: str  # what is written on the axis
    method: str = ""  # added to the model's name
    drive: Mapping[str, Any] = field(default_factory=dict)  # fields of DriveSpec
    pool: Mapping[str, Any] = field(default_factory=dict)  # fields of PoolOptions
    memory: Mapping[str, Any] = field(default_factory=dict)  # fields of MemoryOptions
    align: Mapping[str, Any] = field(default_factory=dict)  # fields of AlignOptions
    disturbance: Disturbance = UNDISTURBED
    single: bool = False  # every frame on its own
    sensors: tuple[str, ...] | None = None  # cameras that are scored
    steps: tuple[int, int | None] = (0, None)  # steps that are scored; no more are pushed
    split: Split | None = None  # several levels from one run


@dataclass(frozen=True)
class StreamSweep:
    """One thing varied, everything else kept. The drives are the same at every level."""

    name: str
    question: str
    axis: str
    cases: tuple[Case, ...]
    base: str  # the level that the others are compared with
    drive: Mapping[str, Any] = field(default_factory=dict)  # fields of DriveSpec, for all cases
    drives: int = 3
    motion: bool = False  # also find what moves
    shown: tuple[str, ...] = (
        "abs_rel", "abs_rel_scaled", "rmse", "delta_1_25", "scale_error", "scale_covered", "consistency",
    )  # fmt: skip
    panels: tuple[str, ...] = ("abs_rel", "abs_rel_scaled", "scale_error")
    note: str = ""


def _windows(drive: StreamDrive, run: StreamRun) -> dict[str, Figures]:
    """Figures of parts of a long stream."""
    found = {}
    for start, stop in _WINDOWS:
        part = {key: each for key, each in run.final.items() if start <= key[0] < stop}
        if not part:
            continue
        last = min(stop, len(drive.times)) - 1
        figures = dict(score_drive(drive, part, cloud=False).figures)
        figures |= {"metres": float(drive.way()[last]), "degrees": float(drive.heading()[last])}
        figures["latency"] = float(np.median(run.latencies[start:stop]))
        found[f"{start + 1}–{stop}"] = figures
    return found


def _moving(drive: StreamDrive, run: StreamRun) -> dict[str, Figures]:
    """Pixels by the speed of what they show, by whether the image before showed it, by how much of the image moves."""
    return score_groups(drive, {key: each for key, each in run.final.items() if key[0] > 0}, _motion_groups)


def _motion_groups(truth: Truth, key: Key) -> dict[str, Bool[np.ndarray, "height width"]]:
    moving = truth.valid & (truth.speed >= MOVES)
    groups = {"still": truth.still}
    for low, high in SPEEDS:
        groups[f"{low:g}–{high:g} m/s"] = moving & (truth.speed >= low) & (truth.speed < high)
    groups |= {
        "still, seen before": truth.still & truth.seen,
        "still, new in the image": truth.still & ~truth.seen,
        "moving, seen before": moving & truth.seen,
        "moving, new in the image": moving & ~truth.seen,
    }
    share = moving.sum() / max(1, int(truth.valid.sum()))
    for low, high in _SHARES:  # all labels in every image, so that their order is always the same
        label = f"still, in images of which {100 * low:g}–{100 * high:g} % move"
        groups[label] = truth.still & (low <= share < high)
    return groups


_LONG = {"steps": 200, "height": 64, "width": 112, "sensors": _PAIR}
_ROTATED = ((0.02, 0.1), (0.05, 0.3), (0.1, 0.6), (0.3, 1.5))  # metres, degrees
_MOUNTED = ((0.25, 0.005, 0.0025), (0.5, 0.01, 0.005), (1.0, 0.02, 0.01), (2.0, 0.04, 0.02))  # degrees, metres, focal

_ALL = (
    StreamSweep(
        "memory", "What does each part of the memory give?", "memory",
        (
            Case("single frame", single=True),
            Case("temporal only", pool={"neighbor_images": 0}),
            Case("spatial only", pool={"own_images": 0}),
            Case("full"),
            Case("full, latest instead of similar", pool={"selection": "recent"}),
        ),
        "full",
        note="Single frame: every image is paired with itself in a stream of its own. Spatial only: a camera recalls "
             "its neighbours' past and not its own; the pair of its last two images is there in all but the first.",
    ),
    StreamSweep(
        "scale", "Where should the scale come from?", "sources of scale",
        (
            Case("all of the rig's"),
            Case("without way driven", align={"ego": False, "turn": False}),
            Case("way driven alone", align={"overlap": False, "ground": False, "turn": False}),
            Case("overlap alone", align={"ego": False, "ground": False, "turn": False}),
            Case("road alone", align={"ego": False, "overlap": False, "turn": False}),
            Case("single frame", single=True),
        ),
        "all of the rig's",
        note="Way driven: camera centres of the network against the given poses. Overlap: surfaces that two calibrated "
             "cameras see. Road: height of the cameras above it. Nothing is measured by a LiDAR or by wheels. Depth "
             "with one scale per image hardly depends on the source and shows what a perfect scale would give.",
    ),
    StreamSweep(
        "length", "How does accuracy change with the length of a stream?", "steps of the stream",
        (
            Case("", "restart every 10 images", split=_windows),
            Case("", "no restart", pool={"restart": None}, split=_windows),
            Case("", "single frame", single=True, split=_windows),
        ),
        "1–8", _LONG, drives=2,
        shown=("abs_rel", "abs_rel_scaled", "delta_1_25", "scale_error", "consistency", "metres", "degrees", "latency"),
        panels=("abs_rel", "abs_rel_scaled", "latency"),
        note="Two cameras at 64x112 pixels, 4 steps a second: windows of one long stream each. Single frames show how "
             "hard a window is for a network without memory.",
    ),
    StreamSweep(
        "pruning", "What should leave a full memory?", "what leaves first",
        tuple(
            Case(label, pool={"restart": None}, memory={"long_tokens": tokens, "working_frames": 3, "pruning": name},
                 steps=(8, 50))
            for label, tokens, name in (
                ("attended least", 112, "attention"), ("oldest", 112, "oldest"), ("most alike", 112, "diverse"),
                ("nothing leaves", 112, "none"), ("all but the last 3 images", 0, "attention"),
            )
        ),
        "attended least", _LONG, drives=2,
        note="Restart off. 3 images of working memory and 112 tokens (4 images) of long-term memory per camera; "
             "steps 9 to 50 of the streams of `length`. Nothing leaves: the memory grows, which is no equal memory.",
    ),
    StreamSweep(
        "motion", "How well are moving things measured?", "pixels of one kind",
        (Case("", split=_moving),), "still", drives=6, motion=True,
        shown=("abs_rel", "marked", "share", "distance"), panels=("abs_rel", "marked"),
        note="All pixels of the same streams, sorted by what they show; no drive is changed. Marked: share of the "
             "group's pixels that the stream says are moving (recall for moving ones, false alarms for still ones). "
             "Groups differ in their distance as well, see that column. Seen before: the previous image of the same "
             "camera shows that surface point; new: it was hidden or outside.",
    ),
    StreamSweep(
        "lighting", "What does the light do?", "light",
        tuple(Case(light, drive={"light": light}) for light in ("own", "noon", "dusk", "night", "glare")),
        "own", {"sensors": _FRONT},
        note="The three front cameras. own: the daylight of the seed, 15 to 65 degrees high, clear to overcast, as in "
             "training; noon: clear, the sun at 62 degrees; dusk: the sun at 3 degrees, a tenth as bright, reddish, "
             "darker and grainy; night: three street lamps, dark and very grainy; glare: the sun 12 degrees above the "
             "road ahead with the veil of a lens (drawn into the image).",
    ),
    StreamSweep(
        "rain", "What does rain do?", "strength of the rain",
        tuple(Case(f"{s:g}", disturbance=Disturbance(rain=s)) for s in (0.0, 0.25, 0.5, 1.0)), "0",
        note="Drawn into the images: contrast lost to a grey veil (half of it at 1), bright streaks, blurred drops. "
             "No wet road, no spray.",
    ),
    StreamSweep(
        "poses", "What do errors of the given poses do?", "error of every pose (m, degrees)",
        (
            Case("0"),
            *(Case(f"{m:g} m, {d:g}°", disturbance=Disturbance(pose_move=m, pose_turn=d)) for m, d in _ROTATED),
            Case("no poses", disturbance=Disturbance(poses=False)),
        ),
        "0", note="Independent errors at every step (root mean square of the vector). Depth is along the axis of the "
                  "camera as given, so a turn of the rig is no error of depth by itself.",
    ),
    StreamSweep(
        "calibration", "What do errors of the calibration do?", "error of every camera's mount (degrees)",
        (
            Case("0"),
            *(
                Case(f"{d:g}°", disturbance=Disturbance(mount_turn=d, mount_move=m, focal=f)) for d, m, f in _MOUNTED
            ),
            Case("unknown", disturbance=Disturbance(calibrated=False)),
        ),
        "0", note="Per drive and camera; 1 degree comes with 2 cm of position and 1 % of focal length, in proportion. "
                  "Unknown: no calibration at all, so no neighbours in the memory and scale from the poses alone.",
    ),
    StreamSweep(
        "dropout", "What do lost images and missing cameras do?", "images",
        (
            Case("all"),
            *(Case(f"{100 * s:g} % lost", disturbance=Disturbance(lost=s)) for s in (0.1, 0.25, 0.5)),
        ),
        "all", note="Lost at random, per image; the images that arrived are scored.",
    ),
    StreamSweep(
        "cameras", "What do missing cameras cost those that are left?", "cameras on the rig",
        (
            Case("6", sensors=_FRONT[:1]),
            Case("front three", sensors=_FRONT[:1], disturbance=Disturbance(
                missing=("CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"))),
            Case("front and its left neighbour", sensors=_FRONT[:1], disturbance=Disturbance(
                missing=("CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT"))),
            Case("front alone", sensors=_FRONT[:1], disturbance=Disturbance(
                missing=("CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT"))),
        ),
        "6", note="Missing from the first step on. Only CAM_FRONT is scored, in all cases.",
    ),
)  # fmt: skip

STREAM_SWEEPS: dict[str, StreamSweep] = {sweep.name: sweep for sweep in _ALL}


def stream_sweep_named(name: str) -> StreamSweep:
    """A sweep of streams by its name.

    Raises:
        InputError: there is no such sweep; lists the names.
    """
    if name not in STREAM_SWEEPS:
        raise InputError(f"There is no sweep of streams '{name}'.", f"Choose one of: {', '.join(STREAM_SWEEPS)}.")
    return STREAM_SWEEPS[name]
