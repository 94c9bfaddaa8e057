"""A network's video in windows answers as the same network does for each window alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldline.errors import InputError, MemoryPlanError
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt
from worldline.pipeline.single_pass import Reconstructor
from worldline.pipeline.video import encode_video, open_footage
from worldline.pipeline.video.long import open_long, part_of
from worldline.pipeline.video.tracking import Points, TrackOptions, start_tracks
from worldline.scene.video.cameras import CameraOptions
from worldline.scene.video.cloud import CloudOptions
from worldline.scene.video.windows import Window, WindowOptions

TINY = D4rtConfig(
    clip_frames=4, image_size=(32, 32), encoder_dim=16, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=32,
    decoder_dim=16, decoder_depth=1, decoder_heads=2, decoder_mlp_dim=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor(D4rt(TINY).eval(), "tiny", "cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (7, 24, 40, 3), np.uint8)


def test_a_video_of_one_window_is_that_of_encode(model: Reconstructor, frames: np.ndarray) -> None:
    assert isinstance(model.network, D4rt)
    short, long = encode_video(model.network, frames[:4]), open_long(model, frames[:4])
    u, v = np.random.default_rng(1).uniform(0, 1, (2, 50))
    times = np.random.default_rng(2).integers(0, 4, (3, 50))
    one, other = short.query(u, v, *times), long.query(u, v, *times)
    for name in ("points", "uv", "visibility", "motion", "normal", "confidence"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(short.tracks("grid:3").points, long.tracks("grid:3").points)
    np.testing.assert_allclose(short.depth().depth, long.depth().depth)


def test_windows_are_encoded_in_order_and_one_is_kept(model: Reconstructor, frames: np.ndarray) -> None:
    heard: list[Window] = []
    video = open_long(model, frames, encoded=heard.append)
    assert heard == [] and [(each.start, each.stop) for each in video.windows] == [(0, 4), (2, 6), (3, 7)]
    scene = video.scene(tracks="grid:2", dynamic=False)
    assert heard == list(video.windows) and len(scene.views) == 7
    assert scene.provenance.model == "tiny"
    assert [view.name for view in scene.views] == [f"frame_{number:06d}" for number in range(7)]


def test_a_part_of_the_footage_is_read_only_there(frames: np.ndarray) -> None:
    part = part_of(open_footage(frames, fps=10), Window(2, 5))
    assert len(part) == 3 and part.seconds is not None
    np.testing.assert_allclose(part.seconds, [0.2, 0.3, 0.4])
    np.testing.assert_array_equal(np.stack(list(part.frames())), frames[2:5])


def test_options_are_those_of_a_short_video(model: Reconstructor, frames: np.ndarray) -> None:
    video = open_long(model, frames)
    assert repr(video) == "LongVideo(7 frames of 40x24 in 3 windows)"
    options = CameraOptions(references="chain", grid=4)
    few, same = video.cameras(references="chain", grid=4), video.cameras(options)
    np.testing.assert_array_equal(few.inlier_share, same.inlier_share)
    keep_all = CloudOptions(confidence_percent=0, edges=0, visible_only=False, merge=0)
    every = video.point_cloud(keep_all, size=(4, 6))
    assert len(every.points) > len(video.point_cloud(keep_all, size=(4, 6), confidence_percent=50).points) > 0
    for method in (video.cameras, video.point_cloud, video.all_tracks, video.scene):
        with pytest.raises(InputError, match="Unknown option"):
            method(refs="chain")
    for method in (video.tracks, video.all_tracks):
        with pytest.raises(InputError, match="Unknown choice frame='wrold'"):
            method(frame="wrold")


def test_arrays_without_pixels_and_parts_of_frames_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="no pixels"):
        open_footage(frames[:, :0])
    with pytest.raises(InputError, match=r"A video of 1\.5 frames"):
        open_footage(frames, max_frames=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("points", ["all:2", "grid:20"])
def test_tracks_that_do_not_fit_are_refused_before_the_work(
    model: Reconstructor, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch, points: str
) -> None:
    video, options = open_long(model, frames), TrackOptions(points=Points.parse(points))
    start_tracks(video, options)
    monkeypatch.setattr("worldline.pipeline.video.tracking.free_memory", lambda device: 100_000)
    with pytest.raises(MemoryPlanError, match="tracks through 7 frames need about"):
        start_tracks(video, options)
    assert video.encoded == 0


def test_mistakes_are_named(model: Reconstructor, frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="A window of 5 frames is too long for tiny"):
        open_long(model, frames, windows=WindowOptions(window=5))
    other = replace(model, network=torch.nn.Identity(), name="stream")
    with pytest.raises(InputError, match="stream answers no queries"):
        open_long(other, frames)
