"""Masks of what moves against exact masks, on streets of ``worlds``: by speed, rate, occlusion and errors of geometry.

A pixel moves when the surface point that it shows moves by at least ``MOVES`` m/s from the previous image of the same
sensor to this one. Points slower than ``STILL`` but not at rest, and the sky, do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage

from worldline.errors import InputError
from worldline.scene.motion import MotionOptions, MotionPredictor
from worldline.worlds import WorldSample, describe, render

MOVES, STILL = 0.5, 0.05  # m/s
SPEEDS = ((0.5, 1.5), (1.5, 3.5), (3.5, 7.5), (7.5, 15.0), (15.0, 60.0))  # about 1, 2, 5, 10, 20 m/s
EGO_SPEEDS = ((0.0, 1.0), (1.0, 7.0), (7.0, 30.0))  # m/s
GEOMETRY = ("exact", "depth", "pose")
DEPTH_NOISE = 0.10  # standard deviation of the smooth error of log depth, drawn anew for every image
POSE_NOISE = (0.3, 0.05)  # degrees and metres, per image
_NEAR = 16  # pixels: a false pixel this close to a moving thing is charged to its speed
_KNOTS = (6, 9)  # of the smooth error of the depth


@dataclass
class Count:
    """Pixels of a group."""

    hit: int = 0
    missed: int = 0
    false: int = 0

    @property
    def pixels(self) -> int:
        """Moving pixels."""
        return self.hit + self.missed

    @property
    def recall(self) -> float:
        """Share of the moving pixels that were found."""
        return self.hit / self.pixels if self.pixels else np.nan

    @property
    def iou(self) -> float:
        """Intersection over union of all pixels of the group together."""
        return self.hit / (self.pixels + self.false) if self.pixels + self.false else np.nan

    def add(self, found: Bool[np.ndarray, "h w"], moving: Bool[np.ndarray, "h w"], counted: np.ndarray) -> None:
        """Count an image where ``counted``."""
        self.hit += int((found & moving & counted).sum())
        self.missed += int((~found & moving & counted).sum())
        self.false += int((found & ~moving & counted).sum())


@dataclass
class MaskReport:
    """How well masks fit, at one rate and kind of geometry."""

    rate: float  # images per second and sensor
    geometry: str
    images: int = 0
    still: int = 0  # pixels that do not move
    seconds: float = 0.0  # of computing, all images
    all: Count = field(default_factory=Count)
    speeds: dict[tuple[float, float], Count] = field(default_factory=lambda: {s: Count() for s in SPEEDS})
    ego: dict[tuple[float, float], Count] = field(default_factory=lambda: {s: Count() for s in EGO_SPEEDS})
    seen_before: Count = field(default_factory=Count)  # moving points that the previous image shows as well
    hidden_before: Count = field(default_factory=Count)  # those that it does not: hidden then, or outside of it

    @property
    def false_positives(self) -> float:
        """Share of the still pixels that were taken to move."""
        return self.all.false / max(1, self.still)


def measure_masks(
    seeds: Sequence[int],
    *,
    rates: Sequence[float] = (2.0, 6.0, 12.0),
    geometry: Sequence[str] = GEOMETRY,
    steps: int = 3,
    height: int = 128,
    width: int = 224,
    parked: bool = False,
    options: MotionOptions | None = None,
    look: Callable[[WorldSample, int, np.ndarray, np.ndarray], None] | None = None,
) -> list[MaskReport]:
    """Run the predictor over streams of the six-camera rig and compare its masks.

    Args:
        seeds: of streets, from VALIDATION_SEEDS (thresholds were chosen there) or TEST_SEEDS.
        rates: images per second.
        geometry: exact; depth: with a smooth error of 10 % drawn anew for every image; pose: with errors of 0.3 degrees
            and 5 cm.
        steps: instants per stream; the first has no mask.
        height, width: of the images.
        parked: streets where nothing moves but the cameras.
        options: of the predictor.
        look: called with (sample, view, mask, exact mask) for every image.

    Raises:
        InputError: unknown geometry.
    """
    if unknown := set(geometry) - set(GEOMETRY):
        raise InputError(f"Unknown geometry {sorted(unknown)[0]!r}.", f"Choose among: {', '.join(GEOMETRY)}.")
    reports = [MaskReport(rate, kind) for rate in rates for kind in geometry]
    for seed in seeds:
        for rate in rates:
            knobs = {"objects": 0} if parked else {}
            world = describe("street", seed, views=6 * steps, shooting="rig", rate=rate, **knobs)
            sample = render([world], height=height, width=width)[0]
            for report in reports:
                if report.rate == rate:
                    _measure(report, sample, options, look)
    return reports


def mask_table(reports: Sequence[MaskReport]) -> str:
    """Markdown: one row per report; IoU (recall) by speed of the object, and how many moving pixels there are."""
    names = [f"{low:g}–{high:g} m/s" for low, high in SPEEDS]
    lines = [
        f"| rate | geometry | images | IoU | false | seen before | hidden before | {' | '.join(names)} |",
        "|---" * (7 + len(names)) + "|",
    ]
    for r in reports:
        cells = [f"{c.iou:.2f} ({c.recall:.2f}, {c.pixels})" if c.pixels else "–" for c in r.speeds.values()]
        lines.append(
            f"| {r.rate:g} Hz | {r.geometry} | {r.images} | {r.all.iou:.3f} | {100 * r.false_positives:.2f} % | "
            f"{r.seen_before.recall:.2f} | {r.hidden_before.recall:.2f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def point_motion(
    sample: WorldSample, view: int, other: int
) -> tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Exact speed (m/s) of what every pixel of a view shows, between two views; and whether the other one shows it."""
    world = sample.world
    frames = world.cameras.frame
    bodies = world.motion.world_from_body
    then_from_now = bodies[frames[other]] @ np.linalg.inv(bodies[frames[view]])
    motion = then_from_now[np.maximum(sample.body[view].numpy(), 0)]
    points = sample.points[view].numpy().astype(np.float64)
    then = np.einsum("hwij,hwj->hwi", motion[..., :3, :3], points) + motion[..., :3, 3]
    valid = sample.valid[view].numpy()
    between = abs(float(sample.times[view] - sample.times[other]))
    speed = np.where(valid, np.linalg.norm(then - points, axis=-1) / between, 0.0)
    cam_from_world = np.linalg.inv(sample.world_from_cam[other].numpy())
    seen = (then @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]) @ sample.intrinsics[other].numpy().T
    z = seen[..., 2]
    pixel = np.rint(seen[..., :2] / np.where(z > 1e-3, z, 1.0)[..., None]).astype(np.int64)
    height, width = z.shape
    inside = (z > 1e-3) & (pixel >= 0).all(-1) & (pixel[..., 0] < width) & (pixel[..., 1] < height)
    x, y = np.where(inside, pixel[..., 0], 0), np.where(inside, pixel[..., 1], 0)
    there = sample.depth[other].numpy()[y, x]
    return speed.astype(np.float32), valid & inside & (np.abs(there - z) < 0.1 + 0.05 * z)


def _measure(
    report: MaskReport,
    sample: WorldSample,
    options: MotionOptions | None,
    look: Callable[[WorldSample, int, np.ndarray, np.ndarray], None] | None,
) -> None:
    predictor = MotionPredictor(options)
    last: dict[int, int] = {}
    for view, sensor, depth, pose in _geometry(sample, report.geometry):
        matrix = sample.intrinsics[view].numpy()
        image = sample.images[view].numpy()
        motion = predictor.update(str(sensor), float(sample.times[view]), image, depth, matrix, pose)
        if motion.known:
            speed, before = point_motion(sample, view, last[sensor])
            _count(report, sample, view, motion.dynamic, speed, before)
            report.seconds += motion.seconds
            if look is not None:
                look(sample, view, motion.dynamic, speed >= MOVES)
        last[sensor] = view


def _count(
    report: MaskReport, sample: WorldSample, view: int, found: np.ndarray, speed: np.ndarray, before: np.ndarray
) -> None:
    moving = speed >= MOVES
    counted = sample.valid[view].numpy() & (moving | (speed < STILL))
    report.images += 1
    report.still += int((counted & ~moving).sum())
    report.all.add(found, moving, counted)
    report.seen_before.add(found, moving, counted & moving & before)
    report.hidden_before.add(found, moving, counted & moving & ~before)
    own = _ego_speed(sample, view)
    for (low, high), count in report.ego.items():
        if low <= own < high:
            count.add(found, moving, counted)
    if moving.any():
        distance, (row, column) = ndimage.distance_transform_edt(~moving, return_indices=True)
        nearest = speed[row, column]
        for (low, high), count in report.speeds.items():
            count.add(found, moving, counted & (distance < _NEAR) & (nearest >= low) & (nearest < high))


def _ego_speed(sample: WorldSample, view: int) -> float:
    """Speed of the car at an instant, m/s."""
    rig, times = sample.world.world_from_rig, sample.world.motion.times
    assert rig is not None  # the worlds are shot by a rig
    path = rig[:, :3, 3]
    step = max(1, int(sample.frame[view]))
    return float(np.linalg.norm(path[step] - path[step - 1]) / (times[step] - times[step - 1]))


def _geometry(
    sample: WorldSample, kind: str
) -> Iterator[tuple[int, int, Float32[np.ndarray, "height width"], Float64[np.ndarray, "4 4"]]]:
    """(view, sensor, depth, world_from_cam) in the order of time, with the errors of a kind of geometry."""
    for view in np.argsort(sample.times, kind="stable"):
        rng = np.random.default_rng([sample.seed, int(view)])
        depth, pose = sample.depth[view].numpy(), sample.world_from_cam[view].numpy()
        if kind == "depth":
            depth = (depth * np.exp(DEPTH_NOISE * smooth_noise(rng, depth.shape))).astype(np.float32)
        if kind == "pose":
            pose = _shaken(pose, rng)
        yield int(view), int(sample.world.cameras.sensor[view]), depth, pose


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float64[np.ndarray, "height width"]:
    """A random field of unit variance at its knots, smooth between them."""
    rows, columns = (np.linspace(0, knots - 1, side) for knots, side in zip(_KNOTS, shape, strict=True))
    where = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    return ndimage.map_coordinates(rng.normal(size=_KNOTS), where, order=3, mode="nearest")


def _shaken(pose: Float64[np.ndarray, "4 4"], rng: np.random.Generator) -> Float64[np.ndarray, "4 4"]:
    from scipy.spatial.transform import Rotation

    shaken = pose.copy()
    turn = Rotation.from_rotvec(rng.normal(size=3) * np.radians(POSE_NOISE[0]) / np.sqrt(3))
    shaken[:3, :3] = pose[:3, :3] @ turn.as_matrix()
    shaken[:3, 3] += rng.normal(size=3) * POSE_NOISE[1] / np.sqrt(3)
    return shaken
