"""Streams through Driv3R and Spann3R give the published loop's maps, decisions and memories on random weights."""

from __future__ import annotations

from typing import Any

import driv3r_vectors as vectors
import pytest
import torch
from network_vectors import assert_close
from torch import Tensor

from worldline.models.driv3r import Driv3r, Sequence4D
from worldline.models.memory import MemoryOptions, StepReport, TokenMemory
from worldline.models.unordered import reconstruct_unordered
from worldline.types import Pointmaps

STORED = [("linear", "sensor0"), ("linear", "sensor1"), ("linear_smallmem", "sensor0"), ("dpt", "sensor0")]
SHARED = [
    ("driv3r", "linear", "sensor2"),
    ("driv3r", "linear_long", "sensor0"),
    ("driv3r", "linear_smallmem", "sensor0"),
    ("driv3r", "dpt224", "CAM_FRONT.left"),
    ("driv3r", "dpt224", "CAM_FRONT.right"),
    ("driv3r", "dpt224", "CAM_BACK_LEFT.left"),
    ("driv3r", "dpt224", "CAM_BACK_LEFT.right"),
    ("spann3r", "dpt", "sensor1"),
    ("spann3r", "dpt_smallmem", "sensor0"),
]


class Recorder:
    """What the parts of a network return while it runs, in order of the calls."""

    def __init__(self, model: Driv3r, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, list[Any]] = {"encode": [], "recall": [], "decode": [], "remember": []}
        self.memory: TokenMemory | None = None
        for name in self.calls:
            monkeypatch.setattr(model, name, self._recording(name, getattr(model, name)), raising=False)

    def _recording(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if name == "recall":
                self.memory = arguments[1]
            self.calls[name].append(result := function(*arguments))
            return result

        return call


def check_stream(case: vectors.Case, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps, the memory's log and its final content."""
    model, limit = case.model(), case.limit(name)
    recorder = Recorder(model, monkeypatch)
    with torch.inference_mode():
        result = model(case.images(f"{name}.img_u8")[None])
    check_maps(case, result, name, limit)
    assert len(result.steps) == len(case.about["streams"][name]["steps"])
    for ours, expected in zip(result.steps, case.about["streams"][name]["steps"], strict=True):
        check_step(ours, expected, limit)
    if f"{name}.mem_k" in case.tensors:
        assert recorder.memory is not None
        vectors.assert_same_memory(recorder.memory, case.tensors, f"{name}.", case.channel_stride, limit)


def check_maps(case: vectors.Case, result: Sequence4D, name: str, limit: float) -> None:
    stream = name or None
    dot = f"{name}." if name else ""
    if f"{dot}ref.pts3d.0" not in case.tensors:
        check_pointmaps(case.thin(result.final, stream), case.expected(name), limit)
        return
    check_pointmaps(case.thin(result.reference, stream), case.expected(f"{dot}ref"), limit)
    check_pointmaps(case.thin(result.target, stream), case.expected(f"{dot}tgt"), limit)


def check_pointmaps(actual: Pointmaps, expected: Pointmaps, limit: float) -> None:
    assert_close(actual.points, expected.points, limit)
    assert_close(actual.confidence, expected.confidence, limit)


def check_step(ours: StepReport, expected: dict[str, Any], limit: float) -> None:
    assert ours.sim_max == pytest.approx(expected["sim_max"], abs=limit)
    assert all(getattr(ours, name) == value for name, value in expected.items() if name != "sim_max")


@pytest.mark.parametrize(("name", "stream"), STORED)
def test_stream(name: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_stream(vectors.stored(name), stream, monkeypatch)


@pytest.mark.shared
@pytest.mark.skipif(not vectors.SHARED.is_dir(), reason="no reference data beside the checkout")
@pytest.mark.parametrize(("family", "name", "stream"), SHARED)
def test_shared_stream(family: str, name: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_stream(vectors.shared(family, name), stream, monkeypatch)


def test_the_stored_streams_skip_and_prune() -> None:
    steps = vectors.stored("linear_smallmem").about["streams"]["sensor0"]["steps"]
    assert sum(step["skipped"] for step in steps) >= 1 and sum(step["pruned"] for step in steps) >= 2


def test_streams_of_a_batch_give_what_each_gives_alone() -> None:
    case = vectors.stored("linear")
    images = torch.stack([case.images(f"{name}.img_u8") for name in case.streams])
    with torch.inference_mode():
        result = case.model()(images)
    for row, name in enumerate(case.streams):
        first, second = (
            Pointmaps(side.points[row][None], side.confidence[row][None]) for side in (result.reference, result.target)
        )
        check_maps(case, Sequence4D(first, second, result.steps), name, case.limit(name))


def trace_of(recorder: Recorder, step: int) -> dict[str, Tensor]:
    """Inner tensors of one pair under the names of the vectors."""
    encoded, pair = recorder.calls["encode"][0], recorder.calls["decode"][step]
    value = recorder.calls["remember"][step] - pair.key
    found = {
        "enc_ref": encoded[step : step + 1],
        "enc_tgt": encoded[step + 1 : step + 2],
        "fused_ref": recorder.calls["recall"][step - 1] if step else encoded[:1],
        "dec_ref_last": pair.reference_tokens[-1],
        "dec_tgt_last": pair.target_tokens[-1],
        "key_ref": pair.key,
        "key_tgt": pair.query,
        "value": value,
    }
    return {f"step{step}.{name}": tensor for name, tensor in found.items()}


def check_trace(case: vectors.Case, trace: dict[str, Tensor], stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = case.model()
    recorder = Recorder(model, monkeypatch)
    with torch.inference_mode():
        model(case.images("sensor0.img_u8")[None, :3])
    for step in (0, 1):
        for name, tensor in trace_of(recorder, step).items():
            assert_close(tensor[..., ::stride], trace[name], vectors.SMALLEST_LIMIT)


def test_inner_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trace(vectors.stored("dpt"), vectors.stored_trace(), 4, monkeypatch)


def test_decoder_layers_that_the_dpt_head_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    case, trace = vectors.stored("dpt"), vectors.stored_trace()
    model = case.model()
    recorder = Recorder(model, monkeypatch)
    with torch.inference_mode():
        model(case.images("sensor0.img_u8")[None, :2])
    pair = recorder.calls["decode"][0]
    for entry, layer in enumerate((0, 2, 3)):
        assert_close(pair.reference_tokens[entry][..., ::4], trace[f"step0.dec_ref.{layer}"], vectors.SMALLEST_LIMIT)
        assert_close(pair.target_tokens[entry][..., ::4], trace[f"step0.dec_tgt.{layer}"], vectors.SMALLEST_LIMIT)


@pytest.mark.shared
@pytest.mark.skipif(not vectors.SHARED.is_dir(), reason="no reference data beside the checkout")
@pytest.mark.parametrize(
    ("family", "name", "file"),
    [("driv3r", "linear", "linear_trace_sensor0"), ("spann3r", "dpt", "dpt_trace_sensor0")],
)
def test_shared_inner_tensors(family: str, name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    trace = load_file(vectors.SHARED / family / f"{file}.safetensors")
    check_trace(vectors.shared(family, name), trace, 1, monkeypatch)


def test_training_mode_stores_and_reads_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    case = vectors.stored("linear_trainmode")
    model = case.model().train()
    model.reader.dropout = 0.0
    recorder = Recorder(model, monkeypatch)
    with torch.no_grad():
        result = model(case.images("img_u8"))
    check_maps(case, result, "", vectors.SMALLEST_LIMIT)
    assert recorder.memory is not None
    vectors.assert_same_memory(recorder.memory, case.tensors, "", case.channel_stride, vectors.SMALLEST_LIMIT)
    for ours, expected in zip(result.steps, case.about["steps"], strict=True):
        assert (ours.skipped, ours.pruned) == (False, False)
        assert {name: getattr(ours, name) for name in expected} == expected


def test_the_corrected_memory_equals_the_published_one_until_it_prunes() -> None:
    case = vectors.stored("linear_smallmem")
    model = case.model()
    images = case.images("sensor0.img_u8")[None]
    with torch.inference_mode():
        official = model(images)
        model.memory = MemoryOptions(**{**vars(model.memory), "official": False})
        corrected = model(images)
    until = next(step for step, report in enumerate(official.steps) if report.pruned) + 1
    assert official.steps[: until - 1] == corrected.steps[: until - 1]
    assert torch.equal(official.final.points[:, :until], corrected.final.points[:, :until])
    assert not torch.equal(official.final.points, corrected.final.points)


def check_unordered(case: vectors.Case) -> None:
    """Pair graph, order of use, maps in that order."""
    result = reconstruct_unordered(case.model(), case.images("img_u8"), pairs_at_once=3)
    limit = vectors.SMALLEST_LIMIT
    pairs = torch.tensor(case.about["pairs"])
    for view in (0, 1):
        assert_close(result.sureness[pairs[:, 0], pairs[:, 1], view], case.tensors[f"graph.conf{view + 1}_mean"], limit)
    assert list(result.order) == case.about["frame_order_used"]
    maps = Pointmaps(result.points, result.confidence)
    expected = case.expected("")
    check_pointmaps(case.thin(maps), Pointmaps(expected.points[0], expected.confidence[0]), limit)
    stated = [float(line.rsplit("conf: ")[1]) for line in case.about["log"]]
    assert result.scores.tolist() == pytest.approx(stated, abs=limit)


def test_unordered_images() -> None:
    check_unordered(vectors.stored("dpt_offline"))


@pytest.mark.shared
@pytest.mark.skipif(not vectors.SHARED.is_dir(), reason="no reference data beside the checkout")
def test_shared_unordered_images() -> None:
    check_unordered(vectors.shared("spann3r", "dpt_offline"))
