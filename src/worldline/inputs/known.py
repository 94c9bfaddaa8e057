"""What a user knows about the cameras: one value for all photos, or one for each, some of them missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.zips import leads_out

_RIGID_TOLERANCE = 1e-3


def known_intrinsics(given: Any, count: int) -> list[Float64[np.ndarray, "3 3"] | None]:
    """One ``[3, 3]`` for all, or ``count`` of them with None where nothing is known.

    Raises:
        InputError: wrong number or shape, or a matrix that is no pinhole camera.
    """
    matrices = _one_or_each(given, count, 3, "intrinsics")
    for index, matrix in enumerate(matrices):
        if matrix is None:
            continue
        upper = np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0
        if not upper or abs(matrix[1, 0]) > 1e-9 or not np.allclose(matrix[2], (0, 0, 1)):
            raise InputError(
                f"The intrinsics of photo {index} are no camera matrix.",
                "Give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels.",
            )
    return matrices


def known_poses(given: Any, count: int) -> list[Float64[np.ndarray, "4 4"] | None]:
    """``count`` poses ``world_from_cam`` ``[4, 4]`` with None where nothing is known.

    Raises:
        InputError: wrong number or shape, or a matrix that is no rotation with a translation.
    """
    matrices = _one_or_each(given, count, 4, "poses", shared=False)
    for index, matrix in enumerate(matrices):
        if matrix is None:
            continue
        rotation = matrix[:3, :3]
        rigid = np.isfinite(matrix).all() and np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        if not rigid or np.linalg.det(rotation) < 0 or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise InputError(
                f"The pose of photo {index} is no rotation and translation.",
                "Give world_from_cam as a 4x4 rigid motion.",
            )
    return matrices


def known_names(given: Sequence[str] | None, count: int) -> list[str | None]:
    """``count`` names that differ, or None for all.

    Raises:
        InputError: wrong number, or the same name twice.
    """
    if given is None:
        return [None] * count
    names = [str(name) for name in given]
    if len(names) != count:
        raise InputError(f"{len(names)} names were given for {count} photos.", "Give one name for each photo.")
    if len({name.casefold() for name in names}) != count:
        raise InputError("The names given are not all different.", "Give each photo its own name.")
    if strange := [name for name in names if not name or leads_out(name)]:
        raise InputError(
            f"'{strange[0]}' is no name for a photo.", "Names become file names of exports: use plain ones."
        )
    return list(names)


def _one_or_each(
    given: Any, count: int, side: int, what: str, shared: bool = True
) -> list[Float64[np.ndarray, "side side"] | None]:
    if given is None:
        return [None] * count
    if not _is_mixed(given):
        array = _numbers(given, what)
        if array.shape == (side, side):
            if not shared and count > 1:
                raise InputError(
                    f"One matrix was given as the {what} of {count} photos.", "Give one for each, or None."
                )
            return [array.copy() for _ in range(count)]
        if array.ndim != 3:
            raise InputError(f"The {what} have shape {array.shape}.", f"Each must be a {side}x{side} matrix.")
        given = list(array)
    if len(given) != count:
        raise InputError(
            f"{len(given)} {what} were given for {count} photos.",
            "Give one for each photo, with None where nothing is known.",
        )
    matrices = [None if matrix is None else _numbers(matrix, what) for matrix in given]
    for index, matrix in enumerate(matrices):
        if matrix is not None and matrix.shape != (side, side):
            raise InputError(
                f"The {what} of photo {index} have shape {matrix.shape}.", f"Each must be a {side}x{side} matrix."
            )
    return matrices


def _is_mixed(given: Any) -> bool:
    return isinstance(given, Sequence) and any(matrix is None for matrix in given)


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _numbers(value: Any, what: str) -> Float64[np.ndarray, "..."]:
    try:
        return np.array(_plain(value), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The {what} are no matrix of numbers.", "Give numbers as an array or as nested lists."
        ) from error
