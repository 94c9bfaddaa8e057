"""Published checkpoints become folders of ours, and nothing inside a file is ever run."""

import argparse
import json
import math
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import published_checkpoints as published
from worldline import weights
from worldline.errors import OutputError, WeightsError
from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r
from worldline.weights.literal import parse_constructor


def test_a_multi_view_pth_becomes_the_same_network(tmp_path: Path) -> None:
    path = published.write_mvdust3r(tmp_path / "MVDp_s2.pth")
    folder = weights.convert(path, tmp_path / "out")
    model, info = weights.load_model(folder)
    expected = weights.from_official(published.mvdust3r_state(), published.MVDUST3R_OPTIONS)
    assert isinstance(model, MVDust3r) and model.config == expected.config
    assert model.config.confidence_max == 1e9 and model.config.encoder_heads == 2
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in model.state_dict().items())
    images = torch.rand(1, 3, 3, 12, 16) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(model(images).points, expected(images).points)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    assert info.card["source"]["file"] == "MVDp_s2.pth" and info.image_size == 224
    assert "non-commercial" in info.license  # of another size than the published one, so its origin is not claimed
    assert info.id == "MVDp_s2" and not info.is_permissive


def test_training_only_options_are_turned_off(tmp_path: Path) -> None:
    model, info = weights.load_model(weights.convert(published.write_dust3r(tmp_path / "a.pth"), tmp_path / "out"))
    assert isinstance(model, Dust3r) and info.image_size == 512
    assert not model.config.many_aspect and not model.config.landscape_only
    assert model.config.confidence_max == math.inf


@pytest.mark.parametrize("wrapped", [True, False])
def test_sizes_come_from_the_shapes_when_the_file_has_no_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    def write(path: Path) -> Path:
        if wrapped:
            return published.write_pth(path, published.dust3r_state(), None)
        torch.save(published.dust3r_state(), path)
        return path

    with pytest.raises(WeightsError, match="enc_num_heads"):  # 16 channels are no multiple of 64 per head
        weights.convert(write(tmp_path / "bare.pth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(published, "ENCODER", 128)
    monkeypatch.setattr(published, "DECODER", 64)
    model, _ = weights.load_model(weights.convert(write(tmp_path / "bare.pth"), tmp_path / "out"))
    assert (model.config.encoder_heads, model.config.decoder_heads, model.config.encoder_depth) == (2, 1, 2)


def test_hub_folder_with_config_json(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(published.dust3r_state(), hub / "model.safetensors")
    options = json.dumps(published.DUST3R_OPTIONS)
    assert "Infinity" in options  # what Python's json writes for inf
    (hub / "config.json").write_text(options)
    for place, out in ((hub, "a"), (hub / "model.safetensors", "b")):
        model, _ = weights.load_model(weights.convert(place, tmp_path / out))
        assert model.config.confidence_max == math.inf and model.config.encoder_heads == 2


def test_known_id_gives_terms_and_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = published.write_mvdust3r(tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=r"is not the model 'mvdust3r-plus': it has [\d,]+ parameters instead of 661"
    ):
        weights.convert(path, tmp_path / "out", model_id="mvdust3r-plus")
    tiny = weights.from_official(published.mvdust3r_state(), published.MVDUST3R_OPTIONS)
    entry = weights.MODELS["mvdust3r-plus"]
    monkeypatch.setitem(
        weights.MODELS, "mvdust3r-plus", replace(entry, parameters=sum(p.numel() for p in tiny.parameters()))
    )
    info = weights.read_info(weights.convert(path, tmp_path / "out", model_id="mvdust3r-plus"))
    assert info.id == "mvdust3r-plus" and info.license == entry.license
    assert info.domain == "indoor" and "2412.06974" in info.citation
    path = published.write_mvdust3r(tmp_path / "MVDp_s2.pth")  # recognised by the authors' file name and its size
    assert weights.read_info(weights.convert(path, tmp_path / "out2")).id == "mvdust3r-plus"


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = published.write_dust3r(tmp_path / "a.pth")
    folder = weights.convert(path, tmp_path / "out")
    with pytest.raises(OutputError, match="already exists") as caught:
        weights.convert(path, folder)
    assert "--force" in caught.value.remedy
    weights.convert(path, folder, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(OutputError):
        weights.convert(path, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"


class Attack:
    """A pickle that would create a file when it is loaded without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


class SystemAttack(Attack):
    def __reduce__(self):
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("attack", [Attack, SystemAttack])
@pytest.mark.parametrize("form", ["zip", "plain"])
def test_a_malicious_pickle_is_refused_by_name_without_running(tmp_path: Path, attack: type, form: str) -> None:
    target, path = tmp_path / "pwned", tmp_path / "evil.pth"
    content = {"model": published.dust3r_state(), "args": argparse.Namespace(model=attack(target))}
    if form == "zip":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"x": attack(target)}, protocol=2))
    with pytest.raises(WeightsError, match=r"refused: its pickle wants to call (getattr|pathlib\.\S+|\w+\.system),"):
        weights.convert(path, tmp_path / "out")
    assert not target.exists()
    if form == "plain":
        pickle.loads(path.read_bytes())  # the attack itself works, so the test can fail
        assert target.exists()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {target}')",
        "AsymmetricCroCo3DStereo(img_size=__import__('os').system('touch {target}'))",
        "AsymmetricCroCo3DStereo(a=[open('{target}', 'w') for _ in (1,)])",
        "AsymmetricCroCo3DStereo(**{{'a': 1}})",
        "AsymmetricCroCo3DStereo(512)",
        "AsymmetricCroCo3DStereo(a=nan)",
        "AsymmetricCroCo3DStereo(a=b'x')",
        "AsymmetricCroCo3DStereo(a=2 ** 99999)",
        "AsymmetricCroCo3DStereo(a=-'x')",
        "AsymmetricCroCo3DStereo(a={{**{{}}}})",
        "AsymmetricCroCo3DStereo(a=1",
        "AsymmetricCroCo3DStereo(a=1, a=2)",
        "OtherModel(a=1)",
        "os.AsymmetricCroCo3DStereo(a=1)",
        "AsymmetricCroCo3DStereo(a=" + "(" * 3000 + ")" * 3000 + ")",
        "AsymmetricCroCo3DStereo(a=" + "-" * 15000 + "1)",
        "x" * 30_000,
        "",
    ],
)
def test_malicious_constructor_text_is_refused_without_running(tmp_path: Path, text: str) -> None:
    target = tmp_path / "pwned"
    text = text.format(target=target) if "{" in text else text
    path = published.write_pth(tmp_path / "evil.pth", published.dust3r_state(), text)
    with pytest.raises(WeightsError, match="constructor text in the checkpoint is refused") as caught:
        weights.convert(path, tmp_path / "out")
    assert not target.exists() and not (tmp_path / "out").exists()
    assert "--ignore-options" in caught.value.remedy and len(str(caught.value)) < 500


def test_the_constructor_text_is_read_as_data() -> None:
    name, options = parse_constructor(
        "AsymmetricCroCo3DStereoMultiView(pos_embed='RoPE100', img_size=(224, 224), depth_mode=('exp', -inf, inf), "
        "conf_mode=('exp', 1, 1e9), GS=True, skip=None, pts_head_config = {'skip': True}, shape=[1, -2.5])"
    )
    assert name == "AsymmetricCroCo3DStereoMultiView"
    assert options == {
        "pos_embed": "RoPE100",
        "img_size": (224, 224),
        "depth_mode": ("exp", -math.inf, math.inf),
        "conf_mode": ("exp", 1, 1e9),
        "GS": True,
        "skip": None,
        "pts_head_config": {"skip": True},
        "shape": [1, -2.5],
    }


def test_refused_options_can_be_ignored(tmp_path: Path) -> None:
    path = published.write_pth(tmp_path / "a.pth", published.dust3r_state(), "Unknown(x=1)")
    with pytest.raises(WeightsError, match="enc_num_heads"):  # gets as far as the shapes
        weights.convert(path, tmp_path / "out", ignore_options=True)


def torch_zip_cut_short(path: Path) -> None:
    published.write_dust3r(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def safetensors_cut_short(path: Path) -> None:
    save_file(published.dust3r_state(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def zip_of_photos(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/a.jpg", b"x")


def tensors_of_another_family(path: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}}, path)


def croco_like(path: Path) -> None:
    state = {key: value for key, value in published.dust3r_state().items() if not key.startswith("downstream")}
    published.write_pth(path, {**state, "prediction_head.weight": torch.zeros(2)}, None)


WRONG_FILES = [
    (lambda p: p.write_text("<!DOCTYPE html><html><body>Log in</body></html>"), "is an HTML page"),
    (lambda p: p.write_text("\n\n<HTML>quota exceeded"), "is an HTML page"),
    (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "is a git-lfs pointer"),
    (torch_zip_cut_short, "is a checkpoint or zip archive that is cut short or damaged"),
    (safetensors_cut_short, "is a safetensors file that is cut short or damaged"),
    (zip_of_photos, r"is a zip archive without tensors \(it holds photos/a.jpg\)"),
    (lambda p: p.write_bytes(b""), "is empty"),
    (lambda p: p.write_text('{"a": 1}'), "is JSON text"),
    (lambda p: p.write_text("ünïcode notes " * 90), "is a text file"),
    (lambda p: p.write_bytes(bytes(range(256)) * 9), "of no known kind"),
    (lambda p: Image.new("RGB", (9, 9)).save(p, "JPEG"), "is a JPEG image"),
    (lambda p: Image.new("RGB", (9, 9)).save(p, "PNG"), "is a PNG image"),
    (lambda p: Image.new("RGB", (9, 9)).save(p, "WEBP"), "is a WebP image"),
    (tensors_of_another_family, r"another kind of model: it has conv1 \(1\), fc \(1\)"),
    (croco_like, r"another kind of model: it has .*prediction_head.*but no downstream_head1"),
    (lambda p: torch.save({"a.b": torch.zeros(1), "a.c": torch.zeros(1)}, p), r"another kind of model: it has a \(2\)"),
    (lambda p: torch.save(torch.zeros(3), p), "holds one tensor, not a state dict"),
    (lambda p: torch.save([1, 2], p), "holds a list, not a state dict"),
    (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "is a pickle, but no PyTorch|holds no tensors|not a PyTorch"),
    (lambda p: p.write_bytes(b"\x80\x02" + b"garbage" * 50), "is a pickle, but no PyTorch|not a PyTorch checkpoint"),
    (lambda p: None, "does not exist"),
    (lambda p: p.mkdir(), "does not exist"),
]


@pytest.mark.parametrize(("write", "words"), WRONG_FILES)
def test_files_that_are_no_checkpoints_get_a_sentence(tmp_path: Path, write, words: str) -> None:
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(WeightsError, match=words) as caught:
        weights.convert(path, tmp_path / "out")
    assert caught.value.remedy and caught.value.cause.endswith((".", "!"))
    assert not (tmp_path / "out").exists()


def test_a_tensor_too_few_is_named(tmp_path: Path) -> None:
    state = published.mvdust3r_state()
    del state["downstream_head2.skip_proj.1.norm.running_var"]
    text = published.constructor_text("AsymmetricCroCo3DStereoMultiView", published.MVDUST3R_OPTIONS)
    with pytest.raises(WeightsError, match=r"running_var"):
        weights.convert(published.write_pth(tmp_path / "a.pth", state, text), tmp_path / "out")


def test_our_own_format_needs_no_conversion(tmp_path: Path) -> None:
    folder = weights.convert(published.write_dust3r(tmp_path / "a.pth"), tmp_path / "out")
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(WeightsError, match="already in our own format"):
            weights.convert(path, tmp_path / "again")
