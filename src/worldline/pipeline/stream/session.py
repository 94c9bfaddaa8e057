"""A stream of a camera rig: push the images of a moment, get their geometry at once (Driv3R, arXiv 2412.06777).

The result of an image comes with the push of that image (a preview) and is replaced by the final one when the next
image of that camera arrives. Memory is bounded for ever. Bad input is reported in the result, and the stream goes on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from worldline.errors import InputError
from worldline.models.driv3r import Driv3r
from worldline.models.pool import CameraStep, RigStream
from worldline.pipeline.stream.assembly import remember, sensor_result
from worldline.pipeline.stream.framing import Framing, cut, squares, whole
from worldline.pipeline.stream.intake import another_size, refused_time, take_images, take_measurements, take_poses
from worldline.pipeline.stream.moving import MotionWatch, motion_is_possible
from worldline.pipeline.stream.options import StreamOptions
from worldline.pipeline.stream.results import FrameResult, SensorResult
from worldline.pipeline.stream.rigs import part_name, parts_of, pool_geometry, rig_of_parts
from worldline.pipeline.stream.static_map import StaticMap
from worldline.pipeline.stream.waiting import Pushed, sensor_map, to_input
from worldline.scene import Scene
from worldline.scene.align.rig import AlignedMap, RigAligner, SensorMap
from worldline.types import MovingObject, Provenance, Rig

log = logging.getLogger("worldline")

_MOST_NOTES = 50  # sentences about a stream that are kept


class StreamSession:
    """A stream in progress. Made by ``worldline.load("driv3r-mini").stream(rig)``."""

    def __init__(
        self,
        network: Driv3r,
        rig: Rig,
        options: StreamOptions | None = None,
        *,
        published: bool = False,
        provenance: Provenance | None = None,
    ) -> None:
        """Start with an empty memory.

        Args:
            network: in eval mode, on its device.
            rig: cameras and what is known of their calibration.
            options: choices.
            published: the weights are published ones, made for 224² crops.
            provenance: recorded in the scene.
        """
        self.network, self.rig, self.options = network, rig, options or StreamOptions()
        self.provenance = provenance or Provenance(model="unknown")
        crops = self.options.framing == "crops" or (self.options.framing == "auto" and published)
        self._crops = crops
        self._framings: dict[str, Framing] = {}
        self._assumed: set[str] = set()  # cameras whose size nobody has told yet
        if rig.sizes is not None:
            for name, size in zip(rig.sensors, rig.sizes, strict=True):
                self._framings[name] = self._plan(size)
        self._pool: RigStream | None = None
        self._aligner: RigAligner | None = None
        self._waiting: dict[str, Pushed] = {}
        self._last: float | None = None
        self._steps = 0
        self._history: deque[tuple[SensorResult, ...]] = deque(maxlen=self.options.keep)
        self._notes: dict[str, None] = {}
        self._motion = self._watch()
        self.static_map = StaticMap(self.options.static_voxel, self.options.static_points)

    def push(
        self,
        timestamp: float,
        images: Mapping[str, Any],
        world_from_rig: Any = None,
        *,
        lidar: Float[np.ndarray, "n 3"] | None = None,
        speed: float | None = None,
    ) -> FrameResult:
        """The images of one moment -> their geometry.

        Args:
            timestamp: seconds, later than all before.
            images: per sensor an RGB array [h, w, 3] uint8 or a file; sensors may be absent.
            world_from_rig: known pose of the rig, 4x4, or one per sensor at that sensor's own time.
            lidar: points in the rig frame, [n, 3 or more], metres; used only where the options say so.
            speed: of the rig in m/s, where known.

        Returns:
            previews of these images, final results of earlier ones, latencies, and what was wrong with the input. A
            push that cannot be used changes nothing and has ``accepted`` False.
        """
        started = time.perf_counter()
        refused = refused_time(timestamp, self._last)
        if refused is not None:
            return FrameResult(self._last or 0.0, -1, False, {}, (), (refused,), time.perf_counter() - started)
        timestamp = float(timestamp)
        intake = take_images(self.rig, images)
        poses, wrong = take_poses(self.rig, world_from_rig)
        lidar, speed, unusable = take_measurements(lidar, speed)
        issues = [*intake.issues, *wrong, *unusable]
        pushed: dict[str, Pushed] = {}
        inputs: dict[str, torch.Tensor] = {}
        for name, image in intake.images.items():
            framing = self._framing_for(name, image.shape[:2], issues)
            if framing is None:
                continue
            merged = cut(image, framing.merged)
            for place, part in enumerate(framing.parts):
                seen = merged if part == framing.merged else cut(image, part)
                inputs[part_name(name, place, framing)] = to_input(seen)
            pushed[name] = Pushed(self._steps, timestamp, started, merged, framing, poses, lidar, speed)
        if not pushed:
            issues.append("no usable image; the push was ignored.")
            return FrameResult(timestamp, -1, False, {}, (), tuple(issues), time.perf_counter() - started)
        timings = {"read": time.perf_counter() - started}
        try:
            ended = self._end_gaps(timestamp, pushed, issues)
            previews, completed = self._advance(timestamp, inputs, pushed, timings)
        except BaseException:  # e.g. out of memory: the network may have gone on, but not what waits for its results
            self._abandon(pushed)
            raise
        latency = time.perf_counter() - started
        previews = {name: replace(each, latency=latency) for name, each in previews.items()}
        self._last, self._steps = timestamp, self._steps + 1
        completed = (*ended, *completed)
        return FrameResult(timestamp, self._steps - 1, True, previews, completed, tuple(issues), latency, timings)

    def finish(self) -> tuple[SensorResult, ...]:
        """End the stream: the previews of the last images become final, as published.

        The session may go on after; then the reference head's results of these images replace them in :meth:`scene`.
        Without previews (``StreamOptions.preview``) the last image of a camera has no result.
        """
        last = tuple(replace(each.preview, preview=False) for each in self._waiting.values() if each.preview)
        if last:
            self._remember(last)
            self._waiting = {name: replace(each, preview=None) for name, each in self._waiting.items()}
        return last

    def scene(self) -> Scene:
        """What is known of the latest :attr:`StreamOptions.keep` steps: final results, and previews of the last images.

        Raises:
            InputError: nothing has been pushed yet.
        """
        final = [result for step in self._history for result in step]
        final += [each.preview for each in self._waiting.values() if each.preview is not None]
        if not final:
            raise InputError("The stream has no result yet.", "Push images first.")
        final.sort(key=lambda result: (result.step, self.rig.index(result.sensor)))
        kinds = {result.scale_kind for result in final}
        return Scene(
            views=tuple(result.to_view() for result in final),
            scale=kinds.pop() if len(kinds) == 1 else "arbitrary",
            provenance=self.provenance,
            warnings=self.notes,
            rig=self.rig,
            objects=self.objects(),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the stream so far, each sentence once."""
        return tuple(self._notes)

    @property
    def last_timestamp(self) -> float | None:
        """Seconds of the last push that was accepted."""
        return self._last

    def objects(self) -> tuple[MovingObject, ...]:
        """Moving things of the stream so far, joined over time and cameras."""
        return () if self._motion is None else self._motion.objects()

    def state(self, path: str | Path | None = None) -> dict[str, torch.Tensor]:
        """Everything that the next push depends on, as flat tensors; with ``path`` also written as safetensors.

        What has been handed out is not part of it: :meth:`scene`, :meth:`objects`, ``notes`` and ``static_map`` of a
        restored session begin empty.
        """
        from worldline.pipeline.stream.state import collect, write

        saved = collect(self)
        if path is not None:
            write(saved, Path(path))
        return saved

    def restore(self, saved: str | Path | Mapping[str, torch.Tensor]) -> None:
        """Go on from a :meth:`state` of a session with the same weights, rig and options.

        Raises:
            InputError: the state is damaged, or of other weights, sensors or options; nothing has changed then.
        """
        from worldline.pipeline.stream.state import put_back, read

        put_back(self, read(Path(saved)) if isinstance(saved, str | Path) else saved)

    def _advance(
        self, timestamp: float, inputs: dict[str, torch.Tensor], pushed: dict[str, Pushed], timings: dict[str, float]
    ) -> tuple[dict[str, SensorResult], tuple[SensorResult, ...]]:
        started = time.perf_counter()
        steps = self._ready().step(inputs, timestamp, preview=self.options.preview)
        timings["network"] = time.perf_counter() - started
        started = time.perf_counter()
        completed = self._complete(steps, pushed)
        previews = self._preview(steps, pushed)
        timings["align"] = time.perf_counter() - started
        started = time.perf_counter()
        if self._motion is not None:
            results = previews if self.options.preview else {each.sensor: each for each in completed}
            images = pushed if self.options.preview else {name: self._waiting[name] for name in results}
            for name, moving in self._motion.look(results).items():
                images[name].moving = moving
                results[name] = replace(results[name], dynamic=moving.dynamic, flow=moving.flow)
            previews, completed = (results, completed) if self.options.preview else ({}, tuple(results.values()))
        timings["motion"] = time.perf_counter() - started
        self._remember(completed)
        for name, each in pushed.items():
            each.preview = previews.get(name)
            self._waiting[name] = each
        return previews, completed

    def _complete(self, steps: Mapping[str, CameraStep], pushed: Mapping[str, Pushed]) -> tuple[SensorResult, ...]:
        """Final results of the images that waited, grouped by their times."""
        ready = [name for name in pushed if name in self._waiting and self._part(steps, name).completed is not None]
        results = []
        for timestamp in sorted({self._waiting[name].timestamp for name in ready}):
            group = {name: self._waiting[name] for name in ready if self._waiting[name].timestamp == timestamp}
            maps = {
                part: sensor_map(steps[part].completed, transform)
                for name, each in group.items()
                for part, transform in parts_of(name, each.framing)
            }
            first = next(iter(group.values()))
            shared = {  # the last images of fragments that end here; their scale goes over to the next ones
                part: one
                for each in group.values()
                for part, one in each.maps.items()
                if maps[part].fragment != one.fragment
            }
            if shared:
                self._align(timestamp, shared, first)
            aligned = self._align(timestamp, maps, first)
            for name, each in group.items():
                report = self._part(steps, name).memory
                results.append(self._result(name, each, aligned, maps, preview=False, memory=report))
        return tuple(results)

    def _preview(self, steps: Mapping[str, CameraStep], pushed: Mapping[str, Pushed]) -> dict[str, SensorResult]:
        """Placed like final results, but the aligner learns from those only."""
        if not self.options.preview:
            return {}
        for name, each in pushed.items():
            each.maps = {
                part: sensor_map(steps[part].preview, transform) for part, transform in parts_of(name, each.framing)
            }
        maps = {part: one for each in pushed.values() for part, one in each.maps.items()}
        assert self._aligner is not None
        before = self._aligner.state()
        first = next(iter(pushed.values()))
        try:
            aligned = self._align(first.timestamp, maps, first)
        finally:
            self._aligner.restore(before)
        return {name: self._result(name, each, aligned, maps, preview=True) for name, each in pushed.items()}

    def _align(self, timestamp: float, maps: Mapping[str, SensorMap], of: Pushed) -> Mapping[str, AlignedMap]:
        assert self._aligner is not None
        poses = of.poses
        if isinstance(poses, dict):
            parts = {name: parts_of(name, self._framings[name]) for name in poses}
            poses = {part: poses[name] for name in parts for part, _ in parts[name] if part in maps}
        return self._aligner.update(timestamp, maps, poses, lidar=of.lidar, speed=of.speed)

    def _result(
        self,
        name: str,
        pushed: Pushed,
        aligned: Mapping[str, AlignedMap],
        maps: Mapping[str, SensorMap],
        *,
        preview: bool,
        memory: Any = None,
    ) -> SensorResult:
        parts = [part for part, _ in parts_of(name, pushed.framing)]
        result = sensor_result(
            name,
            pushed.framing,
            [aligned[part] for part in parts],
            [maps[part].confidence for part in parts],
            image=pushed.image,
            timestamp=pushed.timestamp,
            step=pushed.step,
            preview=preview,
            confidence_percent=self.options.confidence_percent,
            latency=time.perf_counter() - pushed.arrived,
        )
        for note in result.notes[: _MOST_NOTES - len(self._notes)]:
            self._notes[f"{name}: {note}"] = None
        return replace(result, memory=memory, dynamic=pushed.moving.dynamic, flow=pushed.moving.flow)

    def _remember(self, results: tuple[SensorResult, ...]) -> None:
        if results:
            remember(self._history, results)
            for result in results:
                self.static_map.add(result)

    def _framing_for(self, name: str, size: tuple[int, int], issues: list[str]) -> Framing | None:
        """How to cut a photo; None where it does not fit what is known of the camera."""
        known = self._framings.get(name)
        if known is None:
            known = self._framings[name] = self._plan(size)
        expected = known.merged.original_size
        if tuple(size) == expected:
            self._assumed.discard(name)
            return known
        if name in self._assumed and len((own := self._plan(size)).parts) == len(known.parts):
            self._assumed.discard(name)
            self._framings[name] = own
            return own
        usable, issue = another_size(name, size, expected)
        issues.append(issue)
        return known if usable else None

    def _plan(self, size: tuple[int, int]) -> Framing:
        if self._crops:
            return squares(size, self.options.square)
        return whole(size, self.options.pixels)

    def _watch(self) -> MotionWatch | None:
        """What finds motion; None where it is not wanted, or not installed and not asked for."""
        options = self.options
        if options.motion or (options.motion is None and motion_is_possible(options.flow)):
            return MotionWatch(options.flow)
        if options.motion is None:
            self._notes["What moves is not known: pip install 'worldline[motion]' adds what it needs."] = None
        return None

    def _part(self, steps: Mapping[str, CameraStep], name: str) -> CameraStep:
        return steps[part_name(name, 0, self._framings[name])]

    def _end_gaps(self, timestamp: float, pushed: Mapping[str, Pushed], issues: list[str]) -> tuple[SensorResult, ...]:
        """Cameras that were away begin new fragments; their waiting images keep their previews as final results."""
        ended = []
        for name in pushed:
            waiting = self._waiting.get(name)
            if waiting is None or timestamp - waiting.timestamp <= self.options.max_gap:
                continue
            issues.append(f"{name}: no image for {timestamp - waiting.timestamp:.1f} s; the camera starts anew.")
            if waiting.preview is not None:
                ended.append(replace(waiting.preview, preview=False))
            self._start_anew(name)
        self._remember(tuple(ended))
        return tuple(ended)

    def _start_anew(self, name: str) -> None:
        """A camera forgets what it has seen; its next image is a first one."""
        self._waiting.pop(name, None)
        assert self._pool is not None
        for part, _ in parts_of(name, self._framings[name]):
            self._pool.restart(part)
        if self._motion is not None:
            self._motion.forget(name)

    def _abandon(self, pushed: Mapping[str, Pushed]) -> None:
        """After a step that broke off nobody knows what its cameras remember: they start anew."""
        if self._pool is not None:
            for name in pushed:
                self._start_anew(name)

    def _ready(self) -> RigStream:
        """Memory pool and aligner, made with the first images. Absent cameras are taken to be like the first."""
        if self._pool is None or self._aligner is None:
            first = next(iter(self._framings.values()))
            self._assumed = set(self.rig.sensors) - set(self._framings)
            self._framings = {name: self._framings.get(name, first) for name in self.rig.sensors}
            rig = rig_of_parts(self.rig, self._framings)
            neighbors, relative = pool_geometry(self.rig, self._framings)
            memory = self.options.memory or self.network.memory
            official = self.options.mode == "official"
            pool = self.options.pool.official(memory) if official else self.options.pool
            self._pool = RigStream(
                self.network, rig.sensors, neighbors={} if official else neighbors, relative=relative, options=pool
            )
            self._aligner = RigAligner(rig, self.options.align)
        return self._pool
