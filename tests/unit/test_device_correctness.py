"""Networks, worlds and the rasteriser on a device other than the processor: no tensor may lie on the wrong one.

The device is pretended (see tests/pretended_device.py): values and gradients are real and must be those of the
processor, tensors of two devices must not meet, and the host must not wait where a stream or a training step runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pretended_device import DEVICE, Pretended, Traffic, numbers, pretended_device
from worldline import worlds
from worldline.eval.query_bench.network import random_clip, random_queries, tiny
from worldline.eval.render_bench import room_of_gaussians
from worldline.eval.worlds_bench import resized
from worldline.models.config import D4rtConfig, Driv3rConfig, MVDust3rConfig
from worldline.models.d4rt import D4rt
from worldline.models.driv3r import Driv3r
from worldline.models.mvdust3r import MVDust3r
from worldline.models.pool import PoolOptions, RigStream
from worldline.models.queries import Queries
from worldline.outputs.render import rasterize
from worldline.pipeline.stream.fixed_step import FixedRigStream, FixedStep
from worldline.worlds import sampling

NEARLY: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    with pretended_device() as seen:
        yield seen


def moved(network: nn.Module) -> nn.Module:
    """On the device; gradients and values are its own."""
    network = network.to(DEVICE)
    assert all(isinstance(value, Pretended) for value in network.state_dict().values())
    return network


def silence(traffic: Traffic) -> None:
    traffic.waits.clear()
    traffic.uploads.clear()


def multiview(**changes: Any) -> MVDust3r:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "encoder_dim": 32, "encoder_depth": 1, "encoder_heads": 2, "decoder_dim": 24, "decoder_depth": 2,
        "decoder_heads": 2, "gaussian_dim": 16, "image_skip": True, "skip_dim": 8,
    }  # fmt: skip
    return MVDust3r(replace(MVDust3rConfig.mini(), **sizes | changes))


def driving(head: str = "dpt") -> Driv3r:
    torch.manual_seed(0)
    return Driv3r(
        replace(
            Driv3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=24, decoder_depth=4,
            decoder_heads=2, value_depth=1, value_heads=2, dpt_dim=8, dpt_last_dim=8, dpt_layer_dims=(8, 8, 8, 8),
            head=head,
        )
    )  # fmt: skip


def video(guided: bool) -> D4rt:
    torch.manual_seed(0)
    if not guided:
        return D4rt(tiny())
    return D4rt(
        replace(
            D4rtConfig.mini(), clip_frames=4, image_size=(32, 48), encoder_dim=32, encoder_depth=2, encoder_heads=2,
            encoder_mlp_dim=64, decoder_dim=32, decoder_depth=2, decoder_heads=2, decoder_mlp_dim=64,
        )
    )  # fmt: skip


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    found = {name: numbers(value.grad).clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    return found


def compare(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys() and one
    for name in one:
        torch.testing.assert_close(one[name], other[name], **NEARLY)


class TestThePretendedDevice:
    """It must refuse what CUDA refuses, or the tests below prove nothing."""

    def test_tensors_of_two_devices_do_not_meet(self, traffic: Traffic) -> None:
        here = torch.zeros(3, device=DEVICE)
        for mistake in (
            lambda: here + torch.zeros(3), lambda: torch.cat([here, torch.zeros(3)]),
            lambda: torch.where(here > 0, here, torch.ones(3)), lambda: here[None] @ torch.ones(3),
            lambda: here.index_select(0, torch.tensor([0])), lambda: torch.zeros(3)[here.long()],
            lambda: here.masked_fill(torch.ones(3).bool(), 1.0), lambda: nn.Linear(3, 2)(here),
            lambda: here.normal_(generator=torch.Generator()),
            lambda: torch.rand(3, generator=torch.Generator(), device=DEVICE),
        ):  # fmt: skip
            with pytest.raises(RuntimeError, match="expected"):
                mistake()
        with pytest.raises(TypeError, match="numpy"):
            here.numpy()

    def test_what_cuda_allows_is_allowed_and_counted(self, traffic: Traffic) -> None:
        here = torch.arange(3.0, device=DEVICE)
        assert (here + torch.tensor(1.0)).device == DEVICE
        assert not traffic.waits and not traffic.uploads
        assert here[torch.tensor([2, 0])].tolist() == [2, 0]
        here[:] = torch.tensor([4.0, 5, 6])
        assert torch.tensor([1.0], device=DEVICE).device == DEVICE
        assert sum(traffic.uploads.values()) == 3 and sum(traffic.waits.values()) == 1
        assert float(here[0]) == 4 and len(here[here > 4]) == 2 and here.cpu().device.type == "cpu"
        assert sum(traffic.waits.values()) == 4
        with torch.inference_mode():
            assert float(here[0]) == 4 and bool((here > 0).all()) and len(here.cpu()) == 3
            torch.zeros(3).to(DEVICE)
        assert sum(traffic.waits.values()) == 7 and sum(traffic.uploads.values()) == 4


class TestMultiview:
    @pytest.mark.parametrize("fused", [True, False])
    def test_forward(self, traffic: Traffic, fused: bool) -> None:
        network, images = multiview(fused_references=fused).eval(), noise(2, 3, 3, 32, 48)
        with torch.no_grad():
            known, paths = network(images), network.forward_paths(images)
            there = moved(network)
            given = images.to(DEVICE)
            silence(traffic)
            found, found_paths = there(given), there.forward_paths(given)
        for one, other in ((known, found), (paths, found_paths)):
            torch.testing.assert_close(one.points, numbers(other.points), **NEARLY)
            torch.testing.assert_close(one.confidence, numbers(other.confidence), **NEARLY)
            torch.testing.assert_close(one.gaussians.scales, numbers(other.gaussians.scales), **NEARLY)
        assert not traffic.waits and not traffic.uploads

    def test_training(self, traffic: Traffic) -> None:
        network, images = multiview().train(), noise(2, 3, 3, 32, 32)
        known = gradients(network, network.forward_paths(images).points.square().mean())
        there = moved(network)
        given = images.to(DEVICE)
        silence(traffic)
        compare(known, gradients(there, there.forward_paths(given).points.square().mean()))
        assert not traffic.waits and not traffic.uploads


class TestDriving:
    @pytest.mark.parametrize("head", ["dpt", "linear"])
    def test_forward(self, traffic: Traffic, head: str) -> None:
        network, images = driving(head).eval(), noise(1, 3, 3, 32, 32)
        with torch.no_grad():
            known = network(images)
            found = moved(network)(images.to(DEVICE))
        torch.testing.assert_close(known.final.points, numbers(found.final.points), **NEARLY)
        assert known.steps == pytest.approx(found.steps) or known.steps[0].tokens_after == found.steps[0].tokens_after

    def test_training_on_a_rig(self, traffic: Traffic) -> None:
        network, images = driving("linear").train(), noise(1, 3, 4, 3, 32, 32)
        network.reader.dropout = 0.0
        neighbors = torch.tensor([[1, 2], [0, 2], [0, 1]])
        relative = noise(1, 3, 2, 3, 4)
        known = gradients(network, network.forward_rig(images, neighbors, relative).final.points.square().mean())
        there = moved(network)
        given = images.to(DEVICE), neighbors.to(DEVICE), relative.to(DEVICE)
        silence(traffic)
        compare(known, gradients(there, there.forward_rig(*given).final.points.square().mean()))
        assert not traffic.waits and not traffic.uploads

    def test_streams(self, traffic: Traffic) -> None:
        """From images on the host, with restarts, pruning and neighbours; a step of constant shape does the same."""
        network, names = driving().eval(), ("left", "front", "right")
        near = {"left": ("front",), "front": ("left", "right"), "right": ("front",)}
        options = PoolOptions(own_images=2, neighbor_images=1, restart=5)
        frames = noise(7, 3, 3, 32, 32)
        known = RigStream(network, names, neighbors=near, options=options)
        results = [known.step(dict(zip(names, images, strict=True)), float(at)) for at, images in enumerate(frames)]
        there = moved(network)
        plain = RigStream(there, names, neighbors=near, options=options)
        fixed = FixedRigStream(there, names, (32, 32), neighbors=near, options=options, graph=False)
        for stream in (plain, fixed):
            for at, (images, wanted) in enumerate(zip(frames, results, strict=True)):
                step = stream.step(dict(zip(names, images, strict=True)), float(at))
                for name in names:
                    assert step[name].memory == wanted[name].memory or step[name].memory.sim_max == pytest.approx(
                        wanted[name].memory.sim_max, abs=1e-4
                    )
                    preview = numbers(step[name].preview.maps.points)
                    torch.testing.assert_close(preview, wanted[name].preview.maps.points, **NEARLY)
        restored = RigStream(there, names, neighbors=near, options=options)
        restored.restore(plain.state())
        step = restored.step(dict(zip(names, frames[0], strict=True)), 8.0)
        torch.testing.assert_close(
            numbers(step["left"].preview.maps.points),
            numbers(plain.step(dict(zip(names, frames[0], strict=True)), 8.0)["left"].preview.maps.points),
        )

    def test_a_step_of_constant_shape_can_be_captured(self, traffic: Traffic) -> None:
        """A CUDA graph allows neither waiting for the device nor copies from the host's pageable memory."""
        step = FixedStep(moved(driving().eval()), 2, (32, 32), 12, PoolOptions().memory, graph=False)
        step.inputs.present[:, 0] = True
        step()
        silence(traffic)
        step()
        assert not traffic.waits and not traffic.uploads


class TestVideo:
    @pytest.mark.parametrize("guided", [True, False])
    def test_forward(self, traffic: Traffic, guided: bool) -> None:
        network = video(guided).eval()
        clip, queries, ratio = random_clip(network.config), random_queries(50, 4), torch.ones(1)
        with torch.no_grad():
            known = network.decode(network.encode(clip, ratio), queries)
            there = moved(network)
            asked, given = Queries(*(part.to(DEVICE) for part in queries)), (clip.to(DEVICE), ratio.to(DEVICE))
            there.encode(*given)  # makes the tables
            silence(traffic)
            found = there.decode(there.encode(*given), asked, checked=True)
        for name in ("points", "uv", "visibility", "motion", "normal", "confidence"):
            torch.testing.assert_close(getattr(known, name), numbers(getattr(found, name)), **NEARLY)
        assert not traffic.waits and not traffic.uploads

    @pytest.mark.parametrize("guided", [True, False])
    def test_training(self, traffic: Traffic, guided: bool) -> None:
        network = video(guided).train()
        clip, queries, ratio = random_clip(network.config), random_queries(50, 4), torch.ones(1)
        known = gradients(network, network(clip, ratio, queries).points.square().mean())
        there = moved(network)
        asked, given = Queries(*(part.to(DEVICE) for part in queries)), (clip.to(DEVICE), ratio.to(DEVICE))
        there.encode(*given)  # makes the tables
        silence(traffic)
        compare(known, gradients(there, there(*given, asked).points.square().mean()))
        assert not traffic.waits and not traffic.uploads

    def test_networks_are_built_on_the_device(self, traffic: Traffic) -> None:
        for build in (lambda: video(True), multiview, driving):
            with DEVICE:
                network = build()
            assert all(isinstance(value, Pretended) for value in network.parameters())


class TestGaussians:
    @pytest.mark.parametrize("degree", [None, 1])
    def test_pictures_and_gradients(self, traffic: Traffic, degree: int | None) -> None:
        values, pose, _ = room_of_gaussians(100)
        if degree is not None:
            values[4] = noise(len(values[4]), 4, 3)
        lens = torch.tensor([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
        results = []
        for device in (torch.device("cpu"), DEVICE):
            leaves = [value.to(device).requires_grad_() for value in values]
            seen = rasterize(
                *leaves, world_from_cam=pose[None].to(device), intrinsics=lens[None].to(device), size=(24, 32)
            )
            seen_from = torch.autograd.grad(seen.color.square().mean() + seen.depth.mean(), leaves)
            results.append([numbers(part) for part in (seen.color, seen.depth, seen.alpha, *seen_from)])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, **NEARLY)
        assert float(results[0][2].mean()) > 0.5


class TestWorlds:
    """Few solids, because every operation of the pretended device is looked at; all of them with the slow tests."""

    @pytest.mark.parametrize("layout", ["rooms", "street"])
    def test_photos(self, traffic: Traffic, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
        world = worlds.describe(layout, worlds.TEST_SEEDS[3], views=1)
        self.check(resized(world.at(0), 25), monkeypatch)

    @pytest.mark.slow
    @pytest.mark.parametrize("layout", ["rooms", "objects", "outdoor", "street", "dynamic"])
    def test_photos_of_every_layout(self, traffic: Traffic, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.check(worlds.describe(layout, worlds.TEST_SEEDS[3], views=2), monkeypatch)

    def check(self, described: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sampling, "canonical_device", torch.device)
        known = worlds.render([described], height=16, width=32)[0]
        found = worlds.render([described], height=16, width=32, device=DEVICE)[0]
        assert isinstance(found.images, Pretended)
        for name in ("depth", "points", "normals"):
            torch.testing.assert_close(getattr(known, name), numbers(getattr(found, name)), rtol=1e-3, atol=1e-3)
        for name in ("instance", "body", "dynamic", "valid", "intrinsics", "world_from_cam"):
            assert torch.equal(getattr(known, name), numbers(getattr(found, name)))
        away = (known.images.int() - numbers(found.images).int()).abs()
        assert float(away.float().mean()) < 1.0
