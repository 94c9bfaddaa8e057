"""Streaming placement of a rig's pointmaps in one metric frame, without LiDAR and without optimisation.

Per image: the camera that the map implies (camera.py), then eq. 5 of Driv3R into the known camera. Per stream and
fragment: one scale, from everything that a car knows (evidence.py, factors.py, fusion.py). docs/rig_alignment.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64

from worldline.errors import InputError
from worldline.scene.align.rig.calibration import RigCalibration, calibration_of
from worldline.scene.align.rig.camera import EstimatedCamera, estimate_camera, to_known_camera, usable_pixels
from worldline.scene.align.rig.evidence import Seen, Vote
from worldline.scene.align.rig.fusion import Fused
from worldline.scene.align.rig.motion import Claim, average_poses, rig_motion, scaled
from worldline.scene.align.rig.mounts import RIG, Mounts
from worldline.scene.align.rig.records import AlignedMap, AlignOptions, PoseStatus, SensorMap, as_array, inverse
from worldline.scene.align.rig.scale import Step, estimate_scales
from worldline.scene.align.rig.state import METRIC, NOTHING, UNIT, RigState, StreamState, pack, unpack
from worldline.scene.cameras import MIN_INLIER_SHARE
from worldline.scene.scene import SCALES
from worldline.types import Camera, ImageTransform, Rig

Poses = Float64[np.ndarray, "4 4"] | Mapping[str, Float64[np.ndarray, "4 4"]]
Lidar = Float[np.ndarray, "n 3"] | Mapping[str, Float[np.ndarray, "n 3"]]

_SURE = 0.1  # standard deviation of a log scale from which on given motion predicts a pose


class RigAligner:
    """Pointmaps of the sensors of one rig, step by step, into one frame.

    Args:
        rig: what is known of the cameras; everything but their names may be missing.
        options: sources of scale to use, and how cameras are estimated.

    The world frame is that of the given rig poses; without any it is the rig at the first step (axes of the rig).
    Mountings that are not given are estimated from the motion; until it shows them, every sensor stays in the frame of
    its own first anchor. Without given poses, the world is then the frame of the first sensor's first anchor.
    """

    def __init__(self, rig: Rig, options: AlignOptions | None = None) -> None:
        self.rig = rig
        self.options = options or AlignOptions()
        self._streams = [StreamState() for _ in rig.sensors]
        self._state = RigState(pairs=np.zeros((2, len(rig), len(rig), 2, 3)))
        self._mounts = Mounts(rig, self.options)

    @property
    def scale(self) -> str:
        """How the unit of length is fixed at present, one of ``scene.SCALES``."""
        return SCALES[self._state.kind]

    def update(
        self,
        timestamp: float,
        maps: Mapping[str, SensorMap],
        world_from_rig: Poses | None = None,
        lidar: Lidar | None = None,
        speed: float | None = None,
    ) -> dict[str, AlignedMap]:
        """Place the maps of one step.

        Args:
            timestamp: seconds. The image that two fragments share may be given twice with the same timestamp, first
                as the last of the old fragment, then as the anchor of the new one.
            maps: of any subset of the sensors.
            world_from_rig: pose of the rig, or that at each sensor's own time.
            lidar: points in the rig frame, metres; or those at each sensor's own time. Used with ``options.lidar``.
            speed: of the origin of the rig, m/s.

        Returns:
            one aligned map per given map.

        Raises:
            InputError: an unknown sensor, a map of the wrong shape, or a pose or number that is not finite.
        """
        given = self._given_poses(maps, world_from_rig)
        if not np.isfinite(timestamp) or (speed is not None and not np.isfinite(speed)):
            raise InputError("The timestamp or the speed is not a finite number.", "Give seconds and m/s, or no speed.")
        self._drive(float(timestamp), speed)
        self._choose_base(given, [self.rig.index(name) for name in maps])
        notes: dict[str, list[str]] = {name: [] for name in maps}
        fresh: list[int] = []
        seen: dict[int, Seen] = {}
        for name, each in maps.items():
            index = self.rig.index(name)
            if self._enter(index, each):
                fresh.append(index)
            seen[index] = self._see(index, name, each, given.get(index), notes[name])
        mounts = self._mounts.in_use()
        self._displace(mounts)
        rigs = self._locate(float(timestamp), seen, given, fresh, notes)
        lidars = self._lidar(lidar, seen)
        step = Step(float(timestamp), seen, given, rigs, mounts, frozenset(fresh), lidars, speed is not None)
        fused = estimate_scales(self.rig, self.options, self._streams, self._state, step)
        if not given:
            rigs = self._locate(float(timestamp), seen, given, fresh, None)
        aligned = {
            name: self._place(name, each, seen[self.rig.index(name)], rigs, given, fused, notes[name])
            for name, each in maps.items()
        }
        self._remember(float(timestamp), seen, rigs, given, aligned)
        self._calibrate(float(timestamp), seen, given, aligned, fresh)
        return aligned

    def calibration(self) -> RigCalibration:
        """Mountings and intrinsics as estimated or given, how well they are known, and whether the motion agrees."""
        return calibration_of(self._mounts, self._streams)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the aligner remembers, as arrays of fixed sizes; for :meth:`restore`."""
        arrays = pack("rig", self._state)
        for name, stream in zip(self.rig.sensors, self._streams, strict=True):
            arrays |= pack(f"sensor.{name}", stream)
        return arrays | self._mounts.state()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue where the aligner stood that gave :meth:`state`.

        Raises:
            InputError: the state belongs to another rig.
        """
        state, streams = RigState(pairs=np.zeros_like(self._state.pairs)), [StreamState() for _ in self.rig.sensors]
        unpack("rig", state, arrays)
        for name, stream in zip(self.rig.sensors, streams, strict=True):
            unpack(f"sensor.{name}", stream, arrays)
        self._mounts.restore(arrays)
        self._state, self._streams = state, streams

    def _given_poses(self, maps: Mapping[str, SensorMap], poses: Poses | None) -> dict[int, Float64[np.ndarray, "4 4"]]:
        """Given world_from_rig per sensor index."""
        if poses is None:
            return {}
        by_name = poses if isinstance(poses, Mapping) else dict.fromkeys(maps, poses)
        given = {self.rig.index(name): np.asarray(by_name[name], np.float64) for name in maps if name in by_name}
        for pose in given.values():
            if pose.shape != (4, 4) or not np.isfinite(pose).all():
                raise InputError("A pose of the rig is not a finite 4×4 matrix.", "Give world_from_rig as 4×4.")
        return given

    def _lidar(self, lidar: Lidar | None, seen: Mapping[int, Seen]) -> dict[int, np.ndarray]:
        """LiDAR points in camera axes, per sensor."""
        mounts = self.rig.rig_from_cam
        if lidar is None or mounts is None or not self.options.lidar:
            return {}
        by_index = {}
        for index in seen:
            points = lidar.get(self.rig.sensors[index]) if isinstance(lidar, Mapping) else lidar
            if points is not None and len(points):
                by_index[index] = (as_array(points)[:, :3] - mounts[index][:3, 3]) @ mounts[index][:3, :3]
        return by_index

    def _drive(self, timestamp: float, speed: float | None) -> None:
        """Count the way that the wheels report."""
        state = self._state
        elapsed = timestamp - state.time
        if elapsed < 0:
            return  # of an image that waited for its camera: the way to it was counted then
        if speed is not None and elapsed > 0:
            before = state.speed if np.isfinite(state.speed) else speed
            state.odometer += 0.5 * (before + speed) * elapsed
        state.speed = np.nan if speed is None else float(speed)

    def _enter(self, index: int, each: SensorMap) -> bool:
        """Whether this map opens a fragment."""
        stream = self._streams[index]
        if stream.started and stream.fragment == each.fragment and not each.is_anchor:
            return False
        stream.open(each.fragment)
        self._state.forget(index)
        return True

    def _see(self, index: int, name: str, each: SensorMap, given: np.ndarray | None, notes: list[str]) -> Seen:
        """The camera of a map, and the map in the known camera."""
        points, confidence = as_array(each.points), as_array(each.confidence)
        if points.shape != (*each.transform.model_size, 3) or confidence.shape != points.shape[:2]:
            raise InputError(
                f"The map of {name} has shape {points.shape}, its image is {each.transform.model_size}.",
                "Give points [H, W, 3] and confidence [H, W] of the image that the transform made.",
            )
        stream, options = self._streams[index], self.options
        known = self.known_intrinsics(index, each.transform)
        focal = stream.focal if np.isfinite(stream.focal) else None
        mask = usable_pixels(points, confidence, each.transform, options.confidence_percent)
        camera = estimate_camera(
            points, confidence, known, focal, transform=each.transform, is_anchor=each.is_anchor, options=options,
            mask=mask,
        )  # fmt: skip
        if each.is_anchor or not np.isfinite(stream.focal):
            stream.focal = float(camera.intrinsics[0, 0])
        sure = stream.status == METRIC and stream.variance < _SURE**2
        predictable = sure and given is not None and index in self._mounts.in_use() and not each.is_anchor
        if camera.failed or (predictable and camera.inlier_share < options.predict_below):
            camera = self._predict(index, camera, given)
            why = "No camera explains" if camera.inlier_share < MIN_INLIER_SHARE else "Hardly any camera explains"
            notes.append(f"{why} the points; the pose is predicted.")
        elif camera.inlier_share < 0.3:
            notes.append("Few of the points agree with one camera.")
        intrinsics = camera.intrinsics if known is None else known
        local = to_known_camera(points, camera, intrinsics, rays=options.rays)
        depth = local[..., 2]
        valid = np.isfinite(local).all(-1) & (depth > 0) & each.transform.inside
        depth = np.where(valid, depth, 0.0).astype(np.float32)
        usable = valid & mask
        median = float(np.median(depth[usable])) if usable.any() else 0.0
        return Seen(index, intrinsics, camera, depth, usable, np.where(valid[..., None], local, 0.0), median)

    def known_intrinsics(self, index: int, transform: ImageTransform) -> Float64[np.ndarray, "3 3"] | None:
        """Calibrated intrinsics in model pixels."""
        if self.rig.intrinsics is None:
            return None
        return transform.model_from_original @ self.rig.intrinsics[index]

    def _predict(self, index: int, camera: EstimatedCamera, given: np.ndarray | None) -> EstimatedCamera:
        """T_e from the given motion and the scale so far, or that of the last frame."""
        stream, mount = self._streams[index], self._mounts.in_use().get(index)
        pose = stream.pose if np.isfinite(stream.pose).all() else np.eye(4)
        if given is not None and mount is not None and np.isfinite(stream.reference_rig).all():
            moved = inverse(mount) @ inverse(stream.reference_rig) @ given @ mount
            pose = stream.reference @ scaled(moved, float(np.exp(-stream.mean)))
        return EstimatedCamera(camera.intrinsics, pose, camera.inlier_share, failed=True)

    def _locate(
        self,
        timestamp: float,
        seen: Mapping[int, Seen],
        given: Mapping[int, np.ndarray],
        fresh: list[int],
        notes: Mapping[str, list[str]] | None,
    ) -> dict[int, Float64[np.ndarray, "4 4"]]:
        """world_from_rig at this step, per sensor: given, or what the cameras say together."""
        mounts = self._mounts.in_use()
        claims = []
        for index, each in seen.items():
            stream = self._streams[index]
            if index not in mounts or index in fresh or each.camera.failed:
                continue
            if not np.isfinite(stream.reference_rig).all():
                continue
            scale = float(np.exp(stream.mean))
            motion = rig_motion(stream.reference, each.camera.anchor_from_cam, scale, mounts[index])
            claims.append(Claim(stream.reference_rig @ motion, max(each.camera.inlier_share, 0.05)))
        common = average_poses(claims) if claims else self._state.rig
        lost = not claims and self._state.posed and timestamp != self._state.time and len(given) < len(seen)
        if lost and notes is not None:
            for name in notes:
                if self.rig.index(name) in mounts:
                    notes[name].append("The motion since the last step is not known; the rig is taken to stand.")
        return {
            index: given.get(index, common) if index in mounts else self._locate_alone(index, seen[index])
            for index in seen
        }

    def _locate_alone(self, index: int, each: Seen) -> Float64[np.ndarray, "4 4"]:
        """Pose of a camera of unknown mounting in its own frame."""
        stream = self._streams[index]
        if not np.isfinite(stream.reference_rig).all():
            return stream.placed if np.isfinite(stream.placed).all() else np.eye(4)
        moved = inverse(stream.reference) @ each.camera.anchor_from_cam
        return stream.reference_rig @ scaled(moved, float(np.exp(stream.mean)))

    def _place(
        self,
        name: str,
        each: SensorMap,
        seen: Seen,
        rigs: Mapping[int, np.ndarray],
        given: Mapping[int, np.ndarray],
        fused: Fused,
        notes: list[str],
    ) -> AlignedMap:
        """Eq. 5 with the scale."""
        index, mounts = seen.sensor, self._mounts.in_use()
        scale = float(np.exp(fused.mean[index]))
        pose = rigs[index] @ mounts.get(index, np.eye(4))
        metric = bool(fused.known[index])
        if not metric:
            notes.append("scale: arbitrary; nothing fixes the unit of length.")
        valid = seen.depth > 0
        local = seen.points * np.float32(scale)  # 0 where invalid
        points = local @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
        alone = index not in mounts or self._mounts.waiting
        told = self._mounts.note(index, self._streams)
        if told:
            notes.append(told)
        status: PoseStatus = "given" if index in given and self._mounts.given else "estimated"
        if seen.camera.failed and status == "estimated":
            status = "failed"
        model = Camera(seen.intrinsics, pose, *each.transform.model_size)
        return AlignedMap(
            points=points, depth=scale * seen.depth, valid=valid, camera=model.to_original(each.transform),
            scale=scale, scale_sigma=float(np.sqrt(fused.variance[index])),
            scale_kind=SCALES[self._state.kind] if metric else "arbitrary", pose_status=status,
            frame=f"own:{name}" if alone else "world", inlier_share=seen.camera.inlier_share,
            sources=fused.shares[index], notes=tuple(notes),
        )  # fmt: skip

    def _remember(
        self,
        timestamp: float,
        seen: Mapping[int, Seen],
        rigs: Mapping[int, np.ndarray],
        given: Mapping[int, np.ndarray],
        aligned: Mapping[str, AlignedMap],
    ) -> None:
        """Where the next step goes on."""
        state, mounts = self._state, self._mounts.in_use()
        late = timestamp < state.time
        behind = (state.time - timestamp) * state.speed if late and np.isfinite(state.speed) else 0.0  # metres
        for index, each in seen.items():
            stream = self._streams[index]
            stream.time, stream.pose = timestamp, each.camera.anchor_from_cam.copy()
            stream.placed = aligned[self.rig.sensors[index]].world_from_cam.copy()
            sampled, usable, _ = each.sample()
            stream.points = np.where(usable[:, None], sampled, 0.0).astype(np.float32)
            stream.step(timestamp, state.odometer - behind, stream.pose)
            fixed = index in given and index in mounts
            if (fixed or not np.isfinite(stream.reference_rig).all()) and not each.camera.failed:
                stream.reference, stream.reference_rig = stream.pose.copy(), rigs[index].copy()
        located = [rigs[index] for index in rigs if index in mounts]
        if located and not late:
            state.rig, state.posed = located[0].copy(), 1
        state.time, state.steps = state.time if late else timestamp, state.steps + 1

    def _choose_base(self, given: Mapping[int, np.ndarray], seen: list[int]) -> None:
        """What unknown mountings refer to. When poses come to a stream that had none, the frames of all sensors end."""
        if self._mounts.choose_base(bool(given), seen) and not self._mounts.given:
            self._state.posed = 0
            for stream in self._streams:
                stream.reference[:], stream.reference_rig[:], stream.placed[:] = np.nan, np.nan, np.nan

    def _displace(self, mounts: Mapping[int, np.ndarray]) -> None:
        """Displacements of cameras with estimated mountings, anew with the estimate in use."""
        if self._mounts.given or self._mounts.base != RIG:
            return
        for index in mounts:
            stream = self._streams[index]
            rows = self._mounts.displacements(index, stream.fragment)[-len(stream.ego) :]
            stream.ego[:] = np.nan
            stream.ego[len(stream.ego) - len(rows) :] = rows

    def _calibrate(
        self,
        timestamp: float,
        seen: Mapping[int, Seen],
        given: Mapping[int, np.ndarray],
        aligned: Mapping[str, AlignedMap],
        fresh: list[int],
    ) -> None:
        """Gather motions; sensors whose mounting is known by now belong to the world from the next step on."""
        for index in fresh:
            camera = aligned[self.rig.sensors[index]].camera
            self._mounts.learn_focal(index, camera.intrinsics, (camera.height, camera.width))
        self._mounts.gather(timestamp, self._streams, seen, given)
        for index, unit in self._mounts.refresh(self._state.steps, self._streams).items():
            self._join(index, unit, given.get(index, self._state.rig))

    def _join(self, index: int, unit: Vote, rig: Float64[np.ndarray, "4 4"]) -> None:
        """Move a sensor from its own frame into the world."""
        stream, base = self._streams[index], self._mounts.base
        stream.placed = rig @ self._mounts.sensors[index].mount
        stream.reference, stream.reference_rig = stream.pose.copy(), rig.copy()
        if base == RIG:
            return
        # its unit so far was its own; the motions tell its ratio to that of the base
        stream.previous_status, stream.status, stream.mean = NOTHING, UNIT, unit.mean
        first, second = sorted((base, index))
        self._state.tie(first, second, self._streams[first].mean - self._streams[second].mean, unit.variance)
