"""Films of the data engine's dynamic worlds: frames and everything that is true of them, rendered once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int64, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldline.errors import InputError
from worldline.eval.worlds_truth import worlds_version
from worldline.files import make_folder, replacing_file, reporting
from worldline.worlds import WorldSample, describe, render
from worldline.worlds.truth import sample_tracks
from worldline.worlds.world import Motion, World, choose_rows

HEIGHT, WIDTH = 135, 180  # cells of 3, 5, 9 or 15 pixels have a pixel in their middle, so truth needs no interpolation
FRAMES = 16
RATE = 12.0  # frames per second
TRACKS = 256
REACH = 4  # frames before and after, over which a pixel's movement is measured
LIGHTS = ("own", "ideal", "flicker 0.5", "flicker 1", "flicker 2", "dark")
OBJECT_SPEEDS = (0.0, 0.5, 1.0, 2.0, 4.0)
_FINE = 2  # instants per frame that a world with other object speeds is described with
_DARK_STOPS, _GRAIN = -2.5, 0.02


@dataclass(frozen=True)
class FilmSpec:
    """Which film. Equal specs give equal pixels."""

    seed: int  # from worldline.worlds.TEST_SEEDS
    frames: int = FRAMES
    rate: float = RATE  # frames per second
    object_speed: float = 1.0  # factor on how fast things move, the camera's path being the same; 0: all stand still
    light: str = "own"  # one of LIGHTS
    height: int = HEIGHT
    width: int = WIDTH
    tracks: int = TRACKS

    def __post_init__(self) -> None:
        if self.light not in LIGHTS:
            raise InputError(f"There is no light {self.light!r}.", f"Choose one of: {', '.join(LIGHTS)}.")
        if self.object_speed not in OBJECT_SPEEDS:
            known = ", ".join(f"{speed:g}" for speed in OBJECT_SPEEDS)
            raise InputError(f"Things cannot move {self.object_speed:g} times as fast.", f"Choose one of: {known}.")
        if self.frames < 2 or self.rate <= 0 or self.tracks < 1 or min(self.height, self.width) < 16:
            raise InputError("A film has 2 or more frames of 16 or more pixels, a rate and tracks.", "Ask for more.")

    @property
    def name(self) -> str:
        """For files and messages."""
        size = f"{self.height}x{self.width}"
        light = self.light.replace(" ", "-")
        return f"dynamic-{self.seed}-{self.frames}at{self.rate:g}Hz-x{self.object_speed:g}-{light}-{size}-{self.tracks}"


@dataclass(frozen=True, eq=False)
class Film:
    """A rendered film. World frame: metres, z up; cameras have OpenCV axes; pixel centres are at integers."""

    spec: FilmSpec
    images: UInt8[np.ndarray, "t h w 3"]
    depth: Float32[np.ndarray, "t h w"]  # along the optical axis, metres; 0 in the sky
    shift: Float16[np.ndarray, "t h w"]  # how far the surface point moves within REACH frames, as a share of its depth
    intrinsics: Float64[np.ndarray, "t 3 3"]
    world_from_cam: Float64[np.ndarray, "t 4 4"]
    queries: Float64[np.ndarray, "n 3"]  # x, y in pixels and the frame in which a track starts
    points: Float64[np.ndarray, "t n 3"]  # metres, in the camera of the same frame
    pixels: Float64[np.ndarray, "t n 2"]
    visible: Bool[np.ndarray, "t n"]
    moves: Bool[np.ndarray, "n"]  # on something that moves in the film

    def __len__(self) -> int:
        return len(self.images)

    @property
    def in_first(self) -> Float64[np.ndarray, "t n 3"]:
        """The tracks' points in the camera of the first frame, metres."""
        motion = np.linalg.inv(self.world_from_cam[0]) @ self.world_from_cam
        return np.einsum("tij,tnj->tni", motion[:, :3, :3], self.points) + motion[:, None, :3, 3]

    @property
    def lens(self) -> Float64[np.ndarray, "4"]:
        """fx, fy, cx, cy of the first frame; the lens of a film is the same in all of them."""
        return self.intrinsics[0][[0, 1, 0, 1], [0, 1, 2, 2]]

    def with_tracks(self, rows: Int64[np.ndarray, "m"]) -> Film:
        """The same with some of the tracks."""
        parts = {name: getattr(self, name)[:, rows] for name in ("points", "pixels", "visible")}
        return replace(self, queries=self.queries[rows], moves=self.moves[rows], **parts)

    def longest_gap(self) -> Float64[np.ndarray, "n"]:
        """Seconds of the longest stretch in which a track is hidden or outside between two sights of it; else 0."""
        gaps = np.zeros(self.visible.shape[1])
        for track, seen in enumerate(self.visible.T):
            sights = np.flatnonzero(seen)
            gaps[track] = max(0, int(np.diff(sights).max(initial=1)) - 1)
        return gaps / self.spec.rate


_TENSORS = ("images", "depth", "shift", "intrinsics", "world_from_cam", "queries", "points", "pixels", "visible",
            "moves")  # fmt: skip


def describe_film(spec: FilmSpec) -> World:
    """The world of a film, without pixels.

    Raises:
        NoPlaceError: the seed has no place for the camera.
    """
    lights = {"ideal": {"effects": 0.0}}
    lights |= {f"flicker {stops:g}": {"light_change": stops} for stops in (0.5, 1.0, 2.0)}
    knobs = lights.get(spec.light, {})
    if spec.object_speed == 1.0:
        world = describe("dynamic", spec.seed, views=spec.frames, shooting="video", rate=spec.rate, **knobs)
        return _darkened(world) if spec.light == "dark" else world
    last = round(max(OBJECT_SPEEDS) * _FINE * (spec.frames - 1))  # the same world for every speed
    fine = describe("dynamic", spec.seed, views=last + 1, shooting="video", rate=_FINE * spec.rate, **knobs)
    number = np.arange(spec.frames)
    bodies = np.rint(_FINE * spec.object_speed * number).astype(int)
    motion = Motion(number / spec.rate, fine.motion.world_from_body[bodies])
    rows = _FINE * number
    cameras = replace(choose_rows(fine.cameras, rows), frame=number)
    return replace(fine, motion=motion, cameras=cameras, photo=choose_rows(fine.photo, number))


def render_film(spec: FilmSpec) -> Film:
    """Render a film and follow its points.

    Raises:
        NoPlaceError: the seed has no place for the camera.
    """
    world = describe_film(spec)
    sample = render([world], height=spec.height, width=spec.width)[0]
    tracks = sample_tracks(world, spec.tracks, height=spec.height, width=spec.width)
    return Film(
        spec,
        images=sample.images.numpy(),
        depth=np.where(sample.valid.numpy(), sample.depth.numpy(), 0).astype(np.float32),
        shift=_shift(sample),
        intrinsics=sample.intrinsics.numpy(),
        world_from_cam=sample.world_from_cam.numpy(),
        queries=tracks.queries,
        points=tracks.position,
        pixels=tracks.pixel,
        visible=tracks.visible,
        moves=tracks.moves,
    )


def _darkened(world: World) -> World:
    """Far too dark, with the noise of a sensor that has too little light."""
    photo = world.photo
    noise = np.maximum(photo.read_noise, _GRAIN)
    darker = replace(photo, exposure=photo.exposure + _DARK_STOPS, read_noise=noise, metering=0 * noise)
    return replace(world, photo=darker)


def _shift(sample: WorldSample) -> Float16[np.ndarray, "t h w"]:
    """Largest displacement of every pixel's point within REACH frames, as a share of its depth; 0 in the sky."""
    motion, frames = sample.world.motion.world_from_body, sample.frame
    body, points = sample.body.numpy(), sample.points.numpy().astype(np.float64)
    found = np.zeros(body.shape)
    for frame in range(len(frames)):
        rows = np.flatnonzero((body[frame] > 0).ravel())
        carried, at = body[frame].ravel()[rows], points[frame].reshape(-1, 3)[rows]
        start = motion[frames[frame], carried]
        local = np.einsum("nji,nj->ni", start[:, :3, :3], at - start[:, :3, 3])
        for other in range(max(0, frame - REACH), min(len(frames), frame + REACH + 1)):
            pose = motion[frames[other], carried]
            moved = np.einsum("nij,nj->ni", pose[:, :3, :3], local) + pose[:, :3, 3]
            far = np.linalg.norm(moved - at, axis=1)
            found[frame].ravel()[rows] = np.maximum(found[frame].ravel()[rows], far)
    depth = np.where(sample.valid.numpy(), sample.depth.numpy(), np.inf)
    return np.minimum(found / depth, 100.0).astype(np.float16)


@dataclass
class FilmStore:
    """Films that are rendered once: kept in memory, and in a folder where one is given."""

    folder: Path | None = None
    most: int = 8  # films in memory
    _kept: dict[FilmSpec, Film] = field(default_factory=dict)

    def get(self, spec: FilmSpec) -> Film:
        """A film, from memory, from disk, or rendered now.

        Raises:
            NoPlaceError: the seed has no place for the camera.
            OutputError: the folder cannot be written.
        """
        film = self._kept.pop(spec, None) or self._read(spec) or self._render(spec)
        self._kept[spec] = film
        while len(self._kept) > self.most:
            del self._kept[next(iter(self._kept))]
        return film

    def _render(self, spec: FilmSpec) -> Film:
        film = render_film(spec)
        if self.folder is not None:
            make_folder(self.folder)
            path = self._path(spec)
            with reporting(path), replacing_file(path) as temporary:
                save_file({name: np.ascontiguousarray(getattr(film, name)) for name in _TENSORS}, temporary)
        return film

    def _read(self, spec: FilmSpec) -> Film | None:
        """None where there is no such file, or a damaged one, which is then written anew."""
        if self.folder is None or not self._path(spec).is_file():
            return None
        try:
            stored = load_file(self._path(spec))
            return Film(spec, **{name: stored[name] for name in _TENSORS})
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def _path(self, spec: FilmSpec) -> Path:
        assert self.folder is not None
        return self.folder / f"{spec.name}-{worlds_version()}.safetensors"
