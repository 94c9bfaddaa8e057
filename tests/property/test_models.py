"""What must hold for the networks whatever their weights."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldline.errors import InputError, WeightsError
from worldline.models.config import Dust3rConfig, MVDust3rConfig
from worldline.models.dust3r import Dust3r
from worldline.models.layers.attention import KeysValues
from worldline.models.layers.blocks import Mlp
from worldline.models.layers.rope import apply_rope, grid_positions, rope_table
from worldline.models.layers.skip_branch import SkipBranch
from worldline.models.mvdust3r import MVDust3r, as_pairwise
from worldline.types import Pointmaps

TINY = {
    "encoder_dim": 32,
    "encoder_depth": 2,
    "encoder_heads": 2,
    "decoder_dim": 24,
    "decoder_depth": 2,
    "decoder_heads": 3,
    "skip_dim": 8,
}
PLAIN = MVDust3rConfig(**TINY, fused_references=False, gaussian_dim=16)
FUSED = MVDust3rConfig(**TINY, fused_references=True, gaussian_dim=16)


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values everywhere, so that nothing is hidden by a zero or an identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point():
                scale = 0.1 if value.dim() == 1 else value[0].numel() ** -0.5
                offset = 1.0 if value.dim() == 1 and name.endswith("weight") else 0.0
                value.normal_(offset, scale, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def plain() -> MVDust3r:
    return randomise(MVDust3r(PLAIN))


@pytest.fixture(scope="module")
def fused() -> MVDust3r:
    return randomise(MVDust3r(FUSED))


def photos(batch: int, views: int, height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, views, 3, height, width), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run(model: MVDust3r, images: torch.Tensor, **options) -> Pointmaps:
    with torch.inference_mode():
        return model(images, **options)


def fields(maps: Pointmaps) -> list[torch.Tensor]:
    gaussians = [] if maps.gaussians is None else list(vars(maps.gaussians).values())
    return [maps.points, maps.confidence, *gaussians]


def assert_same(actual: list[torch.Tensor], expected: list[torch.Tensor], limit: float = 2e-5) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= limit * other.abs().max()


@given(order=st.permutations([1, 2, 3, 4]))
@settings(max_examples=6, deadline=None)
def test_permuting_the_source_views_permutes_the_output(order: list[int]) -> None:
    model = randomise(MVDust3r(PLAIN))
    images, rows = photos(1, 5), [0, *order]
    assert_same(fields(run(model, images[:, rows])), [part[:, rows] for part in fields(run(model, images))])


def test_permuting_views_that_are_no_reference_permutes_the_output_of_the_fused_model(fused: MVDust3r) -> None:
    images, rows = photos(1, 6), [0, 1, 2, 5, 3, 4]
    expected = [part[:, rows] for part in fields(run(fused, images, references=3))]
    assert_same(fields(run(fused, images[:, rows], references=3)), expected)


def test_the_reference_and_the_fusion_matter(plain: MVDust3r, fused: MVDust3r) -> None:
    images = photos(1, 4)
    swapped = run(plain, images[:, [1, 0, 2, 3]]).points[:, [1, 0, 2, 3]]
    assert (swapped - run(plain, images).points).abs().max() > 0.01
    assert (run(fused, images, references=2).points - run(fused, images, references=4).points).abs().max() > 0.01


@pytest.mark.parametrize("views", [2, 3, 5])
def test_samples_of_a_batch_do_not_see_each_other(fused: MVDust3r, views: int) -> None:
    images = photos(3, views)
    together = fields(run(fused, images))
    for sample in range(3):
        alone = fields(run(fused, images[sample : sample + 1]))
        assert_same([part[sample : sample + 1] for part in together], alone)


@pytest.mark.parametrize("head_chunk", [1, 2, 100])
def test_the_result_does_not_depend_on_the_head_chunk(fused: MVDust3r, head_chunk: int) -> None:
    images = photos(2, 4)
    assert_same(fields(run(fused, images, head_chunk=head_chunk)), fields(run(fused, images)))


def test_the_result_does_not_depend_on_the_chunks_of_the_trunk(
    fused: MVDust3r, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(2, 5)
    expected = fields(run(fused, images))
    monkeypatch.setattr("worldline.models.mvdust3r.CPU_CHUNK_TOKENS", 60)
    monkeypatch.setattr("worldline.models.layers.blocks.MLP_CHUNK_NUMBERS", 500)
    assert_same(fields(run(fused, images)), expected)


@pytest.mark.parametrize("views", [2, 3])
def test_fewer_views_than_references_use_as_many_as_there_are(fused: MVDust3r, views: int) -> None:
    images = photos(1, views)
    assert_same(fields(run(fused, images, references=4)), fields(run(fused, images, references=views)), limit=0)


@pytest.mark.parametrize("model_name", ["plain", "fused"])
def test_forward_is_the_first_row_of_forward_paths(model_name: str, request: pytest.FixtureRequest) -> None:
    model, images = request.getfixturevalue(model_name), photos(2, 4)
    with torch.inference_mode():
        paths = model.forward_paths(images, 3)
    assert paths.points.shape == (2, 3, 4, 32, 48, 3)
    assert_same([part[:, 0] for part in fields(paths)], fields(run(model, images, references=3)))


def test_paths_of_the_plain_model_are_passes_with_another_reference(plain: MVDust3r) -> None:
    images, swap = photos(1, 4), [2, 1, 0, 3]
    with torch.inference_mode():
        paths = plain.forward_paths(images, 3)
    assert_same([part[:, 2] for part in fields(paths)], [part[:, swap] for part in fields(run(plain, images[:, swap]))])


def test_every_parameter_of_the_training_form_gets_a_gradient() -> None:
    model = randomise(MVDust3r(FUSED)).train()
    maps = model.forward_paths(photos(1, 3), 3)
    sum(part.square().mean() for part in fields(maps)).backward()
    without = [
        name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()
    ]
    assert without == []


def test_gradients_agree_with_finite_differences_through_shared_memories() -> None:
    torch.manual_seed(0)
    keys, values = (torch.randn(2, 3, 2, 1, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def mix(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        memory = KeysValues(keys, values).everything_else(first=1)
        return torch.nn.functional.scaled_dot_product_attention(memory.keys, memory.keys, memory.values)

    assert torch.autograd.gradcheck(mix, (keys, values))


@given(sets=st.integers(2, 6), first=st.integers(0, 1))
@settings(max_examples=10, deadline=None)
def test_windows_hold_all_other_sets(sets: int, first: int) -> None:
    labels = torch.arange(sets, dtype=torch.float32)[None, :, None, None, None].expand(2, sets, 3, 2, 4)
    keys, _ = KeysValues(labels, labels).everything_else(first)
    assert keys.shape == (sets - first, 4, (sets - 1) * 3, 4)
    for index, memory in enumerate(keys):
        assert memory.unique().tolist() == [label for label in range(sets) if label != first + index]


def test_fusion_blocks_start_as_identity() -> None:
    torch.manual_seed(0)
    model = MVDust3r(FUSED).eval()
    before = fields(run(model, photos(1, 3), references=3))
    model.decoder.fusion_blocks = None
    assert_same(before, fields(run(model, photos(1, 3), references=3)), limit=1e-6)


@given(shift=st.tuples(st.integers(0, 20), st.integers(0, 20)))
@settings(max_examples=10, deadline=None)
def test_rope_depends_on_offsets_only(shift: tuple[int, int]) -> None:
    query, key = torch.randn(2, 12, 1, 16, generator=torch.Generator().manual_seed(1))
    here = grid_positions(3, 4, torch.device("cpu"))

    def scores(positions: torch.Tensor) -> torch.Tensor:
        table = rope_table(positions, 16)
        return apply_rope(query, table)[:, 0] @ apply_rope(key, table)[:, 0].T

    assert torch.allclose(scores(here), scores(here + torch.tensor(shift)), atol=1e-5)


def test_folded_convolutions_equal_convolution_and_normalisation() -> None:
    branch = randomise(SkipBranch(6))
    images, points = torch.randn(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        maps = torch.cat((images, points), dim=1)
        for layer in list(branch.layers)[:-1]:
            maps = torch.selu(layer(maps))
        assert_same([branch(images, points)], [1e-4 * branch.layers[-1](maps)])


def test_mlp_in_pieces_equals_mlp_at_once() -> None:
    mlp = randomise(Mlp(8, 32))
    tokens = torch.randn(3, 700, 8, generator=torch.Generator().manual_seed(3))
    expected = mlp(tokens).detach()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldline.models.layers.blocks.MLP_CHUNK_NUMBERS", 999)
        assert_same([mlp(tokens)], [expected])


def test_a_multi_view_model_is_usable_as_a_pairwise_one(plain: MVDust3r, fused: MVDust3r) -> None:
    images = photos(1, 3)
    pairwise = as_pairwise(plain)
    with torch.inference_mode():
        encoded = pairwise.encode(images[0])
        first, second = pairwise.decode_pairs(encoded[[0, 2]], encoded[[1, 0]])
    for row, pair in enumerate([[0, 1], [2, 0]]):
        maps = run(plain, images[:, pair])
        assert_same([first.points[row], second.points[row]], list(maps.points[0]))
        assert_same([first.confidence[row], second.confidence[row]], list(maps.confidence[0]))
    assert as_pairwise(fused).encoder is fused.encoder


def test_pairs_of_different_sizes() -> None:
    model = randomise(Dust3r(Dust3rConfig(**TINY, head="dpt", dpt_dim=8, dpt_last_dim=4, dpt_layer_dims=(4, 4, 8, 8))))
    with torch.inference_mode():
        first, second = model(photos(1, 1, 48, 80)[0], photos(1, 1, 64, 16)[0])
    assert (first.points.shape, second.confidence.shape) == ((1, 48, 80, 3), (1, 64, 16))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(1, 1, 3, 32, 32), {}, "at least two views"),
        (torch.zeros(1, 2, 3, 33, 32), {}, "33×32"),
        (torch.zeros(1, 2, 3, 0, 32), {}, "0×32"),
        (torch.zeros(2, 3, 32, 32), {}, "batch, view, 3"),
        (torch.zeros(1, 2, 4, 32, 32), {}, "batch, view, 3"),
        (torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8), {}, "dtype"),
        ([torch.zeros(3, 32, 32), torch.zeros(3, 48, 32)], {}, "list"),
        (torch.zeros(1, 2, 3, 32, 32), {"references": 1}, "1 reference paths"),
    ],
)
def test_unusable_images_get_a_sentence(fused: MVDust3r, images, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fused(images, **options)


def test_unusable_pairs_get_a_sentence() -> None:
    model = randomise(Dust3r(Dust3rConfig(**TINY)))
    image = torch.zeros(2, 3, 32, 48)
    with pytest.raises(InputError, match="2 and 1 images"):
        model(image, image[:1])
    with pytest.raises(InputError, match="do not fit"):
        model(image, image, ((32, 48), (32, 64)))
    with pytest.raises(InputError, match="mixes"):
        model(image, image, ((32, 48), (48, 32)))


@pytest.mark.parametrize("config", [PLAIN, FUSED, MVDust3rConfig.mini(), Dust3rConfig(head="dpt")])
def test_configurations_survive_strict_json(config: MVDust3rConfig | Dust3rConfig) -> None:
    text = json.dumps(config.to_dict(), allow_nan=False)
    assert type(config).from_dict(json.loads(text)) == config


def test_unknown_configuration_fields_are_named() -> None:
    with pytest.raises(WeightsError, match="colour"):
        MVDust3rConfig.from_dict({"colour": 1})
    assert Dust3rConfig().confidence_max == math.inf


@pytest.mark.parametrize(
    ("config", "kind", "parameters"),
    [
        (MVDust3rConfig.published(fused_references=False), MVDust3r, 547_989_522),
        (MVDust3rConfig.published(), MVDust3r, 661_429_266),
        (Dust3rConfig.published(), Dust3r, 532_342_784),
        (Dust3rConfig.published("dpt"), Dust3r, 571_171_208),
    ],
)
def test_published_sizes(config, kind, parameters: int) -> None:
    with torch.device("meta"):
        model = kind(config)
    count = sum(value.numel() for value in model.parameters())
    unused = 768  # the published count includes the mask token,
    if config.to_dict().get("head") == "dpt":
        unused += 2 * 2 * (9 * 256 * 256 + 256)  # and the unit that no DPT chain starts with
    assert count + unused == parameters
