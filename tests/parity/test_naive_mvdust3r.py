"""Our networks against a plain float64 re-implementation, over many small configurations.

The official vectors cover a few sizes; here the re-implementation is first held against them and then used as the
expectation for other widths, depths, head counts, view counts, image shapes, batches, output mappings and switches.
"""

from __future__ import annotations

import math

import naive_mvdust3r as naive
import pytest
import torch
from naive_weights import random_weights
from network_vectors import ROTATION, read, weights

from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r
from worldline.weights import from_official

RELATIVE = 1e-5
GAUSSIANS = {"colors": "rgb", "opacities": "opacity", "scales": "scale", "rotations": "rotation"}

PAIR = {
    "pos_embed": "RoPE100",
    "head_type": "linear",
    "output_mode": "pts3d",
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", 1, "inf"],
    "patch_size": 16,
    "landscape_only": False,
    "patch_embed_cls": "PatchEmbedDust3R",
    "img_size": [64, 96],
    "enc_embed_dim": 48,
    "enc_depth": 2,
    "enc_num_heads": 3,
    "dec_embed_dim": 32,
    "dec_depth": 2,
    "dec_num_heads": 2,
}
MULTI = {
    **{key: value for key, value in PAIR.items() if key != "patch_embed_cls"},
    "conf_mode": ["exp", 1, 1e9],
    "GS": True,
    "GS_skip": False,
    "sh_degree": 0,
    "pts_head_config": {"skip": True},
    "skip_hidden_dim": 6,
    "gs_hidden_dim": 12,
}
SMALL_DPT = {"feature_dim": 12, "last_dim": 6, "layer_dims": [4, 6, 8, 10]}
DPT = {**PAIR, "head_type": "dpt", "dec_depth": 10, "dec_embed_dim": 24, "dec_num_heads": 2, "dpt": SMALL_DPT}
LANDSCAPE = {**PAIR, "landscape_only": True, "patch_embed_cls": "ManyAR_PatchEmbed"}


def official(config: dict, *, drop: tuple[str, ...] = ("skip_hidden_dim", "gs_hidden_dim", "dpt")) -> dict:
    """The configuration as a constructor would take it: without the widths that are constants upstream."""
    return {key: value for key, value in config.items() if key not in drop}


def photos(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def assert_close(actual: torch.Tensor, expected: torch.Tensor, limit: float | None = None) -> None:
    assert actual.shape == expected.shape
    assert expected.std() > 1e-3  # a constant expectation would prove little
    error = (actual.double() - expected.double()).abs().max()
    assert error <= (RELATIVE * expected.abs().max() if limit is None else limit)


# ------------------------------------------------------------------- the second opinion is itself held to account


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("dust3r_linear", "mixed_shape"),
        ("dust3r_linear_landscape_storage", "landscape_storage"),
        ("dust3r_dpt", "odd_grid_mixed"),
    ],
)
def test_the_second_opinion_gives_the_published_numbers_for_pairs(name: str, case: str) -> None:
    document, data = read(name)
    images = tuple(data[f"{case}/in/view{i}.img"] for i in (1, 2))
    shapes = tuple(data[f"{case}/in/view{i}.true_shape"] for i in (1, 2))
    first, second = naive.dust3r(weights(name), document["config"], images, shapes)
    assert_close(first["points"], data[f"{case}/out/pred1.pts3d"])
    assert_close(first["confidence"], data[f"{case}/out/pred1.conf"])
    assert_close(second["points"], data[f"{case}/out/pred2.pts3d_in_other_view"])
    assert_close(second["confidence"], data[f"{case}/out/pred2.conf"])


@pytest.mark.parametrize(
    ("name", "case"), [("mvdust3r", "4views_2independent_refs"), ("mvdust3r_plus", "3views_2refs_batch2")]
)
def test_the_second_opinion_gives_the_published_numbers_for_many_views(name: str, case: str) -> None:
    document, data = read(name)
    about = document["cases"][case]
    views, paths = about["n_views"], about["n_ref"]
    images = torch.stack([data[f"{case}/in/view{view}.img"] for view in range(views)], dim=1)
    rows = naive.mvdust3r(weights(name), document["config"], images, paths)
    for path in range(paths):
        for view in range(views):
            slot = path if view == 0 else 0 if view == path else view
            points = "pts3d" if slot == 0 else "pts3d_in_other_view"
            for ours, theirs in ({"points": points, "confidence": "conf"} | GAUSSIANS).items():
                expected = data[f"{case}/out/view{slot}.{theirs}"][path::paths]
                assert_close(rows[path][view][ours], expected, ROTATION if ours == "rotations" else None)


# --------------------------------------------------------------------------- two images


def check_pair(config: dict, size1, size2, batch: int = 1, shapes1=None, shapes2=None, seed: int = 0, options=None):
    state = random_weights(config, seed)
    images = photos(batch, 3, *size1, seed=seed), photos(batch, 3, *size2, seed=seed + 1)
    shapes = None if shapes1 is None else (torch.tensor(shapes1), torch.tensor(shapes2))
    expected = naive.dust3r(state, config, images, shapes)
    model = from_official(state, official(config) if options is None else options)
    assert isinstance(model, Dust3r)
    with torch.inference_mode():
        actual = model(*images, *(shapes or ()))
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours.points, theirs["points"])
        assert_close(ours.confidence, theirs["confidence"])


@pytest.mark.parametrize(
    ("change", "size1", "size2", "batch"),
    [
        ({}, (32, 48), (32, 48), 1),
        ({}, (48, 32), (48, 32), 3),  # portrait
        ({}, (16, 16), (64, 16), 2),  # one token sees four
        ({}, (48, 32), (32, 48), 2),  # sides exchanged, same number of tokens
        ({"enc_depth": 1, "dec_depth": 1}, (32, 32), (32, 32), 1),
        ({"enc_depth": 3, "dec_depth": 4}, (32, 32), (16, 48), 1),
        ({"enc_embed_dim": 32, "dec_embed_dim": 64, "enc_num_heads": 8, "dec_num_heads": 1}, (32, 48), (32, 48), 1),
        ({"enc_embed_dim": 60, "dec_embed_dim": 40, "enc_num_heads": 5, "dec_num_heads": 2}, (48, 16), (16, 16), 2),
        ({"pos_embed": "RoPE50"}, (48, 64), (32, 64), 1),
        ({"depth_mode": ["square", "-inf", "inf"]}, (32, 32), (32, 32), 1),
        ({"depth_mode": ["linear", "-inf", "inf"]}, (32, 32), (32, 32), 1),
        ({"conf_mode": ["sigmoid", 0.5, 3]}, (32, 32), (32, 32), 1),
        ({"conf_mode": ["exp", 0, 2]}, (32, 32), (32, 32), 1),
        ({"conf_mode": ["exp", 3, math.inf]}, (32, 32), (32, 32), 1),
        ({"patch_size": 8}, (24, 40), (32, 8), 1),
    ],
)
def test_pairs_with_linear_heads(change: dict, size1, size2, batch: int) -> None:
    base = 50.0 if change.get("pos_embed") == "RoPE50" else 100.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "ROPE_BASE", base)
        check_pair({**PAIR, **change}, size1, size2, batch)


@pytest.mark.parametrize(
    ("change", "size1", "size2", "batch"),
    [
        ({}, (48, 80), (48, 80), 2),  # odd rows and columns
        ({}, (16, 16), (16, 48), 1),  # one token: every level is at its smallest
        ({}, (80, 48), (32, 48), 1),
        ({"dec_depth": 11}, (32, 48), (48, 32), 1),
        ({"dec_depth": 13}, (32, 32), (32, 32), 1),
    ],
)
def test_pairs_with_dpt_heads(change: dict, size1, size2, batch: int) -> None:
    check_pair({**DPT, **change}, size1, size2, batch)


@pytest.mark.parametrize("head", [LANDSCAPE, {**DPT, "landscape_only": True, "patch_embed_cls": "ManyAR_PatchEmbed"}])
@pytest.mark.parametrize("flags", ["pp pp", "ll ll", "pl lp", "lp pp", "lll ppp"])
def test_landscape_storage(head: dict, flags: str) -> None:
    shapes = [[(80, 48) if flag == "p" else (48, 80) for flag in side] for side in flags.split()]
    check_pair(head, (48, 80), (48, 80), len(shapes[0]), *shapes)


def test_landscape_storage_with_another_size_per_side() -> None:
    check_pair(LANDSCAPE, (32, 48), (48, 64), 2, [(48, 32), (32, 48)], [(48, 64), (64, 48)])


def test_landscape_storage_of_square_images() -> None:
    check_pair(LANDSCAPE, (48, 48), (48, 48), 2, [(48, 48)] * 2, [(48, 48)] * 2)


@pytest.mark.parametrize("side", ["p", "l"])
def test_turned_back_images_keep_their_orientation_where_storage_is_not_asked_for(side: str) -> None:
    shapes = [(80, 48) if side == "p" else (48, 80)] * 2
    check_pair({**LANDSCAPE, "landscape_only": False}, (48, 80), (48, 80), 2, shapes, shapes)


# --------------------------------------------------------------------------- many images


def check_views(config: dict, views: int, references: int, size, batch: int = 1, seed: int = 0, options=None) -> None:
    state = random_weights(config, seed)
    images = photos(batch, views, 3, *size, seed=seed)
    model = from_official(state, official(config) if options is None else options)
    assert isinstance(model, MVDust3r)
    paths = min(references, views)
    rows = naive.mvdust3r(state, config, images, paths)
    with torch.inference_mode():
        first = model(images, references=references)
        every = model.forward_paths(images, references)
    assert (first.gaussians is None) == (not config["GS"])
    for path, row in enumerate(rows):
        for view, output in enumerate(row):
            for name, expected in output.items():
                limit = ROTATION if name == "rotations" else None
                assert_close(field(every, name)[:, path, view], expected, limit)
                if path == 0:
                    assert_close(field(first, name)[:, view], expected, limit)


def field(maps, name: str) -> torch.Tensor:
    return getattr(maps if name in ("points", "confidence") else maps.gaussians, name)


@pytest.mark.parametrize(
    ("change", "views", "references", "size", "batch"),
    [
        ({}, 2, 1, (32, 48), 1),
        ({}, 3, 3, (48, 32), 2),
        ({}, 12, 1, (16, 32), 1),
        ({}, 5, 4, (16, 16), 2),
        ({"GS": False}, 4, 2, (32, 16), 1),
        ({"GS": False, "pts_head_config": {}}, 4, 2, (32, 16), 1),
        ({"GS": False, "pts_head_config": None}, 3, 1, (32, 16), 1),
        ({"GS": False, "pts_head_config": {"skip": False}, "m_ref_flag": False}, 7, 2, (16, 32), 1),
        ({"pts_head_config": {"skip": False}}, 3, 2, (32, 32), 1),
        ({"sh_degree": 1}, 3, 2, (32, 32), 2),
        ({"sh_degree": 2, "gs_hidden_dim": 20}, 2, 1, (16, 32), 1),
        ({"conf_mode": ["exp", 1, 3]}, 3, 1, (32, 32), 1),
        ({"conf_mode": ["sigmoid", 0, 1]}, 3, 1, (32, 32), 1),
        ({"depth_mode": ["square", "-inf", "inf"]}, 3, 1, (32, 32), 1),
        ({"depth_mode": ["linear", "-inf", "inf"]}, 3, 1, (32, 32), 1),
        ({"enc_embed_dim": 24, "dec_embed_dim": 40, "enc_num_heads": 6, "dec_num_heads": 5}, 4, 1, (32, 48), 2),
        ({"enc_depth": 1, "dec_depth": 1}, 4, 2, (32, 32), 1),
    ],
)
def test_independent_references(change: dict, views: int, references: int, size, batch: int) -> None:
    check_views({**MULTI, **change}, views, references, size, batch)


@pytest.mark.parametrize(
    ("change", "views", "references", "size", "batch"),
    [
        ({}, 2, 2, (32, 48), 1),
        ({}, 2, 4, (32, 48), 2),  # fewer views than references
        ({}, 3, 4, (48, 16), 1),
        ({}, 4, 4, (16, 32), 3),
        ({}, 5, 3, (32, 32), 2),
        ({}, 8, 4, (16, 16), 1),
        ({}, 12, 4, (16, 16), 1),
        ({}, 6, 6, (16, 16), 1),
        ({"GS": False, "pts_head_config": {}}, 4, 2, (32, 16), 2),
        ({"sh_degree": 1}, 3, 2, (32, 32), 1),
        ({"enc_depth": 1, "dec_depth": 1}, 5, 4, (16, 32), 1),
        ({"dec_depth": 5}, 4, 3, (16, 32), 1),
        ({"dec_embed_dim": 48, "dec_num_heads": 12}, 4, 3, (32, 32), 1),
    ],
)
def test_fused_references(change: dict, views: int, references: int, size, batch: int) -> None:
    check_views({**MULTI, "m_ref_flag": True, **change}, views, references, size, batch)


# --------------------------------------------------------------------------- how weights and options arrive


def test_options_that_shapes_tell_may_be_left_out() -> None:
    """64 channels per head, as in all released models: nothing but the tensors is needed."""
    wide = {"enc_embed_dim": 128, "dec_embed_dim": 64, "enc_num_heads": 2, "dec_num_heads": 1}
    check_views({**MULTI, **wide, "m_ref_flag": True}, 3, 2, (32, 32), options={})
    check_views({**MULTI, **wide}, 3, 2, (32, 32), options={"model": "MV-DUSt3R", "config": {}})
    check_pair({**PAIR, **wide}, (32, 32), (32, 48), options={})
    check_pair({**DPT, **wide}, (32, 32), (32, 48), options={})


def test_the_whole_document_is_as_good_as_the_options() -> None:
    config = {**MULTI, "GS": False, "pts_head_config": {}}
    check_views(config, 3, 2, (32, 32), options={"model": "MV-DUSt3R", "config": config, "seed": 1, "cases": {}})


def test_keys_as_real_files_have_them() -> None:
    config = {**DPT}
    state = random_weights(config)
    expected = from_official(state, official(config)).state_dict()
    hub = {name: value for name, value in state.items() if ".layer_rn." not in name}
    wrapped = {f"module.{name}": value.double() for name, value in state.items()}
    for variant in (hub, wrapped):
        actual = from_official(variant, config).state_dict()
        assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_one_decoder_becomes_two_before_training() -> None:
    config = {**MULTI, "m_ref_flag": True}
    state = random_weights(config)
    twice = {
        name.replace("dec_blocks.", "dec_blocks2."): v for name, v in state.items() if name.startswith("dec_blocks.")
    }
    once = {name: value for name, value in state.items() if not name.startswith("dec_blocks2.")}
    images = photos(1, 3, 3, 32, 32)
    expected = naive.mvdust3r(state | twice, config, images, 2)[0]
    with torch.inference_mode():
        actual = from_official(once, official(config))(images, references=2)
    for view in range(3):
        assert_close(actual.points[:, view], expected[view]["points"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    config = {**MULTI}
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in random_weights(config).items()}
    images = photos(1, 3, 3, 32, 32)
    expected = naive.mvdust3r(state, config, images, 1)[0]
    with torch.inference_mode():
        actual = from_official(state, official(config))(images, references=1)
    for view in range(3):
        assert_close(actual.points[:, view], expected[view]["points"])
