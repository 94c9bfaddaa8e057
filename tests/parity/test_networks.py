"""Our networks give the published implementation's numbers on random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from network_vectors import ROTATION, assert_close, build, read, weights

from worldline.errors import WeightsError
from worldline.models.config import Dust3rConfig, MVDust3rConfig
from worldline.models.dust3r import Dust3r
from worldline.models.layers.rope import apply_rope, rope_table
from worldline.models.mvdust3r import MVDust3r
from worldline.weights.official import from_official

SHAPES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "state_dict_shapes"
GAUSSIAN_FIELDS = {"scale": "scales", "rotation": "rotations", "opacity": "opacities", "rgb": "colors"}


@pytest.mark.parametrize("case", ["grid_14x14_hd64", "grid_4x6_hd32", "random_positions_hd16"])
def test_rope(case: str) -> None:
    document, data = read("rope2d")
    tokens = data[f"{case}/in/tokens"].transpose(1, 2)
    table = rope_table(data[f"{case}/in/positions_yx"], tokens.shape[-1], document["cases"][case]["freq"])
    assert_close(apply_rope(tokens, table).transpose(1, 2), data[f"{case}/out/tokens"])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("dust3r_linear", "same_shape"),
        ("dust3r_linear", "mixed_shape"),
        ("dust3r_linear_landscape_storage", "landscape_storage"),
        ("dust3r_dpt", "same_shape"),
        ("dust3r_dpt", "odd_grid_mixed"),
    ],
)
def test_dust3r(name: str, case: str) -> None:
    _, data = read(name)
    model = build(name)
    assert isinstance(model, Dust3r)
    images = [data[f"{case}/in/view{i}.img"] for i in (1, 2)]
    shapes = [data[f"{case}/in/view{i}.true_shape"] for i in (1, 2)]
    with torch.inference_mode():
        first, second = model(*images, *shapes)
        for i in (0, 1):
            assert_close(model.encode(images[i], shapes[i]).tokens, data[f"{case}/mid/enc_tokens{i + 1}"])
    assert_close(first.points, data[f"{case}/out/pred1.pts3d"])
    assert_close(first.confidence, data[f"{case}/out/pred1.conf"])
    assert_close(second.points, data[f"{case}/out/pred2.pts3d_in_other_view"])
    assert_close(second.confidence, data[f"{case}/out/pred2.conf"])


MULTI_VIEW_CASES = [
    ("mvdust3r", "4views"),
    ("mvdust3r", "3views_batch2"),
    ("mvdust3r", "4views_2independent_refs"),
    ("mvdust3r_plus", "5views_4refs"),
    ("mvdust3r_plus", "3views_2refs_batch2"),
]


def slot_of(view: int, path: int) -> int:
    """In row `path` of the vectors, view 0 and view `path` have changed places."""
    return path if view == 0 else 0 if view == path else view


def expect(actual, data: dict[str, torch.Tensor], case: str, slot: int, rows: slice) -> None:
    """``actual``: function of a field name -> [batch, ...] of one view and path."""
    points = "pts3d" if slot == 0 else "pts3d_in_other_view"
    prefix = f"{case}/out/view{slot}"
    assert_close(actual("points"), data[f"{prefix}.{points}"][rows])
    assert_close(actual("confidence"), data[f"{prefix}.conf"][rows])
    for official, ours in GAUSSIAN_FIELDS.items():
        assert_close(actual(ours), data[f"{prefix}.{official}"][rows], ROTATION if official == "rotation" else None)


def field(maps, name: str) -> torch.Tensor:
    return getattr(maps, name) if name in ("points", "confidence") else getattr(maps.gaussians, name)


@pytest.mark.parametrize(("name", "case"), MULTI_VIEW_CASES)
def test_mvdust3r_all_paths(name: str, case: str) -> None:
    document, data = read(name)
    model, about = build(name), document["cases"][case]
    assert isinstance(model, MVDust3r)
    paths, views = about["n_ref"], about["n_views"]
    images = torch.stack([data[f"{case}/in/view{v}.img"] for v in range(views)], dim=1)
    with torch.inference_mode():
        maps = model.forward_paths(images, paths)
        tokens = model.encode(images)
        decoded = model.decode(tokens, images.shape[-2:], paths)
    for view in range(views):
        assert_close(tokens[:, view], data[f"{case}/mid/view{view}.enc_tokens"])
        for path in range(paths):
            slot, rows = slot_of(view, path), slice(path, None, paths)
            assert_close(decoded[:, path, view], data[f"{case}/mid/view{slot}.dec_tokens_last"][rows])
            expect(lambda name, v=view, p=path: field(maps, name)[:, p, v], data, case, slot, rows)


@pytest.mark.parametrize(("name", "case"), MULTI_VIEW_CASES)
def test_mvdust3r_forward_is_the_row_of_reference_0(name: str, case: str) -> None:
    document, data = read(name)
    model, about = build(name), document["cases"][case]
    paths, views = about["n_ref"], about["n_views"]
    images = torch.stack([data[f"{case}/in/view{v}.img"] for v in range(views)], dim=1)
    with torch.inference_mode():
        maps = model(images, references=paths)
    for view in range(views):
        expect(lambda name, v=view: field(maps, name)[:, v], data, case, view, slice(0, None, paths))


def test_half_precision_prefix_and_whole_config_document_are_accepted() -> None:
    document, data = read("mvdust3r_plus")
    state = {f"module.{name}": value for name, value in weights("mvdust3r_plus").items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    model = from_official(halves, document)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    images = torch.stack([data[f"5views_4refs/in/view{v}.img"] for v in range(5)], dim=1)
    with torch.inference_mode():
        maps = model(images)
    expected = data["5views_4refs/out/view0.pts3d"][:1]
    assert (maps.points[:, 0] - expected).abs().max() < 0.02 * expected.abs().max()


def test_options_may_be_absent_where_shapes_tell() -> None:
    document, _ = read("mvdust3r_plus")
    state = weights("mvdust3r_plus")
    with pytest.raises(WeightsError, match="96 channels"):  # 96 is not a multiple of the published 64 per head
        from_official(state, {"dec_num_heads": 2, "enc_num_heads": 5})
    model = from_official(state, {"enc_num_heads": 3, "dec_num_heads": 2})
    assert model.config == from_official(state, document["config"]).config


def test_first_decoder_is_duplicated_only_where_the_second_is_absent() -> None:
    document, _ = read("dust3r_linear")
    state = weights("dust3r_linear")
    both = from_official(state, document).decoder
    assert not torch.equal(both.reference_blocks[0].mlp.hidden.weight, both.source_blocks[0].mlp.hidden.weight)
    one = {name: value for name, value in state.items() if not name.startswith("dec_blocks2")}
    model = from_official(one, document).decoder
    first, second = model.reference_blocks[1].mlp.hidden.weight, model.source_blocks[1].mlp.hidden.weight
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_either_name_of_the_dpt_projections_is_accepted() -> None:
    document, _ = read("dust3r_dpt")
    state = weights("dust3r_dpt")
    expected = from_official(state, document).state_dict()
    alias = {}
    for name, value in state.items():
        for level in range(1, 5):
            name = name.replace(f"scratch.layer{level}_rn.", f"scratch.layer_rn.{level - 1}.")
        alias[name] = value
    for entries in (alias, alias | state):
        actual = from_official(entries, document).state_dict()
        assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("dec_norm.bias"), "missing: dec_norm.bias"),
        (lambda s: s.pop("enc_blocks.1.norm2.bias"), "missing: enc_blocks.1.norm2.bias"),
        (lambda s: s.pop("dec_blocks2.0.norm2.bias"), "missing: dec_blocks2.0.norm2.bias"),
        (lambda s: s.pop("dec_blocks.0.cross_attn.projk.bias"), "missing: dec_blocks.0.cross_attn.projk.bias"),
        (lambda s: s.pop("downstream_head1.proj.bias"), "missing: downstream_head1.proj.bias"),
        (lambda s: s.update({"dec_blocks.9.extra.weight": torch.zeros(1)}), "dec_blocks.9.extra.weight|dec_depth"),
        (lambda s: s.update({"surprise": torch.zeros(1)}), "unexpected: surprise"),
        (lambda s: s.update({"dec_norm.bias": torch.zeros(3)}), "dec_norm.bias"),
        (lambda s: s.clear(), "not those of a DUSt3R"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_name(change, message: str) -> None:
    document, _ = read("dust3r_linear")
    state = weights("dust3r_linear")
    change(state)
    with pytest.raises(WeightsError, match=message):
        from_official(state, document)


@pytest.mark.shared
@pytest.mark.skipif(not SHAPES.is_dir(), reason="the tables of published shapes lie beside the checkout")
@pytest.mark.parametrize(
    ("name", "fused"),
    [
        ("DUSt3R_ViTLarge_BaseDecoder_224_linear", None),
        ("DUSt3R_ViTLarge_BaseDecoder_512_linear", None),
        ("DUSt3R_ViTLarge_BaseDecoder_512_dpt", None),
        ("MVD", False),
        ("MVDp", True),
    ],
)
def test_published_sizes_are_recognised_without_options(name: str, fused: bool | None) -> None:
    entries = json.loads((SHAPES / f"{name}.json").read_text())["tensors"]
    model = from_official({key: torch.empty(shape, device="meta") for key, (_, shape) in entries.items()})
    if fused is None:
        assert model.config == Dust3rConfig.published("dpt" if name.endswith("dpt") else "linear")
    else:
        assert model.config == MVDust3rConfig.published(fused_references=fused)
