"""The recipes of Open-D4RT's scripts: clips, long videos, cameras, resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from opend4rt_vectors import document, network, read, relative_error, their_uv
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import fit_similarity
from worldline.inputs.published_resize import resize_as_published
from worldline.pipeline.video.open_d4rt import OpenVideo, anchor_clip, published_intrinsics
from worldline.scene.video.windows import plan_windows

LIMIT = 1e-5
ABOUT = document()["pipelines"]
VECTORS = read("pipelines")
POINTS = ABOUT["points"]


@pytest.fixture(scope="module")
def video() -> OpenVideo:
    return opened(ABOUT["frames"])


def opened(count: int) -> OpenVideo:
    """The first frames of the video, at the network's size already."""
    frames = VECTORS["in/video_u8"][:count].permute(0, 2, 3, 1).contiguous().numpy()
    return OpenVideo(network(ABOUT["model"]), frames, ABOUT["aspect_ratio_fed"])


def places(video: OpenVideo) -> np.ndarray:
    """Our (u, v) of the stored query points."""
    size = np.array(video.model.config.image_size[::-1])
    return ((size - 1) * VECTORS["in/query_uv"].double().numpy() + 0.5) / size


def close(actual: np.ndarray | Tensor, name: str, limit: float = LIMIT) -> None:
    """Relative to the largest expected value."""
    assert relative_error(torch.as_tensor(actual), VECTORS[name]) <= limit, name


@pytest.mark.parametrize("case", ["tracks_source0", "tracks_sources", "tracks_short"])
def test_tracks(case: str) -> None:
    video = opened(ABOUT["short"] if case == "tracks_short" else ABOUT["frames"])
    sources = np.array(ABOUT["sources"]) if case == "tracks_sources" else np.zeros(POINTS, np.int64)
    tracks = video.tracks(places(video), sources)
    close(tracks.local, f"{case}/tracks_xyz_local")
    close(tracks.reference, f"{case}/tracks_xyz_ref0")
    close(their_uv(video.model, torch.from_numpy(tracks.uv)), f"{case}/tracks_uv_norm")
    close(tracks.visibility, f"{case}/tracks_visibility_logits")
    close(tracks.confidence, f"{case}/tracks_confidence")


def test_cloud_of_anchor_clips(video: OpenVideo) -> None:
    cloud = video.cloud(places(video))
    close(cloud.points, "cloud_anchor/xyz_ref0")
    close(cloud.confidence, "cloud_anchor/confidence")


def test_cloud_of_windows(video: OpenVideo) -> None:
    cloud = video.cloud(places(video), "windows")
    close(cloud.points, "cloud_windows/xyz_ref0")
    close(cloud.confidence, "cloud_windows/confidence")
    windows, similarities = zip(*cloud.placed, strict=True)
    assert [[each.start, each.stop] for each in windows] == VECTORS["cloud_windows/window"].tolist()
    for name in ("scale", "rotation", "translation"):
        close(torch.stack([getattr(each, name) for each in similarities]), f"cloud_windows/{name}")


@pytest.mark.parametrize("route", ["anchor", "windows"])
def test_cameras(video: OpenVideo, route: str) -> None:
    cameras = video.cameras(tuple(ABOUT["original_hw"]), ABOUT["camera_grid"], route)
    close(cameras.pose, f"cameras_{route}/T_ref0_cam")
    close(cameras.intrinsics, f"cameras_{route}/K", 1e-4)  # ratios of small numbers


def test_frames_of_anchor_clips() -> None:
    for case in document()["components"]["anchor_clips"]:
        frames, clip, source = case["num_frames"], case["clip_frames"], case["source"]
        assert [list(anchor_clip(frames, clip, source, target)) for target in range(frames)] == case["clips"]


def test_frames_of_windows() -> None:
    for case in document()["components"]["sliding_windows"]:
        windows = plan_windows(case["num_frames"], case["clip_frames"], case["overlap"])
        assert [[each.start, each.stop] for each in windows] == case["windows"]


@pytest.mark.parametrize("case", ["down", "up", "mixed"])
def test_resizing_to_one_grey_level(case: str) -> None:
    tensors = read("components")
    given, expected = (tensors[f"resize/{case}.{end}_u8"].permute(0, 2, 3, 1).numpy() for end in ("in", "out"))
    resized = resize_as_published(given, expected.shape[1:3])
    assert resized.shape == expected.shape and resized.dtype == np.uint8
    difference = np.abs(resized.astype(int) - expected)
    assert difference.max() <= (0 if case == "down" else 1) and difference.mean() < 0.15


def test_a_rigid_fit() -> None:
    tensors = read("components")
    fit = fit_similarity(tensors["rigid/src"], tensors["rigid/dst"], with_scale=False)
    assert relative_error(fit.rotation, tensors["rigid/rotation"]) <= 1e-9
    assert relative_error(fit.translation, tensors["rigid/translation"]) <= 1e-9


def test_focal_lengths() -> None:
    tensors, about = read("components"), document()["components"]["intrinsics"]
    points, uv, size = tensors["intrinsics/points"][0], tensors["intrinsics/uv"][0].numpy(), tuple(about["image_hw"])
    for name, shared in (("fx_fy_cx_cy", False), ("shared", True)):
        found = published_intrinsics(points, uv, size, shared=shared)
        numbers = torch.tensor([found[0, 0], found[1, 1], found[0, 2], found[1, 2]])
        assert relative_error(numbers, tensors[f"intrinsics/{name}"]) <= 1e-9


def test_wrong_points_are_refused(video: OpenVideo) -> None:
    with pytest.raises(InputError, match="beyond the 15"):
        video.tracks(np.full((1, 2), 0.5), np.array([15]))
    with pytest.raises(InputError, match="do not belong together"):
        video.tracks(np.full((2, 2), 0.5), np.array([0]))


def test_the_network_is_told_the_true_shape_unless_it_is_asked_otherwise() -> None:
    frames = np.zeros((4, 90, 160, 3), np.uint8)
    assert OpenVideo(network("interleaved"), frames).aspect_ratio == 160 / 90
    assert OpenVideo(network("interleaved"), frames, 1.0).aspect_ratio == 1.0
