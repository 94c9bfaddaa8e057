"""Classical baseline: incremental structure from motion with pycolmap (SIFT, exhaustive matching)."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class SfmResult:
    """What incremental reconstruction found; frames that it could not register have no pose."""

    world_from_cam: dict[int, Float64[np.ndarray, "4 4"]]  # index of the photo -> pose, OpenCV axes
    pixels: dict[int, Float64[np.ndarray, "n 2"]]  # index -> (x, y) of triangulated points, pixel centres at integers
    points: dict[int, Float64[np.ndarray, "n 3"]]  # index -> the same points, world frame of the reconstruction
    seconds: float


def incremental_sfm(images: Sequence[Path], threads: int = 2, seed: int = 0) -> SfmResult:
    """Reconstruct photos of one camera with unknown intrinsics: the largest model, empty if there is none."""
    import pycolmap

    started = time.perf_counter()
    pycolmap.set_random_seed(seed)
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    with tempfile.TemporaryDirectory() as folder:
        photos, database = Path(folder) / "images", Path(folder) / "database.db"
        photos.mkdir()
        for index, image in enumerate(images):
            shutil.copy(image, photos / f"{index:04d}{image.suffix}")
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.use_gpu, extraction.num_threads = False, threads
        matching = pycolmap.FeatureMatchingOptions()
        matching.use_gpu, matching.num_threads = False, threads
        pycolmap.extract_features(
            database, photos, camera_mode=pycolmap.CameraMode.SINGLE, extraction_options=extraction
        )
        pycolmap.match_exhaustive(database, matching_options=matching)
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.min_model_size = threads, 2
        with _quiet():
            models = pycolmap.incremental_mapping(database, photos, Path(folder) / "models", options)
    best = max(models.values(), key=lambda model: model.num_reg_images(), default=None)
    return _result(best, time.perf_counter() - started)


def _result(model: pycolmap.Reconstruction | None, seconds: float) -> SfmResult:
    poses, pixels, points = {}, {}, {}
    if model is None:
        return SfmResult({}, {}, {}, seconds)
    for image in model.images.values():
        if not image.has_pose:
            continue
        index = int(Path(image.name).stem)
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        seen = [point for point in image.points2D if point.has_point3D()]
        poses[index] = pose
        pixels[index] = np.array([point.xy for point in seen]).reshape(-1, 2) - 0.5
        points[index] = np.array([model.points3D[point.point3D_id].xyz for point in seen]).reshape(-1, 3)
    return SfmResult(poses, pixels, points, seconds)


class _quiet:
    """Silences what the C++ side writes to the process's stderr."""

    def __enter__(self) -> None:
        self.saved = os.dup(2)
        self.sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(self.sink, 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self.saved, 2)
        os.close(self.saved)
        os.close(self.sink)
