"""The baseline of pairs and global alignment, with a pairwise network that knows the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from worldline import worlds
from worldline.inputs import load_views
from worldline.models.config import Dust3rConfig, MVDust3rConfig
from worldline.models.dust3r import Dust3r, EncodedImages
from worldline.models.mvdust3r import MVDust3r, as_pairwise
from worldline.pipeline import ReconstructOptions, Reconstructor
from worldline.pipeline.pairwise import predict_pairs, reconstruct_pairwise
from worldline.types import Pointmaps

SIZE = 48
VIEWS = 4


class OraclePairs(Dust3r):
    """Recognises both photos of a pair and returns their true points in the first one's frame, in a unit of its own."""

    def __init__(self, sample: worlds.WorldSample) -> None:
        nn.Module.__init__(self)
        self.config = Dust3rConfig()
        self.sample = sample
        self.encoded = 0

    def encode(self, images: torch.Tensor, true_shapes: object = None) -> EncodedImages:
        self.encoded += len(images)
        shapes = tuple(tuple(images.shape[-2:]) for _ in images)
        return EncodedImages(torch.zeros(len(images), 1, 1), images, shapes)

    def forward(self, image1: torch.Tensor, image2: torch.Tensor) -> tuple[Pointmaps, Pointmaps]:
        return self.decode_pairs(self.encode(image1), self.encode(image2))

    def decode_pairs(self, encoded1: EncodedImages, encoded2: EncodedImages) -> tuple[Pointmaps, Pointmaps]:
        first, second = self.recognise(encoded1.images), self.recognise(encoded2.images)
        first_from_world = torch.linalg.inv(torch.as_tensor(self.sample.world_from_cam)[first].double())
        unit = (1 + 0.1 * first - 0.05 * second)[:, None, None, None]
        confidence = torch.full((len(first), SIZE, SIZE), 4.0)
        points = [(self.points(index, first_from_world) * unit).float() for index in (first, second)]
        return Pointmaps(points[0], confidence), Pointmaps(points[1], confidence)

    def points(self, index: torch.Tensor, first_from_world: torch.Tensor) -> torch.Tensor:
        world = torch.as_tensor(self.sample.points)[index].double()
        rotation, translation = first_from_world[:, None, :3, :3], first_from_world[:, None, None, :3, 3]
        return world @ rotation.mT + translation

    def recognise(self, images: torch.Tensor) -> torch.Tensor:
        known = torch.as_tensor(self.sample.images).float().permute(0, 3, 1, 2) / 127.5 - 1
        return (images[:, None] - known[None]).abs().mean((2, 3, 4)).argmin(1)


@pytest.fixture(scope="module")
def sample() -> worlds.WorldSample:
    return worlds.sample("rooms", worlds.TEST_SEEDS[8], views=VIEWS, height=SIZE, width=SIZE)


def test_a_pairwise_model_reconstructs_by_alignment(sample: worlds.WorldSample) -> None:
    model = Reconstructor(OraclePairs(sample), name="oracle pairs", device="cpu", image_size=SIZE)
    scene = model.reconstruct(np.asarray(sample.images), fit="square", reference=2)
    poses = np.asarray(sample.world_from_cam, dtype=np.float64)
    expected = np.linalg.inv(poses[2]) @ poses
    unit = np.linalg.norm(scene.views[0].camera.center) / np.linalg.norm(expected[0][:3, 3])
    for index, view in enumerate(scene.views):
        np.testing.assert_allclose(view.camera.world_from_cam[:3, :3], expected[index][:3, :3], atol=0.02)
        np.testing.assert_allclose(view.camera.center / unit, expected[index][:3, 3], atol=0.08)
        relative = view.depth / unit / np.asarray(sample.depth[index])
        assert np.median(np.abs(relative - 1)) < 0.02
    assert scene.scale == "arbitrary"
    assert scene.provenance.arguments["pairs"] == VIEWS * (VIEWS - 1)
    assert {"network", "alignment", "total"} <= set(scene.provenance.timings)


def test_each_image_is_encoded_once_and_the_published_way_gives_the_same() -> None:
    torch.manual_seed(0)
    network = as_pairwise(MVDust3r(MVDust3rConfig.mini()).eval())
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    edges = torch.tensor([[0, 1], [1, 0], [2, 0], [0, 2], [1, 2]])
    counted = []
    network.encoder.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    once = predict_pairs(network, images, edges)
    assert sum(counted) == 3
    counted.clear()
    again = predict_pairs(network, images, edges, encode_once=False)
    assert sum(counted) == 2 * len(edges)
    torch.testing.assert_close(once.points_i, again.points_i, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(once.points_j, again.points_j, rtol=1e-4, atol=1e-5)


def test_known_cameras_are_kept_by_the_alignment(sample: worlds.WorldSample) -> None:
    poses = np.asarray(sample.world_from_cam, dtype=np.float64)
    known = [poses[0], None, poses[2], None]
    images, intrinsics = list(np.asarray(sample.images)), np.asarray(sample.intrinsics[0], dtype=np.float64)
    views = load_views(images, size=SIZE, fit="square", poses=known, intrinsics=intrinsics)
    model = Reconstructor(OraclePairs(sample), name="oracle pairs", device="cpu", image_size=SIZE)
    scene = reconstruct_pairwise(model, views, ReconstructOptions(alignment_iterations=100))
    assert scene.scale == "known-poses"
    np.testing.assert_allclose(scene.views[2].camera.world_from_cam, poses[2], atol=1e-5)
    np.testing.assert_allclose(scene.views[3].camera.center, poses[3][:3, 3], atol=0.15)
    assert scene.views[1].camera.intrinsics[0, 0] == pytest.approx(intrinsics[0, 0], rel=1e-5)


def test_a_known_principal_point_is_used(sample: worlds.WorldSample) -> None:
    intrinsics = np.array([[40.0, 0, 19.5], [0, 40, 27.25], [0, 0, 1]])
    views = load_views(list(np.asarray(sample.images)), size=SIZE, fit="square", intrinsics=intrinsics)
    model = Reconstructor(OraclePairs(sample), name="oracle pairs", device="cpu", image_size=SIZE)
    scene = reconstruct_pairwise(model, views, ReconstructOptions(alignment_iterations=1))
    for view in scene.views:
        np.testing.assert_allclose(view.camera.intrinsics, intrinsics, atol=1e-4)
