"""Photos of a static scene of which some are held out, with the truth of every pixel; procedural ones are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldline import worlds
from worldline.errors import NoPlaceError
from worldline.eval.covisibility import sees
from worldline.eval.sequences import GroundTruth
from worldline.eval.worlds_truth import PosedScene, truth_of, worlds_version
from worldline.files import make_folder, replacing_file, reporting
from worldline.types import Camera
from worldline.worlds.world import World, choose_rows

CANDIDATES = 16  # photos beyond the inputs, of which some are held out
LEAST_SEEN = 0.5  # share of a held-out photo's pixels that the inputs must see
_COARSE = 40  # pixels of the square images in which the held-out photos are chosen


@dataclass(frozen=True, eq=False)
class HeldOutScene:
    """Posed photos of one static scene: the first ones are shown to the methods, the last ``held_out`` never are.

    The cameras of ``truth`` belong to the photos as they are here, i.e. to the pixels that a network sees.
    """

    name: str  # e.g. the seed; the same for every method and number of views
    photos: UInt8[np.ndarray, "view height width 3"]
    truth: GroundTruth
    held_out: int

    @property
    def inputs(self) -> int:
        """How many photos may be shown."""
        return len(self.photos) - self.held_out

    def shown(self, count: int) -> Case:
        """The scene with its first ``count`` photos shown."""
        return Case(self, count)


@dataclass(frozen=True, eq=False)
class Case:
    """What a method is asked: given ``count`` photos, the pictures that other cameras would take.

    Everything is expressed as the published evaluation does: in the camera of the first photo, in the unit that makes
    the mean distance of the shown photos' true points from that camera 1.
    """

    scene: HeldOutScene
    count: int

    @property
    def held_out(self) -> list[int]:
        """Rows of the photos that were not shown."""
        return list(range(self.scene.inputs, len(self.scene.photos)))

    @property
    def reference(self) -> Float64[np.ndarray, "4 4"]:
        """Pose of the first photo's camera in the world of the truth."""
        pose: Float64[np.ndarray, "4 4"] = self.scene.truth.cameras[0].world_from_cam
        return pose

    @cached_property
    def unit(self) -> float:
        """Mean distance of the true points of the shown photos from the first camera."""
        valid = self.scene.truth.valid[: self.count]
        points = self.scene.truth.points[: self.count][valid]
        return float(np.linalg.norm(points - self.reference[:3, 3], axis=1).mean()) if len(points) else 1.0

    def normalized(self, points: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """World points in the frame and unit of the case."""
        inverse = np.linalg.inv(self.reference)
        return (np.asarray(points, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]) / self.unit

    def camera(self, view: int) -> Camera:
        """True camera of a photo in the frame and unit of the case."""
        true = self.scene.truth.cameras[view]
        pose = np.linalg.inv(self.reference) @ true.world_from_cam
        pose[:3, 3] /= self.unit
        return replace(true, world_from_cam=pose)

    def seen(self, view: int) -> Bool[np.ndarray, "height width"]:
        """Pixels of a photo whose surface some other shown photo sees unhidden; of a shown photo: those with truth."""
        return seen_by(self.scene.truth, view, range(self.count))

    def nearest(self, view: int) -> int:
        """The shown photo that truly sees most of another one; a shown photo is nearest to itself."""
        truth = self.scene.truth
        points = truth.points[view][truth.valid[view]]
        shares = [sees(truth, shown, points).mean() if len(points) else 0.0 for shown in range(self.count)]
        return view if view < self.count else int(np.argmax(shares))


def seen_by(truth: GroundTruth, view: int, others: Sequence[int]) -> Bool[np.ndarray, "height width"]:
    """Pixels with truth whose surface some of the other views see unhidden."""
    seen = np.zeros_like(truth.valid[view])
    for other in others:
        seen |= sees(truth, other, truth.points[view])
    return seen & truth.valid[view]


def hold_out(sample: PosedScene, name: str, count: int = 1) -> HeldOutScene | None:
    """Photos that exist already, those held out of which the others see most; None where fewer than two stay.

    The first photo is always shown.
    """
    truth, views = truth_of(sample), range(len(sample.images))
    if len(views) < count + 2:
        return None
    shares = [seen_by(truth, view, [other for other in views if other != view]).mean() for view in views[1:]]
    best = sorted(int(view) + 1 for view in np.argsort(-np.array(shares), kind="stable")[:count])
    rows = [*(view for view in views if view not in best), *best]
    return HeldOutScene(name, np.asarray(sample.images)[rows], truth.choose(rows), count)


@dataclass(frozen=True)
class NovelSpec:
    """Which photos of which procedural world. Equal specs give equal pixels.

    The photos have one exposure (``light_change=0``): nothing corrects colours before they are compared.
    """

    layout: str
    seed: int  # from worldline.worlds.TEST_SEEDS
    inputs: int = 8  # photos that may be shown: the first of the seed's, as in the suites of points
    judged: int = 4  # the held-out photos are those that the first so many see most of
    held_out: int = 2
    size: int = 224  # pixels

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.layout}-{self.seed}-{self.inputs}of{self.judged}-{self.held_out}-{self.size}"


def render_scene(spec: NovelSpec) -> HeldOutScene:
    """Choose the held-out photos of a world and photograph it.

    Of :data:`CANDIDATES` photos beyond the inputs those are taken whose pixels the first ``judged`` inputs see most of,
    in coarse images of exact depth.

    Raises:
        NoPlaceError: the world has no place for that many photos, or none that the inputs see enough of.
    """
    world = worlds.describe(
        spec.layout, spec.seed, views=spec.inputs + max(CANDIDATES, spec.held_out), shooting="photos", light_change=0.0
    )
    chosen = _most_seen(world, spec)
    rows = np.concatenate([np.arange(spec.inputs), chosen])
    world = replace(world, cameras=choose_rows(world.cameras, rows), photo=choose_rows(world.photo, rows))
    sample = worlds.render([world], height=spec.size, width=spec.size)[0]
    return HeldOutScene(str(spec.seed), sample.images.numpy(), truth_of(sample), spec.held_out)


def _most_seen(world: World, spec: NovelSpec) -> Int64[np.ndarray, "k"]:
    """Rows of the photos to hold out, in their order."""
    coarse = truth_of(worlds.render([world], height=_COARSE, width=_COARSE)[0])
    candidates = np.arange(spec.inputs, world.views)
    shares = np.array([
        seen_by(coarse, int(view), range(spec.judged)).sum() / max(1, coarse.valid[view].sum()) for view in candidates
    ])  # fmt: skip
    best = np.argsort(-shares, kind="stable")[: spec.held_out]
    if shares[best].min() < LEAST_SEEN:
        raise NoPlaceError(
            f"Of seed {spec.seed} fewer than {spec.held_out} photos are at least half seen by the first {spec.judged}.",
            "Use another seed.",
        )
    chosen: Int64[np.ndarray, "k"] = np.sort(candidates[best])
    return chosen


def get_scene(spec: NovelSpec, cache: Path | None = None) -> HeldOutScene:
    """The scene of a spec from a folder, or rendered now and kept there, for as long as worlds look as they do.

    Raises:
        NoPlaceError: see :func:`render_scene`.
        OutputError: the folder cannot be written.
    """
    path = None if cache is None else cache / f"{spec.name}-{worlds_version()}.safetensors"
    scene = None if path is None else _read(path, spec)
    if scene is not None:
        return scene
    scene = render_scene(spec)
    if path is not None:
        make_folder(path.parent)
        with reporting(path), replacing_file(path) as temporary:
            save_file(_tensors(scene), temporary)
    return scene


def _tensors(scene: HeldOutScene) -> dict[str, np.ndarray]:
    truth = scene.truth
    return {
        "photos": scene.photos,
        "depth": truth.depth.astype(np.float32),
        "points": truth.points.astype(np.float32),
        "intrinsics": np.stack([camera.intrinsics for camera in truth.cameras]),
        "world_from_cam": truth.world_from_cam,
    }


def _read(path: Path, spec: NovelSpec) -> HeldOutScene | None:
    """None where there is no such file, or a damaged one, which is then written anew."""
    if not path.is_file():
        return None
    try:
        stored = load_file(path)
        height, width = stored["depth"].shape[1:]
        pairs = zip(stored["intrinsics"], stored["world_from_cam"], strict=True)
        cameras = tuple(Camera(intrinsics, pose, height, width) for intrinsics, pose in pairs)
        depth, points = stored["depth"].astype(np.float64), stored["points"].astype(np.float64)
        return HeldOutScene(
            str(spec.seed), stored["photos"], GroundTruth(points, depth, depth > 0, cameras), spec.held_out
        )
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
