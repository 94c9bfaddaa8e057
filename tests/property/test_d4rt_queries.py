"""An answer depends on its video and its question, and on nothing else (arXiv 2512.08924, section 2.2)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample

from d4rt_networks import CONFIGS, FLOAT_NOISE, chosen, difference, network, questions, rows_of, video
from worldline.models.d4rt import Answers
from worldline.models.layers.color_patch import color_patches

ANY = settings(deadline=None, max_examples=15)
NAMES = st.sampled_from(sorted(CONFIGS))
SEEDS = st.integers(0, 2**16)


@given(name=NAMES, seed=SEEDS, count=st.integers(1, 60), frames=st.integers(1, 8))
@ANY
def test_order_company_and_repetition_do_not_matter(name: str, seed: int, count: int, frames: int) -> None:
    model, asked = network(name), questions(count, frames, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        memory = model.encode(video(frames, seed=seed), torch.tensor([1.5]))
        answers = model.decode(memory, asked)
        rows = torch.randint(count, (count + 7,), generator=generator)  # some twice, some not at all
        assert difference(model.decode(memory, chosen(asked, rows)), rows_of(answers, rows)) <= FLOAT_NOISE
        alone = torch.tensor([int(rows[0])])
        assert difference(model.decode(memory, chosen(asked, alone)), rows_of(answers, alone)) <= FLOAT_NOISE


@given(name=NAMES, seed=SEEDS, portion=st.integers(1, 50))
@ANY
def test_portions_do_not_matter(name: str, seed: int, portion: int) -> None:
    model, asked = network(name), questions(40, seed=seed, batch=2)
    with torch.inference_mode():
        memory = model.encode(video(batch=2, seed=seed), torch.tensor([1.5, 0.7]))
        parts = [model.decode(memory, part) for part in asked.split(portion)]
        assert difference(Answers.join(parts), model.decode(memory, asked)) <= FLOAT_NOISE


@given(name=NAMES, seed=SEEDS, frames=st.integers(2, 8))
@ANY
def test_other_videos_of_the_batch_do_not_matter(name: str, seed: int, frames: int) -> None:
    model, clips = network(name), video(frames, batch=3, seed=seed)
    asked, ratios = questions(20, frames, batch=3, seed=seed), torch.tensor([1.5, 0.7, 1.0])
    with torch.inference_mode():
        together = model.decode(model.encode(clips, ratios), asked)
        for number in range(3):
            part = slice(number, number + 1)
            memory = model.encode(clips[part], ratios[part])
            alone = model.decode(memory, type(asked)(*(each[part] for each in asked)))
            expected = Answers(*(getattr(together, each)[part] for each in Answers.__annotations__))
            assert difference(alone, expected) <= FLOAT_NOISE


@given(
    seed=SEEDS, edge=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20), as_bytes=st.booleans()
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_color_patches_are_bilinear_samples_with_the_border_repeated(
    seed: int, edge: int, height: int, width: int, as_bytes: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (2, 3, height, width, 3), generator=generator).to(torch.uint8)
    pixels = pixels if as_bytes else pixels / 255
    x = (torch.rand(2, 11, generator=generator) * 2 - 0.5) * width
    y = (torch.rand(2, 11, generator=generator) * 2 - 0.5) * height
    x[0, 0], y[0, 0], x[0, 1], y[1, 1] = 0.0, height - 1.0, -1e6, 1e6
    frame = torch.randint(3, (2, 11), generator=generator)
    found = color_patches(pixels, x, y, frame, edge).view(2, 11, 3, edge, edge)
    offsets = torch.arange(edge) - edge // 2
    for batch in range(2):
        for query in range(11):
            # in float64: far outside, grid_sample's own float32 coordinates lose the pixel
            image = (pixels[batch, frame[batch, query]].double() / (255 if as_bytes else 1)).permute(2, 0, 1)
            columns, rows = x[batch, query].double() + offsets, y[batch, query].double() + offsets
            places = torch.stack(
                torch.meshgrid((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1, indexing="ij"), -1
            )
            sampled = grid_sample(image[None], places.mT.mT[None], padding_mode="border", align_corners=False)
            assert torch.allclose(found[batch, query].double(), sampled[0].mT, atol=1e-5)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_part_of_a_question_matters(name: str) -> None:
    model, asked = network(name), questions(30)
    with torch.inference_mode():
        memory = model.encode(video(), torch.tensor([1.5]))
        answers = model.decode(memory, asked)
        for part in asked._fields:
            value = getattr(asked, part)
            other = (value + 1) % 8 if part.startswith("t_") else value + 0.1
            changed = model.decode(memory, asked._replace(**{part: other}))
            moved = (changed.points - answers.points).norm(dim=-1)
            assert (moved > 1e-3).float().mean() > 0.8, part
