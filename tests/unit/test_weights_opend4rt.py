"""Checkpoints of Open-D4RT: every way in which they come, and every way in which they can be wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from worldline import weights
from worldline.cli import main
from worldline.errors import WeightsError
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt, Queries
from worldline.weights import fetch
from worldline.weights.official_d4rt import resize_time_tables, to_open_d4rt

SMALL = D4rtConfig(
    clip_frames=6, image_size=(32, 48), encoder_dim=16, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=70,
    decoder_dim=12, decoder_depth=2, decoder_heads=2, decoder_mlp_dim=42, aspect_hidden=True, position="flat",
    fourier_bands=4, color_patch=5, query_mlp=False, corners=True, norm_eps=1e-5, max_tokens=24,
)  # fmt: skip


def state(config: D4rtConfig = SMALL) -> dict[str, Tensor]:
    """Random tensors under the published names."""
    torch.manual_seed(0)
    return {name: value.detach().clone() for name, value in to_open_d4rt(D4rt(config).state_dict()).items()}


def model_yaml(**changes: Any) -> dict[str, Any]:
    """The options of SMALL, with changes given as ``encoder__num_heads=3``."""
    parts: dict[str, Any] = {
        "name": "d4rt",
        "input": {"clip_frames": 6, "image_size": [32, 48], "channels": 3, "use_aspect_ratio_token": True},
        "encoder": {
            "variant": "custom",
            "num_layers": 2,
            "patch_size_t_h_w": [2, 16, 16],
            "hidden_dim": 16,
            "num_heads": 2,
            "mlp_ratio": 4.3636363636,
            "attention_pattern": "interleaved_local_framewise_and_global",
            "max_tokens": 24,
        },
        "decoder": {"num_layers": 2, "hidden_dim": 12, "num_heads": 2, "mlp_ratio": 3.5},
        "query_embedding": {"uv_num_bands": 4, "local_rgb_patch": {"enabled": True, "patch_size": 5}},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        parts[part][key] = value
    return {"experiment": {"name": "tiny"}, "model": parts}


def write(path: Path, content: Any, options: dict[str, Any] | None = None) -> Path:
    """A checkpoint, with its model.yaml beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    if options is not None:
        path.with_name("model.yaml").write_text(yaml.safe_dump(options))
    return path


def test_names_go_there_and_back() -> None:
    model = weights.from_official(state(), model_yaml())
    assert isinstance(model, D4rt) and model.config == SMALL and not model.training
    back = to_open_d4rt(model.state_dict())
    assert back.keys() == state().keys() and all(torch.equal(back[name], value) for name, value in state().items())


@pytest.mark.parametrize("container", ["state_dict", "model", "module", "network", "net", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_prefixes(tmp_path: Path, container: str | None, prefix: str) -> None:
    tensors = {prefix + name: value for name, value in state().items()}
    content = {container: tensors, "global_step": 3} if container else tensors
    path = write(tmp_path / "opend4rt.ckpt", content, model_yaml())
    model, info = weights.load_model(weights.convert(path, tmp_path / "out"))
    assert model.config == SMALL and info.family == "d4rt"
    assert torch.equal(model.state_dict()["encoder.norm.weight"], state()["encoder.final_norm.weight"])


def test_safetensors_with_its_options_beside_it(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "opend4rt.safetensors")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model_yaml()))
    model, _ = weights.load_model(weights.convert(tmp_path / "opend4rt.safetensors", tmp_path / "out"))
    assert model.config == SMALL
    with pytest.raises(WeightsError, match="how many attention heads"):
        weights.convert(tmp_path / "opend4rt.safetensors", tmp_path / "other", ignore_options=True)


def test_a_video_is_tracked_with_a_checkpoint_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_HOME", str(tmp_path / "home"))
    path = write(tmp_path / "opend4rt.ckpt", {"model": state(), "optimizer": {}}, model_yaml())
    (tmp_path / "film").mkdir()
    for number in range(9):  # more than a clip, and an odd number
        pixels = np.random.default_rng(number).integers(256, size=(48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "film" / f"{number}.png")
    arguments = ["--points", "grid:2", "--size", "32", "--no-film", "--quiet", "--device", "cpu"]
    assert main(["track", str(tmp_path / "film"), "-o", str(tmp_path / "out"), "--model", str(path), *arguments]) == 0
    with np.load(tmp_path / "out" / "tracks.npz") as tracks:
        assert tracks["tracks_XYZ"].shape == (9, 4, 3)


def test_a_file_that_holds_its_options_itself(tmp_path: Path) -> None:
    options = model_yaml()["model"]
    del options["input"]["use_aspect_ratio_token"]
    options["encoder"]["attention_pattern"] = "interleaved_spatial_and_global"
    options |= {"aspect_ratio_token": {"enabled": True}, "memory_projection": {"enabled": True}}
    content = {"format": "open-d4rt-model", "model_config": options, "state_dict": state(), "metadata": {}}
    model, _ = weights.load_model(weights.convert(write(tmp_path / "a.pt", content), tmp_path / "out"))
    assert model.config == SMALL


def test_the_state_of_the_optimiser_is_never_read(tmp_path: Path) -> None:
    class Trap:
        """Something that only an unsafe reader would build."""

    moments = {number: {"exp_avg": torch.full_like(value, torch.nan)} for number, value in enumerate(state().values())}
    content = {"model": state(), "optimizer": {"state": moments, "param_groups": []}, "global_step": 1}
    folder = weights.convert(write(tmp_path / "opend4rt.ckpt", content, model_yaml()), tmp_path / "out")
    _, info = weights.load_model(folder)  # NaN would be refused
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert stored <= 4 * info.parameters + 20_000
    with pytest.raises(WeightsError, match="refused"):
        write(tmp_path / "bad.ckpt", {"model": state(), "scheduler": Trap.__init__}, model_yaml())
        weights.convert(tmp_path / "bad.ckpt", tmp_path / "other")


def test_sizes_without_options() -> None:
    with pytest.raises(WeightsError, match="16 channels; how many attention heads") as caught:
        weights.from_official(state(), {})
    assert "model.yaml" in caught.value.remedy
    wide = replace(SMALL, encoder_dim=768, encoder_heads=12, decoder_dim=128, image_size=(256, 256), max_tokens=6144)
    assert weights.from_official(state(wide), {}).config == wide


def test_a_network_without_extras() -> None:
    plain = replace(SMALL, aspect_token=False, color_patch=0, local_layers=False, decoder_dim=16, max_tokens=4096)
    options = model_yaml(
        input__use_aspect_ratio_token=False, encoder__attention_pattern="global", decoder__hidden_dim=16,
        decoder__mlp_ratio=42 / 16, query_embedding__local_rgb_patch={"enabled": False, "patch_size": 1},
    )  # fmt: skip
    del options["model"]["encoder"]["max_tokens"]  # the published default
    assert weights.from_official(state(plain), options).config == plain


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder__attention_pattern": "interleaved"}, "pattern 'interleaved' is not known"),
        ({"encoder__attention_pattern": None}, "pattern None is not known"),
        ({"encoder__num_heads": 3}, "cannot be divided among 3"),
        ({"encoder__num_layers": 3}, "encoder_depth = 3 instead of 2"),
        ({"encoder__hidden_dim": 32}, "encoder_dim = 32 instead of 16"),
        ({"encoder__patch_size_t_h_w": [1, 16, 16]}, r"patch = \(1, 16, 16\)"),
        ({"encoder__mlp_ratio": 4.0}, "encoder_mlp_dim = 64 instead of 70"),
        ({"decoder__num_heads": 0}, "among 0"),
        ({"input__clip_frames": 48}, "clip_frames = 48 instead of 6"),
        ({"input__use_aspect_ratio_token": False}, "aspect_token = False"),
        ({"query_embedding__uv_num_bands": 8}, "fourier_bands = 8"),
        ({"query_embedding__local_rgb_patch": {"enabled": False}}, "color_patch = 0 instead of 5"),
        ({"encoder__num_heads": "many"}, "options are not those of Open-D4RT"),
        ({"input__image_size": 256}, "options are not those of Open-D4RT"),
    ],
)
def test_options_that_contradict_the_tensors(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        weights.from_official(state(), model_yaml(**changes))


def test_tensors_that_do_not_fit_each_other() -> None:
    def refused(change: dict[str, Tensor | None], words: str) -> None:
        tensors = {name: value for name, value in {**state(), **change}.items() if value is not None}
        with pytest.raises(WeightsError, match=words):
            weights.from_official(tensors, model_yaml())

    refused({"heads.uv_head.bias": None}, "missing: heads.uv_head.bias; unexpected: none")
    refused({"heads.depth_head.bias": torch.zeros(1)}, "missing: none; unexpected: heads.depth_head.bias")
    refused({"decoder.blocks.1.cross_attn.in_proj_bias": None}, r"missing: decoder.blocks.1.cross_attn.in_proj_bias")
    refused({"decoder.out_norm.bias": torch.zeros(5)}, r"decoder.out_norm.bias \[5\], expected \[12\]")
    refused({"query_embedder.t_cam_embed.weight": torch.zeros(5, 12)}, r"t_cam_embed.weight \[5, 12\]")
    refused({"encoder.blocks.7.ff.0.bias": torch.zeros(70)}, "encoder_depth = 2 instead of 8")
    refused({"encoder.patch_embed.weight": None}, "not those of Open-D4RT")


@pytest.mark.parametrize(
    ("text", "words"), [("model: [", "is not YAML"), ("- 1", "holds no options"), ("!!python/name:os.x", "is not YAML")]
)
def test_a_broken_model_yaml(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "opend4rt.ckpt", {"model": state()})
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(WeightsError, match=words):
        weights.convert(path, tmp_path / "out")


def test_compat_keeps_what_we_correct() -> None:
    published = weights.from_official(state(), model_yaml(), compat=True)
    corrected = weights.from_official(state(), model_yaml())
    assert published.config == replace(SMALL, pool_tokens=True, drop_odd_frame=True, clamp_times=True)
    video = torch.rand(1, 5, 3, 32, 48)
    asked = Queries(*torch.rand(2, 1, 7), *torch.tensor([0, 5, 1]).view(3, 1, 1).expand(3, 1, 7))
    with torch.inference_mode():
        dropped, padded = published.encode(video), corrected.encode(video)
        assert dropped.tokens.shape[1] == 2 * 6 + 1 and padded.tokens.shape[1] == 3 * 6 + 1
        beyond = published.decode(dropped, asked._replace(t_tgt=asked.t_tgt + 4))  # the last row of the table
        assert torch.equal(beyond.points, published.decode(dropped, asked).points)


def test_longer_clips_start_from_resized_tables() -> None:
    longer = resize_time_tables(state(), 11)
    model = weights.from_official(longer, model_yaml(input__clip_frames=11))
    assert model.config.clip_frames == 11
    table, before = model.queries.times[1].weight, state()["query_embedder.t_tgt_embed.weight"]
    assert torch.allclose(table[::2], before, atol=1e-6)
    with pytest.raises(WeightsError, match="cubic"):
        resize_time_tables(state(), 11, "cubic")


class FakeHub:
    """The hub's repository of a small network under a published name."""

    def __init__(self, folder: Path, entry: weights.ModelInfo) -> None:
        self.folder, self.source, self.requests = folder, entry.source, []

    def publish(self, shift: float = 0.0) -> Path:
        tensors = {name: value + shift for name, value in state().items()}
        return write(self.path(self.source.filename), {"model": tensors, "global_step": 6000}, model_yaml())

    def path(self, filename: str) -> Path:
        return self.folder / "snapshots" / ("a" * 40) / filename

    def download(self, repo: str, filename: str, revision: str | None, command: str) -> Path:
        assert repo == "Lijiaxin0111/OpenD4RT"
        self.requests.append(filename)
        return self.path(filename)


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    monkeypatch.setenv("WORLDLINE_HOME", str(tmp_path / "home"))
    entry = weights.MODELS["opend4rt-48"]
    hub = FakeHub(tmp_path / "hub", entry)
    monkeypatch.setattr(fetch, "download", hub.download)
    file = hub.publish()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    source = replace(entry.source, bytes=file.stat().st_size, sha256=digest)
    count = weights.count_parameters("d4rt", SMALL)
    monkeypatch.setitem(weights.MODELS, entry.id, replace(entry, source=source, parameters=count, config=SMALL))
    return hub


def test_the_published_file_is_fetched_with_its_options(fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "get", "opend4rt-48"]) == 0
    assert [Path(name).name for name in fake_hub.requests] == ["opend4rt.ckpt", "model.yaml"]
    model, info = weights.load_model(weights.resolve("opend4rt-48"))
    assert model.config == SMALL and info.id == "opend4rt-48" and info.image_size == 256
    assert main(["models", "verify", "opend4rt-48"]) == 0
    assert "is the one reported by one independent user" in " ".join(capsys.readouterr().out.split())


def test_another_file_is_refused_unless_the_user_trusts_it(
    fake_hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_hub.publish(shift=1.0)
    with pytest.raises(WeightsError, match=r"refused as 'opend4rt-48': its sha256 is .* \(reported by") as caught:
        weights.resolve("opend4rt-48")
    assert "--repin" in caught.value.remedy and not weights.is_available("opend4rt-48")
    weights.resolve("opend4rt-48", repin=True)
    assert weights.resolve("opend4rt-48") == weights.resolve("opend4rt-48")
    assert main(["models", "verify", "opend4rt-48"]) == 0
    assert "IS NOT THE ONE" in " ".join(capsys.readouterr().out.split())


def test_a_file_of_another_size_is_refused_before_it_is_read(fake_hub: FakeHub, tmp_path: Path) -> None:
    path = fake_hub.path(fake_hub.source.filename)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="bytes, the published file"):
        weights.resolve("opend4rt-48")
    with pytest.raises(WeightsError, match="bytes, the published file"):
        weights.convert(path, tmp_path / "out", model_id="opend4rt-48")


def test_a_local_file_is_recognised_by_its_digest(fake_hub: FakeHub, tmp_path: Path) -> None:
    path = write(tmp_path / "mine" / "any.ckpt", {}, model_yaml())
    path.write_bytes(fake_hub.path(fake_hub.source.filename).read_bytes())
    _, info = weights.load_model(weights.resolve(path))
    assert info.id == "opend4rt-48" and "not unconditionally commercial" in info.license
    other = write(tmp_path / "other" / "opend4rt.ckpt", {"model": state()}, model_yaml())  # the name proves nothing
    _, info = weights.load_model(weights.resolve(other))
    assert info.id == "opend4rt" and "unknown" in info.license and not info.is_permissive


def test_what_is_known_of_the_released_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "opend4rt-32"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("13,950,006,682 bytes", "1f63305422fd", "reported by one independent user", "VideoMAEv2", "d4rt"):
        assert words in shown
