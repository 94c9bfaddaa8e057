"""The network of D4RT: what it takes, what it refuses, and that sizes, positions and starts are those intended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d4rt_networks import CONFIGS, FLOAT_NOISE, difference, network, questions, video
from worldline import weights
from worldline.errors import InputError
from worldline.models.config import D4rtConfig, MVDust3rConfig
from worldline.models.d4rt import D4rt, Queries
from worldline.models.layers.clip_position import axes_code, cell_centers, flat_code
from worldline.models.layers.color_patch import color_patches
from worldline.models.layers.trunk import Encoder

NAMES = sorted(CONFIGS)
RATIO = torch.tensor([1.5])


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str) -> None:
    model = network(name)
    answers = model(video(6, batch=2), torch.tensor([1.5, 1.0]), questions(9, 6, batch=2))
    assert answers.points.shape == answers.motion.shape == answers.normal.shape == (2, 9, 3)
    assert answers.uv.shape == (2, 9, 2) and answers.visibility.shape == answers.confidence.shape == (2, 9)


@pytest.mark.parametrize("name", NAMES)
def test_all_parameters_learn(name: str) -> None:
    model = D4rt(CONFIGS[name])
    with torch.inference_mode():
        model.encode(video())  # what is kept between calls must not spoil training
    answers = model(video(), RATIO, questions(40))
    sum(getattr(answers, part).square().sum() for part in answers.__annotations__).backward()
    asked = [(key, value) for key, value in model.named_parameters() if not key.startswith("dense.")]  # answers none
    silent = [key for key, value in asked if value.grad is None or not value.grad.isfinite().all()]
    assert not silent


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (torch.zeros(1, 3, 32, 48), "must be a float tensor"),
        (torch.zeros(1, 4, 3, 32, 48, dtype=torch.uint8), "must be a float tensor"),
        (torch.zeros(1, 4, 1, 32, 48), "must be a float tensor"),
        (torch.zeros(1, 9, 3, 32, 48), "has 9 frames, this network takes 1 to 8"),
        (torch.zeros(1, 0, 3, 32, 48), "has 0 frames"),
        (torch.zeros(1, 4, 3, 33, 48), "33×48 pixels do not divide into patches of 8×8"),
        (torch.zeros(1, 4, 3, 4, 4), "do not divide"),
        (torch.zeros(1, 8, 3, 64, 64), "makes 256 tokens, the budget is 200"),
    ],
)
def test_clips_that_are_refused(clip: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        network("paper").encode(clip)
    assert caught.value.remedy


@pytest.mark.parametrize("part", ["t_src", "t_tgt", "t_cam"])
@pytest.mark.parametrize("time", [-1, 5, 7])
@pytest.mark.parametrize("name", NAMES)
def test_times_beyond_the_clip_are_refused(name: str, part: str, time: int) -> None:
    model, asked = network(name), questions(4, 5)
    memory = model.encode(video(5))
    wrong = getattr(asked, part).clone()
    wrong[0, 2] = time
    with pytest.raises(InputError, match=f"{part} reaches .* the clip has frames 0 to 4"):
        model.decode(memory, asked._replace(**{part: wrong}))


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_last_frame_counts(name: str) -> None:
    model, clip = network(name), video(5)
    last = Queries(*torch.rand(2, 1, 9), *torch.full((3, 1, 9), 4))
    with torch.inference_mode():
        memory, padded = model.encode(clip, RATIO), model.encode(torch.cat((clip, clip[:, -1:]), 1), RATIO)
        assert torch.equal(memory.tokens, padded.tokens) and memory.frames == 5
        answers = model.decode(memory, last)
        assert difference(answers, model.decode(padded, last)) <= FLOAT_NOISE
        clip[:, 4] = torch.rand(3, 32, 48)
        assert difference(answers, model.decode(model.encode(clip, RATIO), last)) > 1e-2
        single = model.encode(clip[:, :1], RATIO)
        assert model.decode(single, last._replace(t_src=last.t_src * 0, t_tgt=last.t_tgt * 0, t_cam=last.t_cam * 0))


def test_published_behaviour_on_request() -> None:
    dropping = network("open", drop_odd_frame=True, pool_tokens=True)
    clip = video(5)
    with torch.inference_mode():
        assert torch.equal(dropping.encode(clip).tokens, dropping.encode(clip[:, :4]).tokens)
        assert dropping.encode(clip).frames == 5
        pooled = dropping.encode(video(8, size=(64, 64)))
        assert pooled.tokens.shape[1] == 4 * 7 * 7 + 1  # 8 · sqrt(200 / 256) rounds to 7
        with pytest.raises(InputError, match="has 1 frames, this network takes 2 to 8"):
            dropping.encode(clip[:, :1])


@pytest.mark.parametrize("name", NAMES)
def test_the_shape_of_the_video_is_told(name: str) -> None:
    model, clip, asked = network(name), video(), questions(20)
    with torch.inference_mode():
        wide, square, silent = (
            model.decode(model.encode(clip, ratio), asked) for ratio in (torch.tensor([2.0]), torch.tensor([1.0]), None)
        )
    assert difference(wide, square) > 1e-3 and difference(square, silent) == 0


def test_finer_images_change_colors_only() -> None:
    model, clip, asked = network("paper"), video(4), questions(20, 4)
    with torch.inference_mode():
        memory = model.encode(clip, RATIO)
        finer = memory.with_pixels(video(4, seed=1, size=(64, 96)))
        assert finer.tokens is memory.tokens and finer.layers is memory.layers
        assert difference(model.decode(finer, asked), model.decode(memory, asked)) > 1e-3
        constant = torch.full((1, 4, 3, 8, 12), 0.5)
        flat, larger = (memory.with_pixels(constant.repeat(1, 1, 1, n, n)) for n in (1, 5))
        assert difference(model.decode(flat, asked), model.decode(larger, asked)) <= FLOAT_NOISE
        as_bytes = memory.with_pixels((clip * 255).round().to(torch.uint8))
        exact = memory.with_pixels((clip * 255).round() / 255)
        assert difference(model.decode(as_bytes, asked), model.decode(exact, asked)) <= FLOAT_NOISE
    with pytest.raises(InputError, match="has 3 frames, the encoded one 4"):
        memory.with_pixels(video(3))


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and all(out.data_ptr() != a.data_ptr() for a in args if isinstance(a, Tensor)):
            self.bytes = max(self.bytes, out.numel() * out.element_size())
        return out


def test_colors_take_no_memory_for_the_frames() -> None:
    largest = []
    for side in (32, 512):
        x, y = torch.rand(2, 1, 50) * side
        pixels, frame = torch.zeros(1, 4, side, side, 3), torch.zeros(1, 50, dtype=torch.long)
        with LargestTensor() as seen:
            color_patches(pixels, x, y, frame, 9)
        largest.append(seen.bytes)
    assert largest[0] == largest[1] <= 50 * 10 * 10 * 3 * 8


def test_positions_keep_their_meaning_in_longer_clips_and_finer_frames() -> None:
    reference, dim = (6, 9), 48
    code = axes_code((4, 6, 9), reference, dim)
    assert torch.equal(axes_code((9, 6, 9), reference, dim)[:4], code)
    assert torch.allclose(cell_centers(12, 6).view(6, 2).mean(1), torch.arange(6).double())
    finer = axes_code((4, 12, 18), reference, dim)
    upsampled = torch.nn.functional.interpolate(code.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
    inner = (finer - upsampled.permute(0, 2, 3, 1))[:, 1:-1, 1:-1].abs().amax((0, 1, 2))
    assert inner.max() < 0.2 and inner.median() < 5e-3  # a wave of 2 pi cells, bent by linear interpolation
    assert not torch.allclose(flat_code((2, 6, 9), dim)[1], flat_code((2, 12, 18), dim)[1, ::2, ::2], atol=0.1)


def test_other_sizes_and_lengths_are_taken() -> None:
    for name in ("paper", "mini"):
        model = network(name, max_tokens=2000)
        with torch.inference_mode():
            memory = model.encode(video(6, size=(64, 96)), RATIO)
            assert model.decode(memory, questions(5, 6)).points.isfinite().all()


@pytest.mark.parametrize(("size", "millions"), [("b", 86), ("l", 304), ("h", 632), ("g", 1012)])
def test_parameter_counts_of_the_paper(size: str, millions: int) -> None:
    config = D4rtConfig.published(size)
    with torch.device("meta"):
        model = D4rt(config)
    without_aspect = sum(
        value.numel() for name, value in model.encoder.named_parameters() if not name.startswith("aspect")
    )
    assert without_aspect / 1e6 == pytest.approx(millions, rel=0.01)
    if size == "g":
        decoder = sum(value.numel() for value in model.decoder.parameters())
        assert decoder / 1e6 == pytest.approx(144, rel=0.01) and config.decoder_depth == 8


def test_the_small_model_is_small() -> None:
    assert 7e6 < weights.count_parameters("d4rt", D4rtConfig.mini()) < 16e6


def test_a_start_from_an_encoder_of_photos_gives_its_tokens() -> None:
    torch.manual_seed(0)
    photos = MVDust3rConfig(encoder_dim=24, encoder_depth=2, encoder_heads=2, mlp_ratio=2.0, photo_position=True)
    encoder = Encoder(photos).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = D4rt(
        D4rtConfig(
            clip_frames=8, image_size=(32, 48), encoder_dim=24, encoder_depth=4, encoder_heads=2, encoder_mlp_dim=48,
            decoder_dim=24, decoder_depth=1, decoder_heads=2, decoder_mlp_dim=24, position="learned", rotary=True,
            aspect_in_memory=False,
        )
    ).eval()  # fmt: skip
    model.start_from_photo_encoder(encoder.state_dict())
    photo = torch.rand(2, 3, 32, 48)
    with torch.inference_mode():
        expected = encoder(2 * photo - 1)
        tokens = model.encode(photo[:, None].expand(-1, 4, -1, -1, -1), torch.tensor([1.5, 1.0])).tokens
    assert torch.allclose(tokens[:, :6], expected, atol=1e-5) and torch.allclose(tokens[:, 6:], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, clip, asked = network(name), video(), questions(20)
    folder = weights.save_model(model, tmp_path / "model", card={"name": "x"}, dtype=torch.float32)
    loaded, info = weights.load_model(folder)
    assert info.family == "d4rt" and loaded.config == model.config
    with torch.inference_mode():
        answers, again = (each.decode(each.encode(clip, RATIO), asked) for each in (model, loaded))
    assert difference(answers, again) == 0


def test_answers_start_in_front_of_the_camera() -> None:
    torch.manual_seed(0)
    for config in CONFIGS.values():
        model = D4rt(config).eval()
        with torch.inference_mode():
            answers = model.decode(model.encode(video(), RATIO), questions(50))
        assert answers.points[..., 2].min() > 0.3 and answers.points[..., 2].max() < 3
        assert answers.visibility.sigmoid().sub(0.5).abs().max() < 0.3
