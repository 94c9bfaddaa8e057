"""A model with a memory as a reconstructor of image sequences, and as the maker of sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import worldline
from stream_network import tiny_network
from worldline.errors import InputError
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor
from worldline.types import Rig
from worldline.weights.storage import save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tiny_network(), tmp_path / "tiny", card={"name": "tiny", "license": "Apache-2.0"})


def test_images_in_order_become_a_scene_in_the_first_camera(folder: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    model = worldline.load(folder, "cpu")
    scene = model.reconstruct(photos, size=64)
    assert len(scene) == 4
    np.testing.assert_allclose(scene.views[0].camera.world_from_cam, np.eye(4), atol=1e-9)
    images = torch.from_numpy(np.stack([view.image for view in scene.views])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = model.network(images[None]).final
    inside = scene.views[2].mask
    np.testing.assert_allclose(scene.views[2].points[inside], expected.points[0, 2].numpy()[inside], atol=1e-4)
    with pytest.raises(InputError, match="first image"):
        model.reconstruct(photos, size=64, reference=1)


def test_sessions_take_options_by_name_and_refuse_what_they_do_not_know(folder: Path) -> None:
    model = worldline.load(folder, "cpu")
    session = model.stream(Rig(("A",)), motion=False, keep=3)
    assert (session.options.keep, session.options.motion) == (3, False)
    assert session.provenance.model == "tiny"
    with pytest.raises(InputError, match="speed"):
        model.stream(Rig(("A",)), speed=3)


def test_a_model_without_memory_cannot_stream() -> None:
    network = MVDust3r.__new__(MVDust3r)
    torch.nn.Module.__init__(network)
    with pytest.raises(InputError, match="no memory"):
        Reconstructor(network, "photos-only", "cpu").stream(Rig(("A",)))
