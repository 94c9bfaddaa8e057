"""Steps of constant shape give what the stream gives."""

from __future__ import annotations

import pytest
import torch

from stream_network import images, tiny_network
from worldline.errors import InputError
from worldline.models.pool import CameraStep, PoolOptions, RigStream
from worldline.pipeline.stream.fixed_step import FixedRigStream

SENSORS = ("LEFT", "FRONT", "RIGHT")
RING = {"LEFT": ("FRONT",), "FRONT": ("LEFT", "RIGHT"), "RIGHT": ("FRONT",)}
SIZE = (32, 48)


def both(
    aware: bool = False, options: PoolOptions | None = None, preview: bool = True, **memory: object
) -> tuple[RigStream, FixedRigStream]:
    network = tiny_network(relative_pose=aware, **memory)
    generator = torch.Generator().manual_seed(5)
    relative = {(a, b): torch.randn(3, 4, generator=generator) for a in SENSORS for b in RING[a]}
    options = options or PoolOptions(network.memory)
    shared = {"neighbors": RING, "relative": relative, "options": options}
    return RigStream(network, SENSORS, **shared), FixedRigStream(network, SENSORS, SIZE, preview=preview, **shared)


def frames(count: int) -> dict[str, torch.Tensor]:
    return {name: images(count, *SIZE, seed=row) for row, name in enumerate(SENSORS)}


def same(one: dict[str, CameraStep], other: dict[str, CameraStep]) -> None:
    assert list(one) == list(other)
    for name in one:
        for kind in ("preview", "completed"):
            a, b = getattr(one[name], kind), getattr(other[name], kind)
            assert (a is None) == (b is None)
            if a is not None:
                assert (a.timestamp, a.fragment, a.anchor) == (b.timestamp, b.fragment, b.anchor)
                torch.testing.assert_close(a.maps.points, b.maps.points, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(a.maps.confidence, b.maps.confidence, atol=1e-5, rtol=1e-5)
        got, wanted = other[name].memory, one[name].memory
        assert (got is None) == (wanted is None)
        if got is not None and wanted is not None:
            assert (got.skipped, got.pruned, got.tokens_after) == (wanted.skipped, wanted.pruned, wanted.tokens_after)


@pytest.mark.parametrize(
    ("aware", "preview", "memory", "options"),
    [
        (False, True, {}, None),
        (True, True, {"similarity_limit": 1.0}, None),
        (True, False, {"similarity_limit": 1.0}, None),
        (True, True, {"similarity_limit": 1.0, "long_tokens": 12, "working_frames": 1}, {"restart": None}),
        (True, True, {"similarity_limit": 1.0}, {"own_images": 2, "neighbor_images": 1, "restart": 4}),
        (False, True, {"similarity_limit": 1.0}, {"own_images": 0, "restart": None}),
        (False, True, {"similarity_limit": 1.0}, {"neighbor_images": 0, "selection": "recent"}),
    ],
)
def test_a_fixed_step_equals_the_stream(
    aware: bool, preview: bool, memory: dict[str, object], options: dict[str, object] | None
) -> None:
    chosen = None if options is None else PoolOptions(tiny_network(**memory).memory, **options)
    plain, fixed = both(aware, chosen, preview, **memory)
    seen = frames(14)
    for t in range(14):
        shown = {name: part[t] for name, part in seen.items()}
        same(plain.step(shown, float(t), preview), fixed.step(shown, float(t), preview))


def test_a_missing_camera_and_a_restored_state_go_on_as_usual() -> None:
    plain, fixed = both(similarity_limit=1.0)
    seen = frames(9)
    for t in range(6):
        shown = {name: part[t] for name, part in seen.items() if name != "LEFT" or t not in (0, 3)}
        same(plain.step(shown, float(t)), fixed.step(shown, float(t)))
    _, other = both(similarity_limit=1.0)
    other.restore(fixed.state())
    for t in range(6, 9):
        shown = {name: part[t] for name, part in seen.items()}
        expected = plain.step(shown, float(t))
        same(expected, fixed.step(shown, float(t)))
        same(expected, other.step(shown, float(t)))


def test_the_buffers_never_move() -> None:
    _, fixed = both(similarity_limit=1.0)
    places = [buffer.data_ptr() for buffer in fixed.fixed.inputs]
    seen = frames(12)
    for t in range(12):
        fixed.step({name: part[t] for name, part in seen.items()}, float(t))
    assert [buffer.data_ptr() for buffer in fixed.fixed.inputs] == places


def test_lower_precision_stays_close() -> None:
    plain, _ = both(similarity_limit=1.0)
    fixed = FixedRigStream(
        plain.model, SENSORS, SIZE, neighbors=RING, relative=plain.relative, options=plain.options, dtype=torch.bfloat16
    )
    seen = frames(5)
    for t in range(5):
        shown = {name: part[t] for name, part in seen.items()}
        expected, got = plain.step(shown, float(t)), fixed.step(shown, float(t))
    for name in SENSORS:
        wanted, found = expected[name].completed.maps.points, got[name].completed.maps.points
        assert found.dtype == torch.float32
        assert (wanted - found).norm() < 0.05 * wanted.norm()
        assert not torch.equal(wanted, found)


def test_what_has_no_fixed_size_is_refused() -> None:
    network = tiny_network()
    with pytest.raises(InputError, match="fixed size"):
        FixedRigStream(network, SENSORS, SIZE, options=PoolOptions(own_images=None))
    with pytest.raises(InputError, match="CUDA graphs"):
        FixedRigStream(network, SENSORS, SIZE, graph=True)
