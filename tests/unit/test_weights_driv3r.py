"""Spann3R and Driv3R: published names, conversion, our folder, the registry."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import published_driv3r as published
from worldline import weights
from worldline.errors import WeightsError
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.models.memory import MemoryOptions
from worldline.weights import registry
from worldline.weights.folder import FAMILIES
from worldline.weights.official import our_name


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_HOME", str(tmp_path / "home"))


def test_the_full_size_network_has_the_published_entries_and_no_others() -> None:
    expected = published.shapes()
    assert len(expected) == 1101
    values = {name: math.prod(shape) for name, shape in expected.items()}
    assert sum(count for name, count in values.items() if not published.is_copy(name)) == 658_691_976
    unused = sum(count for name, count in values.items() if published.is_unused(name))
    assert unused == 768 + 2 * 2 * (256 * 256 * 9 + 256)  # the mask token, and one residual unit per head
    model = FAMILIES["driv3r"].on_meta(Driv3rConfig.published())
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == {our_name(name): shape for name, shape in expected.items() if not published.is_unused(name)}
    assert sum(parameter.numel() for parameter in model.parameters()) == 658_691_976 - unused


def test_a_pth_becomes_the_same_network_with_its_memory(tmp_path: Path) -> None:
    folder = weights.convert(published.write(tmp_path / "run.pth"), tmp_path / "out")
    model, info = weights.load_model(folder)
    expected = weights.from_official(published.state())
    assert isinstance(model, Driv3r) and isinstance(expected, Driv3r)
    assert model.config == expected.config and model.memory == expected.memory == MemoryOptions(official=True)
    assert info.family == "driv3r" and info.id == "run" and "non-commercial" in info.license
    images = torch.rand(1, 3, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        points = model(images).final.points
        assert bool(torch.isfinite(points).all()) and torch.equal(points, expected(images).final.points)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_without_options_is_recognised_by_its_names(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "bare.pth"
    torch.save({prefix + name: value for name, value in published.state().items()}, path)
    model, _ = weights.load_model(weights.convert(path, tmp_path / "out"))
    assert isinstance(model, Driv3r) and model.config.head == "dpt"
    assert (model.config.encoder_heads, model.config.decoder_heads, model.config.value_heads) == (1, 1, 1)


@pytest.mark.parametrize(
    "name", ["dust3r.mask_token", "dust3r.downstream_head1.dpt.scratch.refinenet4.resConfUnit1.conv1.bias"]
)
def test_entries_that_no_output_depends_on_may_be_absent(tmp_path: Path, name: str) -> None:
    state = published.state()
    del state[name]
    path = published.write_pth(tmp_path / "a.pth", state, None)
    assert weights.read_info(weights.convert(path, tmp_path / "out")).family == "driv3r"


@pytest.mark.parametrize(
    "name", ["attn_head_2.2.bias", "value_encoder.1.mlp.fc2.weight", "norm_k.weight", "dust3r.enc_norm.bias"]
)
def test_a_missing_entry_is_named(tmp_path: Path, name: str) -> None:
    state = published.state()
    del state[name]
    with pytest.raises(WeightsError, match="missing: ") as caught:
        weights.convert(published.write_pth(tmp_path / "a.pth", state, None), tmp_path / "out")
    assert name.removeprefix("dust3r.") in caught.value.cause


@pytest.mark.parametrize("option", ["use_feat", "mem_pos_enc"])
def test_variants_that_no_released_model_uses_are_refused(tmp_path: Path, option: str) -> None:
    """Rotary positions in the value encoder leave no trace in the tensors."""
    path = published.write(tmp_path / "a.pth", f"Spann3R({option}=True)")
    with pytest.raises(WeightsError, match=option):
        weights.convert(path, tmp_path / "out")


def test_hostile_text_is_refused_for_this_class_as_well(tmp_path: Path) -> None:
    path = published.write(tmp_path / "a.pth", f"Spann3R(a=open('{tmp_path / 'pwned'}', 'w'))")
    with pytest.raises(WeightsError, match="constructor text in the checkpoint is refused"):
        weights.convert(path, tmp_path / "out")
    assert not (tmp_path / "pwned").exists()
    weights.convert(path, tmp_path / "out", ignore_options=True)


@pytest.mark.parametrize("stem", ["driv3r", "spann3r", "spann3r_v1.01"])
def test_file_names_of_the_authors_give_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str) -> None:
    name = stem.split("_")[0]
    entry = replace(registry.MODELS[name], parameters=count(weights.from_official(published.state())))
    monkeypatch.setitem(registry.MODELS, name, entry)
    info = weights.read_info(weights.convert(published.write(tmp_path / f"{stem}.pth"), tmp_path / "out"))
    assert info.id == name and info.license == entry.license and not info.is_permissive


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["spann3r", "driv3r"])
def test_weights_that_people_must_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entry = weights.info(name)
    assert weights.count_parameters(entry.family, entry.config) == entry.parameters
    assert entry.published_parameters == 658_691_976
    for refused in (weights.resolve, weights.verify):
        with pytest.raises(WeightsError, match="worldline cannot download them") as caught:
            refused(name)
    page, remedy = entry.source.page, caught.value.remedy
    assert f"Download {name}.pth by hand from {page}" in remedy
    out = remedy.split(" -o ")[1].rstrip(".")
    assert f"worldline models convert {name}.pth --id {name}" in remedy and not weights.is_available(name)
    small = replace(entry, parameters=count(weights.from_official(published.state())))
    monkeypatch.setitem(registry.MODELS, name, small)
    weights.convert(published.write(tmp_path / f"{name}.pth"), out, model_id=name)  # as the remedy says
    assert weights.is_available(name) and weights.resolve(name) == Path(out)
    assert weights.verify(name).id == name and weights.info(name).card["source"]["file"] == f"{name}.pth"


def test_the_embedded_stream_model_is_described_before_and_after_it_is_there() -> None:
    entry = weights.MODELS["driv3r-mini"]
    assert entry.embedded and entry.is_permissive and entry.family == "driv3r"
    assert entry.config == Driv3rConfig.mini() and 5e6 < entry.parameters < 15e6
    assert weights.count_parameters(entry.family, entry.config) == entry.parameters
    if weights.is_available("driv3r-mini"):
        model = weights.load_model(weights.resolve("driv3r-mini"))[0]
        assert isinstance(model, Driv3r)
    else:
        with pytest.raises(WeightsError, match="this installation does not have them"):
            weights.resolve("driv3r-mini")


def tiny(**options) -> Driv3r:
    torch.manual_seed(0)
    config = replace(
        Driv3rConfig.mini(), patch_size=4, encoder_dim=16, encoder_depth=1, encoder_heads=2, decoder_dim=8,
        decoder_depth=1, decoder_heads=1, value_depth=1, value_heads=2,
    )  # fmt: skip
    return Driv3r(config, MemoryOptions(**options)).eval()


def test_options_of_the_memory_return_with_the_model(tmp_path: Path) -> None:
    model = tiny(long_tokens=40, working_frames=2, attention_cut=0.0, similarity_limit=1.0, pruning="diverse")
    weights.save_model(model, tmp_path / "m", card={"name": "tiny", "license": "Apache-2.0"}, dtype=torch.float32)
    loaded, info = weights.load_model(tmp_path / "m")
    assert isinstance(loaded, Driv3r) and loaded.memory == model.memory and loaded.config == model.config
    assert info.memory["long_tokens"] == 40 and info.config.relative_pose
    images = torch.rand(1, 6, 3, 8, 12) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(loaded(images).final.points, model(images).final.points)


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ({"long_token": 4}, "No memory can have the stored options"),
        ({"working_frames": 0}, "No memory can have the stored options"),
        ({"attention_cut": "much"}, "No memory can have the stored options"),
        ({"pruning": "random"}, "No memory can have the stored options"),
        (["long_tokens"], "wrong value: memory"),
    ],
)
def test_stored_options_that_no_memory_can_have(tmp_path: Path, memory: object, words: str) -> None:
    weights.save_model(tiny(), tmp_path / "m", card={"name": "tiny"}, dtype=torch.float32)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "memory": memory}))
    with pytest.raises(WeightsError, match=words):
        weights.load_model(tmp_path / "m")


def test_a_folder_without_options_of_the_memory_gets_the_defaults(tmp_path: Path) -> None:
    weights.save_model(tiny(long_tokens=40), tmp_path / "m", card={"name": "tiny"}, dtype=torch.float32)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    del config["memory"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert weights.load_model(tmp_path / "m")[0].memory == MemoryOptions()
