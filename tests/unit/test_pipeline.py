"""From photos to a Scene with a network that knows the truth: order, frames, sizes, known cameras, memory retries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError, MemoryPlanError
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import ReconstructOptions, Reconstructor
from worldline.pipeline.memory import MemoryPlan, plan_memory
from worldline.pipeline.single_pass import run_network
from worldline.types import Pointmaps

SIZE = 96


class Oracle(torch.nn.Module):
    """Recognises each photo of a procedural scene and returns its true points in the frame of the first one fed."""

    config = MVDust3rConfig.mini()

    def __init__(self, sample: worlds.WorldSample) -> None:
        super().__init__()
        self.sample = sample
        self.known = torch.as_tensor(sample.images).float().permute(0, 3, 1, 2) / 127.5 - 1
        self.chunks: list[int | None] = []

    def forward(self, images: torch.Tensor, references: int = 4, head_chunk: int | None = None) -> Pointmaps:
        self.chunks.append(head_chunk)
        distances = (images[0][:, None] - self.known[None]).abs().mean((2, 3, 4))
        index = distances.argmin(1)
        assert float(distances.min(1).values.max()) < 0.02
        reference_from_world = torch.linalg.inv(torch.as_tensor(self.sample.world_from_cam)[index[0]].double())
        world = torch.as_tensor(self.sample.points)[index].double()
        points = world @ reference_from_world[:3, :3].T + reference_from_world[:3, 3]
        return Pointmaps(points[None].float(), torch.full(points.shape[:3], 5.0)[None])


@pytest.fixture(scope="module")
def sample() -> worlds.WorldSample:
    return worlds.sample("rooms", worlds.TEST_SEEDS[3], views=5, height=SIZE, width=SIZE)


@pytest.fixture
def model(sample: worlds.WorldSample) -> Reconstructor:
    return Reconstructor(Oracle(sample), name="oracle", device="cpu", image_size=SIZE)


def images_of(sample: worlds.WorldSample) -> np.ndarray:
    return np.asarray(sample.images)


def true_poses(sample: worlds.WorldSample, reference: int) -> np.ndarray:
    poses = np.asarray(sample.world_from_cam, dtype=np.float64)
    return np.linalg.inv(poses[reference]) @ poses


@pytest.mark.parametrize("order", ["demo", "evaluation", "spread", "input"])
@pytest.mark.parametrize("reference", [0, 3])
def test_cameras_and_points_are_true_and_in_input_order(
    model: Reconstructor, sample: worlds.WorldSample, order: str, reference: int
) -> None:
    scene = model.reconstruct(images_of(sample), order=order, reference=reference)
    expected = true_poses(sample, reference)
    for index, view in enumerate(scene.views):
        assert view.camera.world_from_cam == pytest.approx(expected[index], abs=2e-2)
        assert view.camera.intrinsics[0, 0] == pytest.approx(float(sample.intrinsics[index, 0, 0]), rel=5e-3)
        mask = np.asarray(sample.valid[index]) & view.mask
        assert np.abs(view.depth - np.asarray(sample.depth[index]))[mask].max() < 5e-2


def test_permuting_the_photos_permutes_the_scene(model: Reconstructor, sample: worlds.WorldSample) -> None:
    permutation = [2, 0, 4, 1, 3]
    plain = model.reconstruct(images_of(sample), reference=2)
    permuted = model.reconstruct(images_of(sample)[permutation], reference=0)
    for place, index in enumerate(permutation):
        a, b = plain.views[index], permuted.views[place]
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_allclose(a.points, b.points, atol=1e-4)
        np.testing.assert_allclose(a.camera.world_from_cam, b.camera.world_from_cam, atol=2e-2)


def test_known_poses_fix_frame_and_scale(model: Reconstructor, sample: worlds.WorldSample) -> None:
    poses = np.asarray(sample.world_from_cam, dtype=np.float64).copy()
    poses[:, :3, 3] *= 2.5  # another unit than the network's
    scene = model.reconstruct(images_of(sample), poses=[poses[0], None, poses[2], None, None])
    assert scene.scale == "known-poses"
    assert scene.views[2].camera.world_from_cam == pytest.approx(poses[2])
    assert scene.views[4].camera.center == pytest.approx(poses[4][:3, 3], abs=0.1)
    mask = scene.views[1].mask
    np.testing.assert_allclose(scene.views[1].points[mask], 2.5 * np.asarray(sample.points[1])[mask], atol=0.1)


def test_known_intrinsics_are_kept(model: Reconstructor, sample: worlds.WorldSample) -> None:
    known = np.asarray(sample.intrinsics[0], dtype=np.float64)
    scene = model.reconstruct(images_of(sample), intrinsics=known)
    for view in scene.views:
        np.testing.assert_allclose(view.camera.intrinsics, known)


def test_the_result_says_where_it_came_from(model: Reconstructor, sample: worlds.WorldSample) -> None:
    scene = replace(model, license="CC BY-NC 4.0", weights_sha256="ab" * 32).reconstruct(images_of(sample))
    provenance = scene.provenance
    assert (provenance.model, provenance.license, provenance.weights_sha256) == ("oracle", "CC BY-NC 4.0", "ab" * 32)
    timings = dict(provenance.timings)
    assert timings.pop("total") == pytest.approx(sum(timings.values()))
    assert set(timings) == {"read", "network", "cameras"} and min(timings.values()) > 0
    assert provenance.arguments["order"] == [0, 3, 2, 1, 4]
    assert "torch" in provenance.versions


def test_skipped_files_are_recorded(
    model: Reconstructor, sample: worlds.WorldSample, tmp_path: pytest.TempPathFactory
) -> None:
    for index, image in enumerate(images_of(sample)):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "9.png").write_text("no image")
    with pytest.raises(InputError, match=r"9\.png"):
        model.reconstruct(tmp_path)
    scene = model.reconstruct(tmp_path, skip_bad=True)
    assert len(scene.views) == 5
    assert any("9.png" in warning for warning in scene.warnings)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"reference": 5}, "does not exist"),
        ({"no_such": 1}, "no_such"),
        ({"order": "odd"}, "odd"),
        ({"fit": "odd"}, "odd"),
    ],
)
def test_wrong_choices_are_named(
    model: Reconstructor, sample: worlds.WorldSample, choices: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        model.reconstruct(images_of(sample), **choices)


def test_one_photo_is_refused_with_a_sentence(model: Reconstructor, sample: worlds.WorldSample) -> None:
    with pytest.raises(InputError, match="at least 2"):
        model.reconstruct(images_of(sample)[:1])


class Failing(Oracle):
    """Runs out of memory until the heads run one view at a time."""

    def forward(self, images: torch.Tensor, references: int = 4, head_chunk: int | None = None) -> Pointmaps:
        if head_chunk != 1:
            self.chunks.append(head_chunk)
            raise torch.OutOfMemoryError("no more")
        return super().forward(images, references, head_chunk)


def test_out_of_memory_is_retried_once_with_smaller_chunks(
    sample: worlds.WorldSample, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = MemoryPlan(10, 5, 20, head_chunk=4)
    monkeypatch.setattr("worldline.pipeline.memory.plan_memory", lambda *_, **__: plan)
    network = Failing(sample)
    _, used = run_network(network, network.known[None], 4)
    assert network.chunks == [4, 1]
    assert used.head_chunk == 1
    assert "out of memory" in caplog.text


def test_a_run_that_cannot_fit_is_refused_before_it_starts(sample: worlds.WorldSample) -> None:
    network = Oracle(sample)
    with pytest.raises(MemoryPlanError, match="GiB"):
        run_network(network, network.known[None], 4, memory_limit=2**20)
    assert network.chunks == []


def test_the_plan_grows_with_views_and_counts_the_weights() -> None:
    config = MVDust3rConfig.published()
    plans = [plan_memory(config, views, 224, 224, device="cpu", limit=2**40) for views in (4, 8, 24)]
    assert plans[0].peak_bytes < plans[1].peak_bytes < plans[2].peak_bytes
    parameters = sum(p.numel() for p in torch.nn.Module.parameters(_on_meta(config)))
    assert plans[0].weight_bytes == pytest.approx(4 * parameters, rel=0.02)


def test_options_have_the_defaults_of_the_command_line() -> None:
    from worldline.cli.reconstruct import Reconstruct

    command = Reconstruct(path=("x",), out=".")
    options = ReconstructOptions()
    for name in (
        "size",
        "fit",
        "max_views",
        "fps",
        "skip_bad",
        "reference",
        "order",
        "references",
        "confidence_percent",
    ):
        assert getattr(command, name) == getattr(options, name), name
    assert (command.focal == "shared") == options.shared_focal


def _on_meta(config: MVDust3rConfig) -> MVDust3r:
    with torch.device("meta"):
        return MVDust3r(config)
