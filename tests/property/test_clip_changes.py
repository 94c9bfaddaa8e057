"""Whatever is cut, mirrored or turned around in time: targets keep speaking of the same surfaces."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthetic_clip import make_clip
from worldline.models.d4rt import Answers
from worldline.train.clips.batches import CropOptions, draw_box
from worldline.train.clips.losses import LossWeights, Targets, query_loss
from worldline.train.clips.queries import QueryOptions, Sources, answer, draw_queries, draw_sources

CLIP = make_clip(3, frames=5, height=32, width=44)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS, order=st.permutations(range(5)), mirrored=st.booleans(),
    top=st.integers(0, 12), left=st.integers(0, 20), height=st.integers(8, 20), width=st.integers(8, 24),
)  # fmt: skip
def test_the_same_surface_has_the_same_answer(
    seed: int, order: list[int], mirrored: bool, top: int, left: int, height: int, width: int
) -> None:
    """A query asked of a changed clip, answered by the unchanged one."""
    part = CLIP.choose(order).crop(top, left, height, width)
    part = part.mirror() if mirrored else part
    rng = np.random.default_rng(seed)
    sources = draw_sources(part, QueryOptions(40, edges=0.3, moving=0.3), rng)
    if sources is None:
        return
    t_tgt, t_cam = rng.integers(5, size=40), rng.integers(5, size=40)
    found = answer(part, sources, t_tgt, t_cam)
    flip = np.array([-1, 1, 1]) if mirrored else np.ones(3)
    pixel = sources.pixel.copy()
    if mirrored:
        pixel[:, 0] = width - 1 - pixel[:, 0]
    times = np.array(order)
    original = Sources(
        pixel + np.array([left, top]), times[sources.frame], sources.world * flip, sources.normal * flip, sources.row
    )
    true = answer(CLIP, original, times[t_tgt], times[t_cam])
    for name in ("points", "motion", "normal"):
        np.testing.assert_allclose(getattr(found, name) * flip, getattr(true, name), atol=1e-4, err_msg=name)
    wide = true.uv * (44, 32) - np.array([left, top])
    uv = wide / (width, height)
    uv[:, 0] = 1 - uv[:, 0] if mirrored else uv[:, 0]
    both = found.has_uv & true.has_uv
    np.testing.assert_allclose(found.uv[both], uv[both], atol=1e-4)
    inside = ((uv > 0) & (uv < 1)).all(-1) & both
    assert not (found.visible & both & ~((uv > -1e-4) & (uv < 1 + 1e-4)).all(-1)).any()
    if inside.any():  # only at the border of the crop a neighbour that decided is missing
        assert (found.visible == true.visible)[inside].mean() > 0.8


@settings(max_examples=100, deadline=None)
@given(
    seed=SEEDS, rows=st.integers(8, 300), columns=st.integers(8, 300), low=st.floats(0.05, 1.0),
    aspect=st.floats(1.0, 6.0), zoom=st.floats(0, 1),
)  # fmt: skip
def test_every_box_is_inside(seed: int, rows: int, columns: int, low: float, aspect: float, zoom: float) -> None:
    options = CropOptions(area=(low, 1.0), zoom=zoom, aspect=(1 / aspect, aspect))
    top, left, height, width = draw_box((rows, columns), options, np.random.default_rng(seed))
    assert 0 <= top <= rows - height and 0 <= left <= columns - width and height > 0 and width > 0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, unit=st.floats(1e-3, 1e3), trust=st.floats(0, 1))
def test_units_and_order_of_queries_do_not_matter(seed: int, unit: float, trust: float) -> None:
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    asked = draw_queries(CLIP, QueryOptions(30), rng)
    parts = {name: torch.from_numpy(getattr(asked, name))[None] for name in asked._fields}
    targets = Targets(
        **{name: parts[name] for name in Targets.__annotations__ if name in parts}, has_motion=parts["has_points"]
    )
    shapes = ((3,), (2,), (), (3,), (3,), ())
    answers = Answers(*(torch.randn(1, 30, *shape, generator=generator) for shape in shapes))
    weights = LossWeights(depth=0.2)
    loss = query_loss(answers, targets, weights, trust).total
    order = torch.randperm(30, generator=generator)
    scaled = Answers(
        *(
            getattr(answers, name)[:, order] * (unit if name in ("points", "motion") else 1)
            for name in Answers.__annotations__
        )
    )
    turned = Targets(**{name: value[:, order] for name, value in vars(targets).items() if value is not None})
    torch.testing.assert_close(query_loss(scaled, turned, weights, trust).total, loss, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(loss) and loss > 0
