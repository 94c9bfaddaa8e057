"""What the benchmark of streams measures, at a size that takes a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stream_network import images, tiny_network
from worldline.errors import InputError, MemoryPlanError
from worldline.eval.stream_bench import (
    Item,
    NetworkChoice,
    alignment,
    alignment_table,
    compare_alignment,
    latency,
    latency_table,
    measure_latency,
    noise_drive,
    random_network,
    street_drive,
)
from worldline.models.config import Driv3rConfig
from worldline.models.memory import MemoryOptions
from worldline.models.pool import PoolOptions, RigStream
from worldline.pipeline.memory import plan_stream, stored_tokens
from worldline.pipeline.stream import StreamOptions, StreamSession
from worldline.weights import save_model

SIZE = (32, 48)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(measure: Callable[..., Any], *arguments: Any) -> Any:
        return measure(*arguments)

    monkeypatch.setattr(latency, "apart", apart)
    monkeypatch.setattr(alignment, "apart", apart)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> NetworkChoice:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_network(), folder, card={"id": "tiny-mini", "license": "Apache-2.0"}, dtype=torch.float32)
    return NetworkChoice(str(folder))


def test_a_drive_goes_there_and_back_without_a_jump() -> None:
    drive = noise_drive(SIZE, instants=3)
    places = [drive.step(number)[2][0, 3] for number in range(9)]
    assert places == [0, 5, 10, 5, 0, 5, 10, 5, 0]
    assert np.all(np.diff([drive.step(number)[0] for number in range(9)]) > 0)
    assert np.array_equal(drive.step(1)[1]["CAM_BACK"], drive.step(3)[1]["CAM_BACK"])
    front = drive.cameras(3)
    assert front.rig.sensors == ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT")
    assert np.array_equal(front.step(2)[1]["CAM_FRONT_LEFT"], drive.step(2)[1]["CAM_FRONT_LEFT"])
    for wrong in (0, 7):
        with pytest.raises(InputError, match=str(wrong)):
            drive.cameras(wrong)


def test_a_rendered_street_fits_its_calibration() -> None:
    drive = street_drive((16, 32), instants=2)
    assert drive.images.shape == (2, 6, 16, 32, 3)
    assert drive.images.std() > 5
    assert len(drive.rig) == 6
    ahead = drive.rig.rig_from_cam[0][:3, 2]
    assert ahead[0] > 0.99  # the front camera looks along the rig's x axis
    moved = np.linalg.inv(drive.world_from_rig[0]) @ drive.world_from_rig[1]
    assert abs(moved[0, 3]) < 20


@pytest.mark.usefixtures("in_this_process")
def test_latency_of_every_part(tiny: NetworkChoice) -> None:
    seen: list[dict[str, Any]] = []
    records = measure_latency(tiny, noise_drive(SIZE), (1, 3), steps=8, report=seen.append)
    assert seen == records
    assert [record["cameras"] for record in records] == [1, 3]
    for record in records:
        parts = [record[f"{part} median"] for part in ("network", "align", "motion")]
        assert all(0 < part < record["total median"] for part in parts)
        assert record["total median"] <= record["total p99"]
        assert 0.2 < record["old / new"] < 5  # no more can be said of a busy machine
        assert record["memory tokens"] > 0 and record["memory tokens"] % 6 == 0
    rows = latency_table(records)
    assert len({tuple(row) for row in rows}) == 1
    quick = measure_latency(tiny, noise_drive(SIZE), (1,), steps=8, motion=False, preview=False)[0]
    assert quick["motion median"] < 1.0  # ms: nothing is done
    with pytest.raises(InputError, match="7 steps"):
        measure_latency(tiny, noise_drive(SIZE), (1,), steps=7)


@pytest.mark.usefixtures("in_this_process")
def test_alignment_sees_the_same_images_and_costs_more(tiny: NetworkChoice) -> None:
    records = compare_alignment(tiny, noise_drive(SIZE), [Item(1, 5), Item(3, 2)], iterations=30, repeats=2)
    assert [(record["images"], record["method"].split(",")[0], record["runs"]) for record in records] == [
        (5, "stream", 2), (5, "pairs", 1), (5, "pairs", 1), (6, "stream", 2), (6, "pairs", 1), (6, "pairs", 1),
    ]  # fmt: skip
    assert [int(record["pairs"]) for record in records] == [0, 20, 18, 0, 30, 24]
    assert all(record["times stream"] == 1 for record in records if record["method"] == "stream")
    for record in records:
        assert 0 < record["network seconds"] < record["seconds"]
        assert record["times step"] >= record["times stream"] * 0.99
    assert len(alignment_table(records)) == 6
    with pytest.raises(InputError, match="repeats"):
        compare_alignment(tiny, noise_drive(SIZE), repeats=0)


def test_both_methods_give_the_network_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the session encodes is what the pairwise network is given."""
    drive, network, seen = noise_drive((36, 64)).cameras(2), tiny_network(), []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda images: seen.append(images.clone()) or encode(images))
    session = StreamSession(network, drive.rig, StreamOptions(motion=False))
    for number in range(3):
        session.push(*drive.step(number))
    torch.testing.assert_close(torch.cat(seen), alignment.network_inputs(drive, 3, False))
    assert alignment.as_pairwise(network).encoder is network.encoder


def test_random_networks_are_finite_and_the_same_every_time(tmp_path: Path) -> None:
    config = Driv3rConfig(
        encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=2, decoder_heads=2,
        head="dpt", dpt_dim=8, dpt_last_dim=8, dpt_layer_dims=(4, 8, 8, 8), value_depth=1, value_heads=2,
    )  # fmt: skip
    first, second = random_network(config), random_network(config)
    seen = images(3)[None]
    maps = first(seen).final
    assert torch.isfinite(maps.points).all()
    assert torch.equal(maps.points, second(seen).final.points)
    assert maps.points.std() > 0


def test_labels_say_where_weights_are_random() -> None:
    assert "random" in NetworkChoice(published_size=True).label
    with pytest.raises(InputError, match="no memory"):
        NetworkChoice("mvdust3r-plus-mini").check()


@pytest.mark.parametrize(("options", "memory"), [({}, {}), ({"restart": None}, {"long_tokens": 30})])
def test_the_planner_knows_how_much_a_camera_stores(options: dict[str, Any], memory: dict[str, Any]) -> None:
    network = tiny_network(similarity_limit=1.0, **memory)
    pool = PoolOptions(network.memory, **options)
    stream, most = RigStream(network, ["FRONT"], options=pool), 0
    for number, image in enumerate(images(40)):
        report = stream.step({"FRONT": image}, float(number))["FRONT"].memory
        most = max(most, report.tokens_after if report else 0)
    assert most <= stored_tokens(pool, 6) <= most + 2 * 6


def test_a_plan_of_a_stream_grows_with_what_it_is_made_of() -> None:
    config, pool = Driv3rConfig.published(), PoolOptions()
    one = plan_stream(config, 1, 224, 224, pool, limit=2**40)
    assert one.weight_bytes == pytest.approx(4 * 658.7e6, rel=0.01)  # measured for the released model
    assert plan_stream(config, 12, 224, 224, pool, limit=2**40).peak_bytes > one.peak_bytes
    unbounded = PoolOptions(MemoryOptions(pruning="none"), restart=None)
    with pytest.raises(InputError, match="bounds"):
        plan_stream(config, 1, 224, 224, unbounded, limit=2**40)
    with pytest.raises(MemoryPlanError, match="12 images"):
        plan_stream(config, 12, 224, 224, pool, limit=one.weight_bytes)
