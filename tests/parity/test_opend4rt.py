"""Open-D4RT: its checkpoints load completely, and our network answers as the published one does."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from opend4rt_vectors import (
    CASES,
    FOLDER,
    STRIDE,
    assert_answers,
    document,
    frames,
    network,
    published_shapes,
    queries,
    read,
    relative_error,
)
from torch import Tensor

from worldline import weights
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import Answers, D4rt, Queries
from worldline.models.layers.clip_position import flat_code
from worldline.weights.official_d4rt import open_config, resize_time_table, to_open_d4rt

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "opend4rt"
LIMIT = 1e-5  # of the largest expected value, per tensor


class Probe:
    """Inputs and outputs of layers, by our names of them."""

    def __init__(self, model: D4rt) -> None:
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}
        for name, layer in model.named_modules():
            layer.register_forward_hook(lambda _, given, out, name=name: self.seen.update({name: (given[0], out)}))

    def expect(self, theirs: dict[str, Tensor], name: str, layer: str, which: int, thin: slice = slice(None)) -> None:
        """Input (0) or output (1) of one layer; ``thin`` along the second axis."""
        if name in theirs:
            assert relative_error(self.seen[layer][which][:, thin], theirs[name]) <= LIMIT, name


@pytest.mark.parametrize("case", CASES)
def test_memory_and_answers(case: str) -> None:
    model, tensors = network(case), read(f"{case}_io")
    video, ratio = frames(tensors["in/video_u8"]), tensors.get("in/aspect_ratio")
    with torch.inference_mode():
        memory = model.encode(video, ratio)
        assert relative_error(memory.tokens, tensors["out/memory"]) <= LIMIT
        assert_answers(model, model.decode(memory, queries(model, tensors)), tensors, "out/")
        outside = queries(model, tensors, "variant/outside.u", "variant/outside.v")
        assert_answers(model, model.decode(memory, outside), tensors, "variant/outside.")
        if "variant/memory_without_aspect" in tensors:
            plain = model.encode(video).tokens[:, :: 4 if case == "interleaved" else 1]
            assert relative_error(plain, tensors["variant/memory_without_aspect"]) <= LIMIT


@pytest.mark.parametrize("case", CASES)
def test_intermediate_values(case: str) -> None:
    model, tensors = network(case), read(f"{case}_io")
    probe, thin = Probe(model), slice(None, None, STRIDE[case])
    with torch.inference_mode():
        video, ratio = frames(tensors["in/video_u8"]), tensors.get("in/aspect_ratio")
        model.decode(model.encode(video, ratio), queries(model, tensors))
    mid = {name.removeprefix("mid/"): value for name, value in tensors.items() if name.startswith("mid/")}
    embedded = probe.seen["encoder.patch_embed"][1][..., :: 1 if case == "plain_global" else 4]
    assert relative_error(embedded, mid["enc.patch_embed"]) <= LIMIT
    if ratio is not None:
        assert relative_error(probe.seen["encoder.aspect"][1][:, 0], mid["enc.aspect_token"]) <= LIMIT
    probe.expect(mid, "enc.block0_input", "encoder.blocks.0", 0, thin)
    for number in range(model.config.encoder_depth):
        probe.expect(mid, f"enc.block{number}", f"encoder.blocks.{number}", 1, thin)
    probe.expect(mid, "enc.final_norm", "encoder.norm", 1, thin)
    probe.expect(mid, "query.fourier", "queries.uv", 0, thin)
    probe.expect(mid, "query.uv_token", "queries.uv", 1, thin)
    for number, time in enumerate(("src", "tgt", "cam")):
        probe.expect(mid, f"query.t_{time}_embed", f"queries.times.{number}", 1, thin)
    if model.config.color_patch:
        probe.expect(mid, "query.patch", "queries.colors", 0, thin)
        probe.expect(mid, "query.patch_token", "queries.colors", 1, thin)
    probe.expect(mid, "query.sum", "queries.norm", 0, thin)
    probe.expect(mid, "query.embedding", "queries.norm", 1, thin)
    for number in range(model.config.decoder_depth):
        probe.expect(mid, f"dec.block{number}", f"decoder.blocks.{number}", 1, thin)
    probe.expect(mid, "dec.out_norm", "decoder.norm", 1, thin)


def test_finer_images_for_the_colors() -> None:
    model, tensors = network("interleaved"), read("interleaved_io")
    asked = Queries(*(part[:1] for part in queries(model, tensors)))
    with torch.inference_mode():
        memory = model.encode(frames(tensors["in/video_u8"][:1]), tensors["in/aspect_ratio"][:1])
        finer = memory.with_pixels(frames(tensors["variant/hires.video_u8"]))
        assert_answers(model, model.decode(finer, asked), tensors, "variant/hires.")


def test_portions_of_queries_do_not_matter() -> None:
    model, tensors = network("interleaved"), read("interleaved_io")
    with torch.inference_mode():
        memory = model.encode(frames(tensors["in/video_u8"]), tensors["in/aspect_ratio"])
        parts = [model.decode(memory, portion) for portion in queries(model, tensors).split(7)]
    assert_answers(model, Answers.join(parts), tensors, "out/")


@pytest.mark.parametrize("clip_frames", [32, 48])
def test_names_and_shapes_of_the_released_files(clip_frames: int) -> None:
    with torch.device("meta"):
        model = D4rt(D4rtConfig.open(clip_frames))
    found = {name: list(tensor.shape) for name, tensor in to_open_d4rt(model.state_dict()).items()}
    assert found == published_shapes(clip_frames) and len(found) == 627
    entry = weights.MODELS[f"opend4rt-{clip_frames}"]
    assert entry.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("clip_frames", [32, 48])
def test_sizes_of_the_released_files_follow_from_the_tensors(clip_frames: int) -> None:
    shapes = published_shapes(clip_frames)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert open_config(tensors, {}) == D4rtConfig.open(clip_frames)
    published = replace(D4rtConfig.open(clip_frames), pool_tokens=True, drop_odd_frame=True, clamp_times=True)
    assert open_config(tensors, {}, compat=True) == published


def tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint as training writes it, with its options beside it."""
    path = folder / "opend4rt.ckpt"
    path.write_bytes(gzip.decompress((FOLDER / "tiny.ckpt.gz").read_bytes()))
    (folder / "model.yaml").write_bytes((FOLDER / "tiny_model.yaml").read_bytes())
    return path


def assert_tiny(folder: Path) -> None:
    """A converted folder answers as the published network does."""
    model, _ = weights.load_model(folder)
    assert isinstance(model, D4rt)
    tensors = read("tiny_io")
    with torch.inference_mode():
        memory = model.encode(frames(tensors["in/video_u8"]), tensors["in/aspect_ratio"])
        assert relative_error(memory.tokens, tensors["out/memory"]) <= LIMIT
        assert_answers(model, model.decode(memory, queries(model, tensors)), tensors, "out/")


def test_a_trainer_checkpoint_is_converted(tmp_path: Path) -> None:
    folder = weights.convert(tiny_checkpoint(tmp_path), tmp_path / "out")
    assert_tiny(folder)
    info = weights.read_info(folder)
    assert info.family == "d4rt" and info.image_size == 48 and not info.is_permissive
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert stored < 4 * info.parameters + 20_000  # the weights and nothing of the optimiser


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no reference data beside the checkout")
def test_the_original_trainer_checkpoint_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "opend4rt.ckpt"
    path.write_bytes((SHARED / "tiny_trainer_checkpoint.ckpt").read_bytes())
    (tmp_path / "model.yaml").write_bytes((SHARED / "tiny_trainer_checkpoint_model.yaml").read_bytes())
    assert_tiny(weights.convert(path, tmp_path / "out"))


@pytest.mark.parametrize("mode", ["linear", "nearest", "repeat_last"])
def test_time_tables_of_another_length(mode: str) -> None:
    tensors = read("components")
    assert relative_error(resize_time_table(tensors["time_table/in"], 48, mode), tensors[f"time_table/{mode}"]) <= 1e-6


def test_position_code_at_full_size() -> None:
    tensors, about = read("components"), document()["components"]["position"]
    code = flat_code((24, 16, 16), about["width"]).flatten(0, 2)
    assert len(code) == about["tokens"]
    error = (code[tensors["position/rows"].long()] - tensors["position/code"]).abs()
    # float32 exp() has another last bit on another processor: few frequencies, which the late tokens multiply
    assert error[:, error.amax(0) <= 1e-6].shape[1] >= 0.99 * about["width"]
    assert error.max() <= 2.5e-4  # another order of operations: 4.6e-4, in most columns
    assert error[:3].max() <= 1e-6


def raw_numbers(seed: int, stream: int, count: int) -> np.ndarray:
    """The generator of the recipe: uniform numbers in [-0.5, 0.5), float32."""
    words = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw((count + 1) // 2)
    return (words.view("<u4")[:count] >> 8).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)


def recipe_weights(shapes: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    """Weights of the full-width case, in the published names."""
    tensors = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        x = raw_numbers(seed, number, int(np.prod(shape)))
        if len(shape) == 1:
            x = 1 + x if "norm" in name and name.endswith("weight") else x
        elif "_embed.weight" in name and ".t_" in name:
            x = 2 * x
        else:
            x = x * np.float32(np.sqrt(12 / (x.size / shape[0])))
        tensors[name] = torch.from_numpy(x.reshape(shape))
    return tensors


def recipe_video(shape: list[int], seed: int) -> Tensor:
    """Bytes [frame, 3, row, column]."""
    t, c, row, column = np.ogrid[tuple(slice(0, side) for side in shape)]
    z = np.floor(64 * raw_numbers(seed, 10**6, int(np.prod(shape)))).reshape(shape)
    waves = 3 * ((column * (c + 1) + 2 * row + 5 * t * (c + 1)) % 256) // 4
    return torch.from_numpy(np.clip(waves + z + 32, 0, 255).astype(np.uint8))


@pytest.mark.slow
def test_full_width() -> None:
    about, tensors = document()["full_width"], read("full_width_io")
    released = published_shapes(about["clip_frames"])
    depth = {"encoder": about["enc_layers"], "decoder": about["dec_layers"]}
    kept = {n: s for n, s in released.items() if ".blocks." not in n or int(n.split(".")[2]) < depth[n.split(".")[0]]}
    state = recipe_weights(kept, about["seed"])
    for name, expected in about["parameter_check"].items():
        assert torch.allclose(state[name].flatten()[:3], torch.tensor(expected["first"]), atol=0, rtol=1e-6), name
    video = recipe_video(about["video_shape"], about["seed"])
    assert hashlib.sha256(video.numpy().tobytes()).hexdigest() == about["video_sha256"]
    model = weights.from_official(state, about["model_yaml"])
    probe, rows = Probe(model), tensors["rows"].long()
    with torch.inference_mode():
        memory = model.encode(frames(video[None]), tensors["in/aspect_ratio"])
        answers = model.decode(memory, queries(model, tensors))
    first = probe.seen["encoder.blocks.0"][0].flatten(0, 1)
    assert relative_error(first[rows[rows < len(first)]], tensors["mid/block0_input_rows"]) <= 5e-5  # see position code
    assert relative_error(probe.seen["encoder.norm"][1][0, rows], tensors["mid/final_norm_rows"]) <= 2 * LIMIT
    assert list(memory.tokens.shape) == about["memory_shape"]
    assert relative_error(memory.tokens[0, rows], tensors["out/memory_rows"]) <= 2 * LIMIT
    assert abs(float(memory.tokens.double().sum()) - about["memory_sum"]) <= 1e-4 * abs(about["memory_sum"])
    assert relative_error(probe.seen["queries.norm"][1][:, ::16], tensors["mid/query_embedding"]) <= LIMIT
    assert relative_error(probe.seen["decoder.norm"][1][:, ::16], tensors["mid/dec.out_norm"]) <= LIMIT
    assert_answers(model, answers, tensors, "out/")
