"""Saving and loading of networks: exact, atomic, strict."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldline import weights
from worldline.errors import OutputError, WeightsError
from worldline.models.config import Dust3rConfig, MVDust3rConfig
from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r
from worldline.weights.storage import SHARD_BYTES

TINY = {
    "encoder_dim": 16,
    "encoder_depth": 1,
    "encoder_heads": 2,
    "decoder_dim": 8,
    "decoder_depth": 1,
    "decoder_heads": 1,
}
CARD = {"name": "tiny", "license": "Apache-2.0", "domain": "noise", "image_size": 96, "note": "ünïcode"}


def tiny_model(**changes) -> MVDust3r:
    torch.manual_seed(0)
    config = replace(MVDust3rConfig(patch_size=4, skip_dim=4, gaussian_dim=8, **TINY), **changes)
    return MVDust3r(config).eval()


def rewrite(folder: Path, change) -> None:
    """Alter the tensors of a saved model, and drop the recorded digest, as a hand-made folder would have none."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    del config["files"]
    (folder / "config.json").write_text(json.dumps(config))


def test_float32_is_exact_and_everything_about_the_model_returns(tmp_path: Path) -> None:
    model = tiny_model()
    weights.save_model(model, tmp_path / "m", card=CARD, dtype=torch.float32)
    loaded, info = weights.load_model(tmp_path / "m")
    assert not loaded.training
    assert loaded.config == model.config and info.config == model.config
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) and state[key].dtype == expected[key].dtype for key in state)
    images = torch.rand(1, 3, 3, 16, 20) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(loaded(images, 2).points, model(images, 2).points)
    assert (info.id, info.license, info.domain, info.image_size) == ("tiny", "Apache-2.0", "noise", 96)
    assert info.family == "mvdust3r" and info.card["note"] == "ünïcode"
    assert info.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert len(info.sha256) == 64


def test_pairwise_models_with_infinite_bounds_and_tuples_return(tmp_path: Path) -> None:
    config = Dust3rConfig(
        head="dpt", dpt_dim=8, dpt_last_dim=4, dpt_layer_dims=(4, 8, 8, 8), **{**TINY, "decoder_depth": 10}
    )
    weights.save_model(Dust3r(config), tmp_path / "m", card=CARD, dtype=torch.float32)
    loaded, info = weights.load_model(tmp_path / "m")
    assert isinstance(loaded, Dust3r) and info.config == config


def test_float16_rounds_and_comes_back_as_float32(tmp_path: Path) -> None:
    model = tiny_model()
    weights.save_model(model, tmp_path / "m", card=CARD)
    stored = load_file(tmp_path / "m" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    loaded, _ = weights.load_model(tmp_path / "m")
    for key, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded.state_dict()[key], expected)


def test_shards_are_small_and_load_like_one_file(tmp_path: Path) -> None:
    model = tiny_model()
    limit = 100_000
    weights.save_model(model, tmp_path / "one", card=CARD, dtype=torch.float32)
    weights.save_model(model, tmp_path / "many", card=CARD, dtype=torch.float32, shard_bytes=limit)
    shards = sorted((tmp_path / "many").glob("model-*.safetensors"))
    assert len(shards) > 1 and max(path.stat().st_size for path in shards) <= limit
    one, many = (weights.load_model(tmp_path / name) for name in ("one", "many"))
    assert all(torch.equal(value, many[0].state_dict()[key]) for key, value in one[0].state_dict().items())
    assert one[1].sha256 != many[1].sha256  # the digest is of the files' content
    assert SHARD_BYTES <= 16 * 2**20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("decoder.norm.weight"), "lacks decoder.norm.weight"),
        (lambda t: t.update(stranger=torch.zeros(1)), "does not know: stranger"),
        (lambda t: t.update({"decoder.norm.bias": torch.zeros(9)}), r"decoder.norm.bias is \[9\] instead of \[8\]"),
        (lambda t: t["decoder.norm.bias"].fill_(torch.nan), "not finite .* in decoder.norm.bias"),
        (lambda t: t["encoder.norm.weight"].fill_(torch.inf), "not finite .* in encoder.norm.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change, words: str) -> None:
    weights.save_model(tiny_model(), tmp_path / "m", card=CARD, dtype=torch.float32)
    rewrite(tmp_path / "m", change)
    with pytest.raises(WeightsError, match=words):
        weights.load_model(tmp_path / "m")


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    weights.save_model(tiny_model(), tmp_path / "m", card=CARD)
    file = tmp_path / "m" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or was changed"):
        weights.load_model(tmp_path / "m")


def test_cut_short_and_missing_files_are_named(tmp_path: Path) -> None:
    folder = weights.save_model(tiny_model(), tmp_path / "m", card=CARD, shard_bytes=100_000)
    rest = next(folder.glob("model-*.safetensors"))
    rest.unlink()
    with pytest.raises(WeightsError, match=f"incomplete: {rest.name}"):
        weights.load_model(folder)
    with pytest.raises(WeightsError, match=r"config.json is missing"):
        weights.load_model(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", 99, "version 99"),
        ("family", "yolo", "unknown model family 'yolo'"),
        ("format", "zarr", "not a model folder of ours"),
        ("config", {"encoder_dim": 16, "colour": "red"}, "unknown fields: colour"),
        ("config", {"encoder_dim": "many"}, "No network can have"),
    ],
)
def test_a_strange_configuration_is_refused(tmp_path: Path, field: str, value: object, words: str) -> None:
    weights.save_model(tiny_model(), tmp_path / "m", card=CARD)
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(WeightsError, match=words):
        weights.load_model(tmp_path / "m")


def test_values_that_float16_cannot_hold_are_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.decoder.norm.weight[0] = 1e6
    with pytest.raises(WeightsError, match=r"decoder.norm.weight is not finite in torch.float16"):
        weights.save_model(model, tmp_path / "m", card=CARD)
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_an_earlier_model_is_replaced_whole_and_other_files_stay(tmp_path: Path) -> None:
    folder = weights.save_model(tiny_model(), tmp_path / "m", card=CARD, shard_bytes=100_000)
    (folder / "README.md").write_text("mine")
    weights.save_model(tiny_model(gaussians=False), folder, card=CARD)
    assert {path.name for path in folder.iterdir()} == {"config.json", "card.json", "model.safetensors", "README.md"}
    assert not weights.load_model(folder)[0].config.gaussians
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    with pytest.raises(OutputError, match="already holds a model"):
        weights.save_model(tiny_model(), folder, card=CARD, overwrite=False)


def test_foreign_folders_and_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"precious")
    with pytest.raises(OutputError, match="not a model folder of ours"):
        weights.save_model(tiny_model(), tmp_path / "photos", card=CARD)
    with pytest.raises(OutputError, match="not a model folder of ours"):
        weights.save_model(tiny_model(), tmp_path / "photos" / "a.jpg", card=CARD)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"precious"


def test_the_terms_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    terms = {**CARD, "license": "CC BY-NC 4.0 (non-commercial)", "name": "restricted"}
    model = tiny_model()
    with torch.no_grad():
        model.decoder.norm.bias[0] = 0.125  # another digest than the other tests' models
    weights.save_model(model, tmp_path / "m", card=terms)
    with caplog.at_level(logging.WARNING, logger="worldline.weights"):
        _, info = weights.load_model(tmp_path / "m")
        weights.load_model(tmp_path / "m")
    assert [record.getMessage() for record in caplog.records] == [info.notice]
    assert "CC BY-NC 4.0" in info.notice and not info.is_permissive
