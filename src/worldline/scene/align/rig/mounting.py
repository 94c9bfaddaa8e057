"""How two bodies that move as one are mounted on each other, from their motions: hand-eye calibration, A X = X B.

A is a motion of the first body (a rig whose poses are given, or another camera), B the same motion of a camera in
its own unit, X = a_from_b. Rotation: R_A = R_X R_B R_X^T, so turns show it through their axes. Translation:
t_A + (R_A - 1) t_X = s R_X t_B, so straight ways show the rotation through their directions, the unit s, and turns
the lever arm t_X. Everything is one robust least-squares problem, started by Wahba's; its covariance says what the
motions could show and what not: about a straight way the camera may be rolled, and a turn in a plane says nothing
about the height of the lever arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from worldline.geometry import nearest_rotation
from worldline.scene.align.rig.records import rigid

TURN_SIGMA = np.radians(0.3)  # of an estimated turn, per axis
DRIFT = 0.02  # error of a way in parts of it; the same throughout a fragment, so it does not average out
_LOOSE = np.radians(60.0)  # rotation before anything is known; only keeps the equations solvable
_ROUNDS = 8
_CAUCHY = 2.0  # standard deviations at which a row counts half
_CLEAR = 4.0  # turns of estimated motions below this many sigmas show nothing
_FEWEST = 3


class Motions(NamedTuple):
    """Motions of a body and of a camera on it over the same time; one row each."""

    turn_a: Float64[np.ndarray, "n 3"]  # rotation vectors
    way_a: Float64[np.ndarray, "n 3"]  # metres, or the unit of the first camera
    turn_b: Float64[np.ndarray, "n 3"]
    way_b: Float64[np.ndarray, "n 3"]  # units of the camera's fragment
    noise_a: Float64[np.ndarray, "n"]  # standard deviation per axis, unit of way_a; 0 for given poses
    noise_b: Float64[np.ndarray, "n"]  # unit of way_b
    group: Int64[np.ndarray, "n"]  # motions of one group share one unit, and the errors that last
    height: Float64[np.ndarray, "n 2"]  # of the camera above the road (units) and its relative variance, or NaN

    def rows(self, keep: np.ndarray) -> Motions:
        """Some of the rows."""
        return Motions(*(each[keep] for each in self))


@dataclass(frozen=True)
class Mounting:
    """What motions say of X = a_from_b."""

    a_from_b: Float64[np.ndarray, "4 4"]  # lever arm in the unit of ``Motions.way_a``
    covariance: Float64[np.ndarray, "6 6"]  # small rotation (radians) and lever arm, both along the axes of a
    groups: Int64[np.ndarray, "group"]
    log_scales: Float64[np.ndarray, "group"]  # units of a per unit of b
    log_sigmas: Float64[np.ndarray, "group"]
    turn_error: float  # median angle between turns, radians
    way_error: float  # median length between ways, unit of a

    @property
    def rotation_sigma(self) -> float:
        """Standard uncertainty of the rotation about its least known axis, radians."""
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance[:3, :3])[-1]))

    @property
    def lever_sigmas(self) -> Float64[np.ndarray, "3"]:
        """Standard uncertainties of the lever arm along the axes of a."""
        sigmas: Float64[np.ndarray, "3"] = np.sqrt(np.diag(self.covariance)[3:])
        return sigmas

    def difference(self, other: Float64[np.ndarray, "4 4"]) -> tuple[float, float, float]:
        """How far a mounting is from this one: degrees, metres, standard deviations, as far as it is observable.

        Directions that the motions do not show carry no weight: each principal direction counts by its own sigma.
        """
        change = np.r_[
            rotation_vector(other[:3, :3] @ self.a_from_b[:3, :3].T), other[:3, 3] - self.a_from_b[:3, 3]
        ]  # fmt: skip
        worst, parts = 0.0, []
        for block in (slice(0, 3), slice(3, 6)):
            values, vectors = np.linalg.eigh(self.covariance[block, block])
            along = change[block] @ vectors
            ratio = np.abs(along) / np.sqrt(values)
            worst = max(worst, float(ratio.max()))
            limit = np.radians(10.0) if block.start == 0 else 0.5
            parts.append(float(np.linalg.norm(along[np.sqrt(values) < limit])))
        return float(np.degrees(parts[0])), parts[1], worst


def estimate_mounting(
    motions: Motions, lever_sigma: float, ground: float | None = None, around: Mounting | None = None
) -> Mounting | None:
    """Rotation, lever arm and units from motions; None where there are too few.

    Args:
        lever_sigma: standard deviation of the lever arm before anything is known, about zero (or ``around``), unit
            of ``way_a``. It stays the uncertainty of every part that the motions do not show.
        ground: height of the road in frame a; then the heights of the motions are used.
        around: what is known already, to a loose ten degrees and ``lever_sigma``; None: nothing.
    """
    if len(motions.group) < _FEWEST:
        return None
    groups, members = np.unique(motions.group, return_inverse=True)
    scales = _first_scales(motions, members, len(groups))
    rotation, lever = _wahba(motions, scales[members], lever_sigma), np.zeros(3)
    loose, center = _LOOSE, np.eye(4)
    if around is not None:
        center, loose = around.a_from_b, np.radians(10.0)
        rotation, lever = center[:3, :3].copy(), center[:3, 3].copy()
    problem = _Problem(
        motions, members, len(groups), _levers(motions), lever_sigma, loose, center, around is not None, ground
    )
    for _ in range(_ROUNDS):
        normal, right, chi2 = problem.linearise(rotation, lever, scales)
        change = np.linalg.solve(normal, right)
        angle = float(np.linalg.norm(change[:3]))
        rotation = rotation_matrix(change[:3] * min(1.0, 0.5 / max(angle, 1e-12))) @ rotation
        lever = lever + change[3:6]
        scales = scales * np.exp(np.clip(change[6:], -0.5, 0.5))
        if angle < 1e-5 and np.abs(change[3:6]).max() < 1e-4 * lever_sigma:
            break
    covariance = np.linalg.inv(normal) * max(1.0, chi2)
    turn, way, _ = problem.residuals(rotation, lever, scales)
    return Mounting(
        rigid(rotation, lever), covariance[:6, :6], groups, np.log(scales), np.sqrt(np.diag(covariance)[6:]),
        float(np.median(np.linalg.norm(turn, axis=1))), float(np.median(np.linalg.norm(way, axis=1))),
    )  # fmt: skip


@dataclass(frozen=True)
class _Problem:
    """The least-squares problem of :func:`estimate_mounting`."""

    motions: Motions
    members: np.ndarray
    count: int  # groups
    levers: np.ndarray  # R_A - 1
    lever_sigma: float
    loose: float
    center: np.ndarray
    around: bool
    ground: float | None

    def residuals(self, rotation: np.ndarray, lever: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of turns (radians), of ways, and the ways of b in a."""
        motions = self.motions
        moved = scales[self.members, None] * (motions.way_b @ rotation.T)
        turn = motions.turn_a - motions.turn_b @ rotation.T
        return turn, motions.way_a + self.levers @ lever - moved, moved

    def linearise(
        self, rotation: np.ndarray, lever: np.ndarray, scales: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Normal equations, and the mean of the normalised squares."""
        motions, size, n = self.motions, 6 + self.count, len(self.members)
        turn, way, moved = self.residuals(rotation, lever, scales)
        noise = np.hypot(motions.noise_a, scales[self.members] * motions.noise_b)
        both = np.sqrt(1.0 + (motions.noise_a > 0))
        fellows = np.bincount(self.members, minlength=self.count)[self.members]
        way_var = np.square(noise) + fellows * np.square(both * DRIFT) * np.square(moved).sum(1) / 3 + 1e-12
        turn_var = np.square(both * TURN_SIGMA) + np.square(DRIFT) * np.square(motions.turn_a).sum(1)
        jac = np.zeros((2, n, 3, size))  # of the predictions, so residuals are fitted by jac @ change
        jac[0, :, :, :3] = -_cross(_clear_turns(motions))
        clear = _clear_ways(motions, motions.way_a + self.levers @ lever)
        jac[1, :, :, :3] = -_cross(clear)
        jac[1, :, :, 3:6] = -self.levers
        jac[1, np.arange(n), :, 6 + self.members] = clear
        normal, right = self._prior(rotation, lever, size)
        total, dof = 0.0, 0
        for part, residual, variance in zip(jac, (turn, way), (turn_var, way_var), strict=True):
            squares = np.square(residual).sum(1) / variance
            weights = 1.0 / (variance * (1.0 + squares / (3 * _CAUCHY**2)))
            flat = part.reshape(-1, size)
            weighted = flat * np.repeat(weights, 3)[:, None]
            normal += weighted.T @ flat
            right += weighted.T @ residual.reshape(-1)
            total, dof = total + float((squares / (1 + squares / (3 * _CAUCHY**2))).sum()), dof + 3 * n
        self._stand(lever, scales, normal, right)
        return normal, right, total / max(dof - size, 1)

    def _prior(self, rotation: np.ndarray, lever: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        precision = np.r_[np.full(3, 1 / self.loose**2), np.full(3, 1 / self.lever_sigma**2), np.full(size - 6, 1e-2)]
        pull = np.zeros(size)
        pull[3:6] = precision[3:6] * (self.center[:3, 3] - lever)
        if self.around:
            pull[:3] = precision[:3] * rotation_vector(self.center[:3, :3] @ rotation.T)
        return np.diag(precision), pull

    def _stand(self, lever: np.ndarray, scales: np.ndarray, normal: np.ndarray, right: np.ndarray) -> None:
        """The camera stands above the road as high as its own map says: the height of the lever arm."""
        height, variance = self.motions.height.T
        usable = np.isfinite(height) & np.isfinite(variance)
        if self.ground is None or not usable.any():
            return
        for group in np.unique(self.members[usable]):
            rows = usable & (self.members == group)
            told = scales[group] * float(np.median(height[rows]))
            sigma2 = told**2 * (float(np.median(variance[rows])) / min(rows.sum(), 4) + 0.02**2)
            residual = told + self.ground - lever[2]
            weight = 1.0 / (sigma2 * (1 + residual**2 / (sigma2 * _CAUCHY**2)))
            jac = np.zeros(len(normal))
            jac[5], jac[6 + group] = 1.0, -told
            normal += weight * np.outer(jac, jac)
            right += weight * jac * residual


def unobserved(
    covariance: Float64[np.ndarray, "6 6"], way: Float64[np.ndarray, "3"], rotation_limit: float, lever_limit: float
) -> str:
    """What the motions so far do not show, in words; empty where everything is known well enough.

    Args:
        covariance: of a :class:`Mounting`.
        way: usual direction of travel in a.
        rotation_limit: radians.
        lever_limit: unit of the lever arm.
    """
    missing = []
    values, vectors = np.linalg.eigh(covariance[:3, :3])
    if np.sqrt(values[-1]) > rotation_limit:
        along = abs(float(vectors[:, -1] @ way)) > 0.9
        about = " about the direction of travel (a turn would show it)" if along else ""
        missing.append(f"its rotation{about} (± {np.degrees(min(np.sqrt(values[-1]), _LOOSE)):.1f}°)")
    sigmas = np.sqrt(np.diag(covariance)[3:])
    vague = np.flatnonzero(sigmas > lever_limit)
    if len(vague):
        missing.append("its lever arm along " + ", ".join(f"{'xyz'[i]} (± {sigmas[i]:.2g})" for i in vague))
    return " and ".join(missing)


def rotation_vector(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3"]:
    """Axis times angle (radians, up to pi)."""
    skew = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = float(np.linalg.norm(skew)), 0.5 * (float(np.trace(rotation)) - 1.0)
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return skew * (angle / sine)
    if cosine > 0:
        return skew
    column = np.argmax(np.diag(rotation))  # half a turn: R = 2 a a^T - 1
    axis = rotation[:, column] + np.eye(3)[column]
    half: Float64[np.ndarray, "3"] = np.pi * axis / np.linalg.norm(axis)
    return half


def rotation_matrix(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Rotation by a rotation vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    cross = _cross(np.asarray(vector)[None])[0]
    matrix: Float64[np.ndarray, "3 3"] = (
        np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross
    )
    return matrix


def _cross(vectors: np.ndarray) -> Float64[np.ndarray, "n 3 3"]:
    """Matrices of the cross product v × ."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def _clear_turns(motions: Motions) -> Float64[np.ndarray, "n 3"]:
    """Turns of a that are more than noise: what noise alone gives must not count as something that was observed."""
    noisy = (motions.noise_a > 0) & (np.linalg.norm(motions.turn_a, axis=1) < _CLEAR * TURN_SIGMA)
    return np.where(noisy[:, None], 0.0, motions.turn_a)


def _clear_ways(motions: Motions, ways: np.ndarray) -> Float64[np.ndarray, "n 3"]:
    """Ways of the camera in a, without sideways parts that are no more than noise: they would seem to show the roll."""
    main = np.linalg.svd(ways, full_matrices=False)[2][0]
    along = (ways @ main)[:, None] * main
    aside = np.linalg.norm(ways - along, axis=1)
    noise = np.hypot(motions.noise_a, DRIFT * np.linalg.norm(ways, axis=1))
    noisy = (motions.noise_a > 0) & (aside < _CLEAR * noise)
    return np.where(noisy[:, None], along, ways)


def _levers(motions: Motions) -> Float64[np.ndarray, "n 3 3"]:
    """R_A - 1, of clear turns."""
    turns = _clear_turns(motions)
    angle, cross = np.linalg.norm(turns, axis=1)[:, None, None], _cross(turns)
    levers: Float64[np.ndarray, "n 3 3"] = (
        np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross
    )
    return levers


def _first_scales(motions: Motions, members: np.ndarray, count: int) -> Float64[np.ndarray, "group"]:
    """Ratio of the ways; 1 where a group has none."""
    known, own = (
        np.bincount(members, np.linalg.norm(way, axis=1), count) for way in (motions.way_a, motions.way_b)
    )  # fmt: skip
    ratios: Float64[np.ndarray, "group"] = np.where((known > 0) & (own > 0), known / np.where(own > 0, own, 1), 1.0)
    return ratios


def _wahba(motions: Motions, scales: np.ndarray, lever_sigma: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation that takes axes of turns and directions of ways of b to those of a (robustly)."""
    length = np.linalg.norm(motions.way_a, axis=1)
    angle = np.linalg.norm(motions.turn_a, axis=1)
    noise = np.hypot(motions.noise_a, scales * motions.noise_b) + angle * lever_sigma
    direction = np.square(noise / np.maximum(length, 1e-9)) + DRIFT**2
    clear = _clear_turns(motions)
    a = np.concatenate([clear, _unit(motions.way_a)])
    b = np.concatenate([motions.turn_b * clear.any(1, keepdims=True), _unit(motions.way_b)])
    base = np.r_[np.full(len(angle), 1 / TURN_SIGMA**2), 1 / direction]
    weights = base
    rotation = np.eye(3)
    for _ in range(5):
        matrix = (a * weights[:, None]).T @ b
        # a trace of the identity decides what nothing else does: the roll about a straight way
        matrix += 1e-4 * np.linalg.norm(matrix) * np.eye(3)
        rotation = nearest_rotation(torch.from_numpy(matrix)).numpy()
        weights = base / (1 + base * np.square(a - b @ rotation.T).sum(1) / _CAUCHY**2)
    return rotation


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
