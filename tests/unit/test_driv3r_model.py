"""What must hold of Driv3R whatever its weights are: streams, rigs, gradients, unordered images, mistakes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldline.errors import InputError
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r, Sequence4D
from worldline.models.memory import MemoryOptions
from worldline.models.unordered import reconstruct_unordered

SIZE = (8, 12)
# A constant added to all keys changes all logits of a query alike, which the softmax does not see.
WITHOUT_GRADIENT = ("cross_attention.key.bias", "reader.key_norm.bias")


def model(training: bool = False, memory: MemoryOptions | None = None, **changes) -> Driv3r:
    """A network for patches of 4 pixels, without dropout."""
    torch.manual_seed(0)
    small = replace(
        Driv3rConfig.mini(), patch_size=4, encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=24,
        decoder_depth=2, decoder_heads=2, value_depth=1, value_heads=2,
    )  # fmt: skip
    network = Driv3r(replace(small, **changes), memory)
    network.reader.dropout = 0.0
    return network.train(training)


def photos(*shape: int, seed: int = 1) -> Tensor:
    """Random images in [-1, 1]."""
    return torch.rand(*shape, 3, *SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def assert_same_maps(actual: Sequence4D, expected: Sequence4D, rows: tuple[slice | list[int], ...] = ()) -> None:
    for ours, other in ((actual.reference, expected.reference), (actual.target, expected.target)):
        assert_same(ours.points, other.points[rows] if rows else other.points)
        assert_same(ours.confidence, other.confidence[rows] if rows else other.confidence)


def test_shapes_and_the_published_result() -> None:
    result = model()(photos(2, 4))
    assert result.reference.points.shape == result.target.points.shape == (2, 3, *SIZE, 3)
    final = result.final
    assert final.points.shape == (2, 4, *SIZE, 3) and final.confidence.shape == (2, 4, *SIZE)
    assert torch.equal(final.points[:, :3], result.reference.points)
    assert torch.equal(final.points[:, 3], result.target.points[:, 2])
    assert float(final.confidence.detach().min()) >= 1 and len(result.steps) == 3


@torch.no_grad()
def test_the_order_of_streams_in_a_batch_does_not_matter() -> None:
    network, images, order = model(training=True), photos(3, 4), [2, 0, 1]
    assert_same_maps(network(images[order]), network(images), (order,))


@torch.no_grad()
def test_a_stream_does_not_know_the_others_of_its_batch() -> None:
    network, images = model(training=True), photos(3, 4)
    assert_same_maps(network(images[1:2]), network(images), (slice(1, 2),))


@torch.no_grad()
def test_maps_do_not_depend_on_later_images() -> None:
    network, images = model(memory=MemoryOptions(12, 2, similarity_limit=1.0)), photos(1, 9)
    long, short = network(images), network(images[:, :6])
    assert any(step.pruned for step in short.steps)
    assert long.steps[:5] == short.steps
    assert_same_maps(short, long, (slice(None), slice(0, 5)))


@torch.no_grad()
def test_images_with_the_key_of_a_stored_one_are_not_stored() -> None:
    network = model(memory=MemoryOptions(similarity_limit=0.999))
    network.key_head[2].weight.zero_()
    network.key_head[2].bias.uniform_(1, 2)
    result = network(photos(1, 5))
    assert [step.skipped for step in result.steps] == [False, True, True, True]
    assert all(step.tokens_after == 6 for step in result.steps)


@torch.no_grad()
def test_streams_of_a_batch_share_the_decision_to_store() -> None:
    """As published: the most similar stream decides for all."""
    network, images = model(memory=MemoryOptions(similarity_limit=1.0)), photos(2, 5)
    together, first, second = network(images).steps, network(images[:1]).steps, network(images[1:]).steps
    for both, one, other in zip(together, first, second, strict=True):
        assert both.sim_max == pytest.approx(max(one.sim_max, other.sim_max), abs=1e-5)
    limit = sum(sorted((first[1].sim_max, second[1].sim_max))) / 2  # only one of the two is above
    network.memory = MemoryOptions(similarity_limit=limit)
    assert network(images).steps[1].skipped
    assert network(images[:1]).steps[1].skipped != network(images[1:]).steps[1].skipped


@torch.no_grad()
def test_a_rig_without_neighbors_is_every_camera_for_itself() -> None:
    network, images = model(training=True), photos(2, 3, 4)
    rig = network.forward_rig(images)
    assert rig.reference.points.shape == (2, 3, 3, *SIZE, 3)
    for sensor in range(3):
        alone = network(images[:, sensor])
        assert_same(rig.final.points[:, sensor], alone.final.points)
        assert_same(rig.final.confidence[:, sensor], alone.final.confidence)
        assert_same(rig.target.points[:, sensor], alone.target.points)


@torch.no_grad()
def test_a_camera_that_is_its_own_neighbor_learns_nothing_new() -> None:
    """The same tokens twice: every weight is halved, and the read is the same."""
    network, images = model(training=True), photos(2, 3, 4)
    assert_same_maps(network.forward_rig(images, torch.tensor([[0], [1], [2]])), network.forward_rig(images))


@torch.no_grad()
def test_a_neighbor_is_read_and_the_right_one() -> None:
    network, images = model(training=True), photos(1, 3, 4)
    neighbors = torch.tensor([[1], [2], [1]])
    result = network.forward_rig(images, neighbors)
    changed = images.clone()
    changed[:, 1] = photos(1, 4, seed=9)
    after = network.forward_rig(changed, neighbors)
    same = [torch.equal(result.final.points[:, s, 2:], after.final.points[:, s, 2:]) for s in range(3)]
    assert same == [False, False, False]  # 0 and 2 read camera 1; camera 1 itself has other images
    changed = images.clone()
    changed[:, 0] = photos(1, 4, seed=9)
    after = network.forward_rig(changed, neighbors)
    assert_same(after.final.points[:, 1:], result.final.points[:, 1:])  # nobody reads camera 0


@torch.no_grad()
def test_a_neighbor_is_read_with_the_past_only() -> None:
    network, images = model(training=True), photos(1, 2, 4)
    neighbors = torch.tensor([[1], [0]])
    result = network.forward_rig(images, neighbors)
    changed = images.clone()
    changed[:, 1, 3] = photos(1, 1, seed=9)[:, 0]
    after = network.forward_rig(changed, neighbors)
    assert_same(after.final.points[:, 0], result.final.points[:, 0])


@torch.no_grad()
def test_the_code_of_a_relative_pose_is_zero_at_the_start() -> None:
    network, images = model(training=True), photos(1, 2, 4)
    neighbors, relative = torch.tensor([[1], [0]]), torch.randn(1, 2, 1, 3, 4)
    plain = network.forward_rig(images, neighbors)
    assert network.reader.relation is not None and not any(p.any() for p in network.reader.relation.parameters())
    assert_same_maps(network.forward_rig(images, neighbors, relative), plain)
    torch.nn.init.normal_(network.reader.relation.weight)
    moved = network.forward_rig(images, neighbors, relative)
    assert not torch.equal(moved.final.points, plain.final.points)
    assert_same_maps(network.forward_rig(images, neighbors), plain)  # where no pose is told, there is no code


@torch.no_grad()
def test_a_dropped_memory_still_has_the_first_own_image() -> None:
    network, images = model(training=True), photos(1, 2, 5)
    neighbors = torch.tensor([[1], [0]])
    none = network.forward_rig(images, neighbors, keep=0.0)
    own = network.forward_rig(images)
    assert_same(none.reference.points[:, :, :2], own.reference.points[:, :, :2])  # until then one image is stored
    assert not torch.equal(none.reference.points[:, :, 3], own.reference.points[:, :, 3])
    assert bool(torch.isfinite(none.final.points).all())


@pytest.mark.parametrize("head", ["linear", "dpt"])
def test_gradients_reach_every_parameter(head: str) -> None:
    dpt = {"head": "dpt", "patch_size": 16, "dpt_dim": 8, "dpt_last_dim": 4, "dpt_layer_dims": (4, 4, 8, 8)}
    network = model(training=True, decoder_depth=4, **(dpt if head == "dpt" else {}))
    images = torch.nn.functional.interpolate(photos(2, 4).flatten(0, 1), (32, 48)).unflatten(0, (1, 2, 4))
    result = network.forward_rig(images, torch.tensor([[1], [0]]), torch.randn(1, 2, 1, 3, 4))
    loss = sum(each.points.square().mean() + each.confidence.mean() for each in (result.reference, result.target))
    assert isinstance(loss, Tensor)
    loss.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in without if not name.endswith(WITHOUT_GRADIENT)] == []
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)


def test_only_the_code_of_poses_has_no_part_in_a_stream_of_one_camera() -> None:
    network = model(training=True)
    result = network(photos(1, 4))
    (result.final.points.square().mean() + result.target.confidence.mean()).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    assert without == {"reader.relation.weight", "reader.relation.bias"}


def test_dropout_acts_in_training_only() -> None:
    network, images = model(training=True), photos(1, 4)
    network.reader.dropout = 0.5
    with torch.no_grad():
        torch.manual_seed(1)
        first = network(images).final.points
        second = network(images).final.points
        assert torch.equal(first[:, 0], second[:, 0]) and not torch.equal(first, second)
        network.eval()
        assert torch.equal(network(images).final.points, network(images).final.points)


@torch.no_grad()
def test_low_precision_leaves_maps_and_memory_in_float32() -> None:
    network, images = model(), photos(1, 4)
    exact = network(images).final.points
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    assert rough.final.points.dtype == rough.final.confidence.dtype == torch.float32
    assert (rough.final.points - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (photos(2, 1), "no pair"),
        (photos(2), r"must be a tensor \[batch, time, 3, height, width\]"),
        (photos(1, 2, 2), r"must be a tensor \[batch, time"),
        (torch.zeros(1, 2, 3, 9, 12), "9"),
        (torch.zeros(1, 2, 4, 8, 12), "images"),
        ([1, 2], "got list"),
    ],
)
def test_images_that_are_no_stream(images: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        model()(images)
    assert caught.value.remedy


def test_images_that_are_no_rig() -> None:
    with pytest.raises(InputError, match=r"\[batch, sensor, time, 3"):
        model().forward_rig(photos(1, 3))
    with pytest.raises(InputError, match="no pair"):
        model().forward_rig(photos(1, 3, 1))


def test_the_released_driv3r_accepts_196_tokens_only() -> None:
    with pytest.raises(InputError, match="6 tokens") as caught, torch.no_grad():
        model(memory=MemoryOptions(frame_tokens=196))(photos(1, 3))
    assert "224×224" in caught.value.remedy


@pytest.mark.parametrize(
    "options",
    [{"long_tokens": -1}, {"working_frames": 0}, {"attention_cut": 1.0}, {"similarity_limit": 2.0}, {"pruning": "x"}],
)
def test_memories_that_cannot_be(options: dict) -> None:
    with pytest.raises(InputError):
        MemoryOptions(**options)


def test_unordered_images_do_not_depend_on_batches_or_on_the_order_given() -> None:
    network, images = model(), photos(6)
    result = reconstruct_unordered(network, images)
    assert sorted(result.order) == list(range(6)) and result.points.shape == (6, *SIZE, 3)
    assert result.scores.shape == (5,) and result.sureness.shape == (6, 6, 2)
    assert not result.sureness.diagonal().any()
    assert result.sureness.sum(-1).argmax() == result.order[0] * 6 + result.order[1]
    for pairs_at_once in (1, 4):
        other = reconstruct_unordered(network, images, pairs_at_once=pairs_at_once)
        assert other.order == result.order
        assert_same(other.points, result.points)
    turned = torch.tensor([3, 5, 0, 1, 4, 2])
    other = reconstruct_unordered(network, images[turned])
    assert [int(turned[row]) for row in other.order] == list(result.order)
    assert_same(other.points, result.points)
    assert_same(other.in_input_order().points, result.in_input_order().points[turned])


def test_unordered_images_in_their_order_are_the_stream() -> None:
    """Where the surest continuation is the next image, both ways are the same computation."""
    network, images = model(memory=MemoryOptions(similarity_limit=1.0)), photos(5)
    result = reconstruct_unordered(network, images)
    with torch.no_grad():
        stream = network(images[list(result.order)][None])
    assert_same(result.points, stream.final.points[0])
    assert_same(result.confidence, stream.final.confidence[0])


def test_two_unordered_images_are_one_pair() -> None:
    result = reconstruct_unordered(model(), photos(2))
    assert result.order in ((0, 1), (1, 0)) and result.points.shape[0] == 2 and result.scores.shape == (1,)


@pytest.mark.parametrize(
    ("images", "training", "pairs", "words"),
    [
        (photos(1), False, 8, "has no pair"),
        (torch.zeros(2, 3, 9, 12), False, 8, "9"),
        (photos(2, 2), False, 8, "images"),
        (photos(3), True, 8, "training mode"),
        (photos(3), False, 0, "pairs_at_once"),
    ],
)
def test_mistakes_with_unordered_images(images: Tensor, training: bool, pairs: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        reconstruct_unordered(model(training), images, pairs_at_once=pairs)
