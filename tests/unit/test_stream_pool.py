"""The memory pool: equal to the published loop where it must be, bounded, selective, restorable."""

from __future__ import annotations

import pytest
import torch

from stream_network import images, tiny_network
from worldline.errors import InputError
from worldline.models.memory import MemoryOptions, TokenMemory
from worldline.models.pool import CameraStep, PoolOptions, RigStream

SENSORS = ("LEFT", "FRONT", "RIGHT")
RING = {"LEFT": ("FRONT",), "FRONT": ("LEFT", "RIGHT"), "RIGHT": ("FRONT",)}


def run(stream: RigStream, frames: dict[str, torch.Tensor], start: int = 0) -> list[dict[str, CameraStep]]:
    length = len(next(iter(frames.values())))
    return [stream.step({name: part[t] for name, part in frames.items()}, float(t)) for t in range(start, length)]


def scene(count: int) -> dict[str, torch.Tensor]:
    return {name: images(count, seed=row) for row, name in enumerate(SENSORS)}


@pytest.mark.parametrize("memory", [{}, {"long_tokens": 18, "working_frames": 2, "similarity_limit": 1.0}])
def test_one_camera_with_all_images_is_the_published_loop(memory: dict[str, float]) -> None:
    network = tiny_network(**memory)
    frames = scene(9)
    steps = run(RigStream(network, SENSORS, options=PoolOptions.official(network.memory)), frames)
    for name, part in frames.items():
        with torch.no_grad():
            expected = network(part[None])
        assert steps[0][name].completed is None
        for t in range(8):
            got = steps[t + 1][name]
            torch.testing.assert_close(got.completed.maps.points, expected.reference.points[0, t], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(got.preview.maps.points, expected.target.points[0, t], atol=1e-5, rtol=1e-5)
            assert got.memory.tokens_after == expected.steps[t].tokens_after
            assert got.memory.pruned == expected.steps[t].pruned
    if memory:
        assert any(step.pruned for step in expected.steps)


def test_neighbors_change_the_result_and_nobody_else_does() -> None:
    network, frames = tiny_network(), scene(5)
    own = run(RigStream(network, SENSORS, options=PoolOptions(neighbor_images=0)), frames)
    joint = run(RigStream(network, SENSORS, neighbors=RING), frames)
    changed = dict(frames, RIGHT=images(5, seed=99))
    other = run(RigStream(network, SENSORS, neighbors=RING), changed)
    for sensor in SENSORS:
        assert not torch.equal(own[3][sensor].completed.maps.points, joint[3][sensor].completed.maps.points)
    # LEFT reads FRONT only; what FRONT stores depends on RIGHT from FRONT's second read on
    assert torch.equal(joint[2]["LEFT"].completed.maps.points, other[2]["LEFT"].completed.maps.points)
    assert not torch.equal(joint[2]["FRONT"].completed.maps.points, other[2]["FRONT"].completed.maps.points)


def test_the_pose_of_a_neighbor_matters_only_to_networks_that_know_it() -> None:
    relative = {(a, b): torch.randn(3, 4) for a in SENSORS for b in RING[a]}
    frames = scene(4)
    for aware in (False, True):
        network = tiny_network(relative_pose=aware)
        plain = run(RigStream(network, SENSORS, neighbors=RING), frames)[3]["FRONT"].completed.maps.points
        told = run(RigStream(network, SENSORS, neighbors=RING, relative=relative), frames)[3]["FRONT"]
        assert torch.equal(plain, told.completed.maps.points) != aware


def test_a_camera_that_misses_steps_goes_on_where_it_was() -> None:
    network, frames = tiny_network(), scene(5)
    stream = RigStream(network, SENSORS, options=PoolOptions(neighbor_images=0))
    kept = {0, 1, 4}
    for t in range(5):
        step = stream.step({n: f[t] for n, f in frames.items() if n != "FRONT" or t in kept}, float(t))
        assert ("FRONT" in step) == (t in kept)
    with torch.no_grad():
        expected = network(frames["FRONT"][[0, 1, 4]][None])
    torch.testing.assert_close(step["FRONT"].completed.maps.points, expected.reference.points[0, 1])
    assert step["FRONT"].completed.timestamp == 1.0


def test_a_restart_begins_at_the_last_image() -> None:
    network, frames = tiny_network(), {"FRONT": images(7)}
    stream = RigStream(network, ["FRONT"], options=PoolOptions(own_images=None, restart=3))
    steps = [step["FRONT"] for step in run(stream, frames)]
    done = [step.completed for step in steps[1:]]
    assert [each.fragment for each in done] == [0, 0, 1, 1, 2, 2]
    assert [each.anchor for each in done] == [True, False, True, False, True, False]
    with torch.no_grad():
        second = network(frames["FRONT"][2:5][None])
    torch.testing.assert_close(done[2].maps.points, second.reference.points[0, 0])
    torch.testing.assert_close(steps[4].preview.maps.points, second.target.points[0, 1])


@pytest.mark.parametrize("pruning", ["attention", "oldest", "diverse"])
def test_memory_is_bounded_by_every_strategy(pruning: str) -> None:
    network = tiny_network(long_tokens=24, working_frames=2, similarity_limit=1.0, pruning=pruning)
    stream = RigStream(network, ["FRONT"], options=PoolOptions(network.memory, restart=None))
    sizes = [each["FRONT"].memory.tokens_after for each in run(stream, {"FRONT": images(30)})[1:]]
    assert max(sizes) <= 24 + 2 * 6 + 6
    assert sizes[-1] == sizes[-7] or max(sizes[-12:]) == max(sizes[-24:-12])


def test_strategies_differ_in_what_they_forget() -> None:
    options = MemoryOptions(long_tokens=2, working_frames=1, similarity_limit=1.0, attention_cut=0.0)
    kept = {}
    for pruning in ("oldest", "diverse", "none"):
        memory = TokenMemory.empty(MemoryOptions(**{**vars(options), "pruning": pruning}), 1, 3, torch.zeros(()))
        for row in ([1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0.05], [0, 0, 1.0]):
            memory.write(torch.tensor([[row]]), torch.zeros(1, 1, 3))
        kept[pruning] = memory.image[0].tolist()
    assert kept["none"] == [0, 1, 2, 3]
    assert kept["oldest"][-1] == 3
    assert 0 not in kept["oldest"]  # age counts
    assert 0 in kept["diverse"]  # likeness counts: 1 and 2 are the same
    assert 1 not in kept["diverse"]


def test_numbers_that_are_not_finite_do_not_stay() -> None:
    network, frames = tiny_network(), {"FRONT": images(8)}
    stream = RigStream(network, ["FRONT"], options=PoolOptions(restart=None))
    frames["FRONT"][3] = torch.nan
    steps = [step["FRONT"] for step in run(stream, frames)]
    finite = [bool(step.completed.maps.points.isfinite().all()) for step in steps[1:]]
    assert finite[0]
    assert not finite[3]
    assert all(finite[4:])
    assert steps[5].completed.fragment > steps[1].completed.fragment


def test_a_step_reads_only_what_was_selected() -> None:
    network, frames = tiny_network(similarity_limit=1.0), scene(12)
    stream = RigStream(
        network, SENSORS, neighbors=RING, options=PoolOptions(own_images=3, neighbor_images=1, restart=None)
    )
    run(stream, frames)
    with torch.inference_mode():
        sources = stream._sources("FRONT")
    cells = 6
    assert [(name, len(tokens)) for name, tokens in sources] == [
        ("FRONT", 3 * cells),
        ("LEFT", cells),
        ("RIGHT", cells),
    ]
    own = stream._cameras["FRONT"].memory.image[0, sources[0][1]]
    assert 0 in own.tolist()  # the image that defines the frame


def test_state_goes_on_exactly() -> None:
    network, frames = tiny_network(relative_pose=True), scene(8)
    whole = RigStream(network, SENSORS, neighbors=RING, options=PoolOptions(restart=5))
    expected = run(whole, frames)
    first = RigStream(network, SENSORS, neighbors=RING, options=PoolOptions(restart=5))
    run(first, {name: part[:4] for name, part in frames.items()})
    second = RigStream(network, SENSORS, neighbors=RING, options=PoolOptions(restart=5))
    second.restore(first.state())
    for got, wanted in zip(run(second, frames, start=4), expected[4:], strict=True):
        for name in SENSORS:
            assert torch.equal(got[name].completed.maps.points, wanted[name].completed.maps.points)
            assert torch.equal(got[name].preview.maps.points, wanted[name].preview.maps.points)
    with pytest.raises(InputError, match="another rig"):
        RigStream(network, ["FRONT"]).restore(first.state())


def test_without_previews_nothing_else_changes() -> None:
    network, frames = tiny_network(), scene(4)
    both = run(RigStream(network, SENSORS, neighbors=RING), frames)
    stream = RigStream(network, SENSORS, neighbors=RING)
    for t in range(4):
        step = stream.step({name: part[t] for name, part in frames.items()}, float(t), preview=False)
        for name in SENSORS:
            assert step[name].preview is None
            if t:
                assert torch.equal(step[name].completed.maps.points, both[t][name].completed.maps.points)


def test_images_of_several_sizes_in_one_step() -> None:
    network = tiny_network()
    frames = {"LEFT": images(4, 32, 48), "FRONT": images(4, 48, 48)}
    stream = RigStream(network, ("LEFT", "FRONT"), neighbors={"LEFT": ("FRONT",), "FRONT": ("LEFT",)})
    last = run(stream, frames)[-1]
    assert last["LEFT"].completed.maps.points.shape == (32, 48, 3)
    assert last["FRONT"].preview.maps.points.shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"own_images": -1}, "fewer than no"),
        ({"own_images": 0, "neighbor_images": 0}, "no memory"),
        ({"selection": "best"}, "selection"),
        ({"restart": 1}, "restart"),
    ],
)
def test_impossible_options(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        PoolOptions(**wrong)  # type: ignore[arg-type]
