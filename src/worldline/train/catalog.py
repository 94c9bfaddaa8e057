"""The recipes that have a name. ``RECIPES`` is the one table of them: name -> how it is built, for what, on what."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worldline.errors import InputError
from worldline.models.config import MVDust3rConfig
from worldline.train.appearance import Appearance
from worldline.train.clips import catalog as clips
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.streams import catalog as streams

EPOCH = 150_000  # tuples of the published training sets that are called an epoch (MV-DUSt3R+, released scripts)
POOL, VALIDATION = "pool", "validation"  # folders in the run, where rendered scenes are kept


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe in the table."""

    build: Callable[[Path], TrainRecipe]  # from the folder of the run
    says: str  # one line for people
    devices: int = 1  # that the recipe was written for; more or fewer change the batch, not the schedule
    producers: int = 0  # processes that render into the pool while it trains
    pool_gigabytes: float = 8.0  # the pool stops growing here


def find_recipe(name: str) -> NamedRecipe:
    """The entry of a name.

    Raises:
        InputError: unknown name; lists the choices.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"There is no recipe {name!r}.", f"{hint}Choose one of: {', '.join(RECIPES)}.")
    return RECIPES[name]


def tiny(output: Path) -> TrainRecipe:
    """Seconds on a processor: a network of 0.4 M parameters that learns a few rooms by heart. For tests."""
    config = replace(
        MVDust3rConfig.mini(),
        encoder_dim=64, encoder_depth=1, encoder_heads=2, decoder_dim=64, decoder_depth=1, decoder_heads=2,
        gaussians=False,
    )  # fmt: skip
    return TrainRecipe(
        output=output,
        scenes=4,
        scene_views=3,
        model="tiny",
        config=config,
        stages=(
            Stage(until=0.8, size=32, views=(2, 3), views_per_step=6, matching_weight=0.1),
            Stage(until=1.0, size=32, views=(2, 3), views_per_step=6, references=2),
        ),
        steps=200,
        learning_rate=3e-3,
        warmup_steps=10,
        ema_decay=0.98,
        validation_views=3,
        validation_scenes=2,
        threads=1,
    )


def mini_on_processor(output: Path) -> TrainRecipe:
    """``mvdust3r-plus-mini`` on a processor core with AVX512-BF16: what the shipped weights learned, in one run.

    A 224² view costs four to five times a 112² view, and four fused paths five times one plain path. So most samples
    are seen small and plain; fusion starts small; the end is at the size of use, with a falling learning rate. A linear
    head has few unknowns per patch, so the loss sees a part of the pixels, but all of them at the end: what is seen too
    seldom keeps a dither.
    """
    wide, middle, narrow = (0.15, 0.6), (0.15, 0.5), (0.15, 0.15)
    return TrainRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        layouts=(("rooms", 4.0), ("objects", 1.0), ("outdoor", 1.0), ("street", 1.0), ("dynamic", 1.0)),
        minutes=200,
        stages=(
            Stage(0.35, 112, (2, 4), 24, 1, wide, matching_weight=1.0, loss_stride=2),
            Stage(0.66, 112, (2, 6), 24, 1, middle, matching_weight=0.5, seam_weight=1.0, loss_stride=2),
            Stage(0.70, 112, (4, 8), 16, 4, narrow, matching_weight=0.3, seam_weight=1.0, loss_stride=2),
            Stage(0.92, 224, (2, 4), 10, 1, middle, matching_weight=0.5, seam_weight=2.0, loss_stride=2),
            Stage(
                1.0,
                224,
                (4, 6),
                6,
                4,
                narrow,
                matching_weight=0.3,
                seam_weight=3.0,
                rendering_weight=1.0,
                render_views=2,
                render_size=112,
            ),
        ),
        learning_rate=7e-4,
        hold=0.6,
        confidence_alpha=0.5,  # at 0.2 a network of this size never becomes sure of anything
        appearance=Appearance.hard(),
        ema_decay=0.998,
        warmup_steps=200,
        threads=1,
        checkpoint_minutes=4,
        export_minutes=15,
    )


def mini_on_cuda(output: Path) -> TrainRecipe:
    """``mvdust3r-plus-mini`` on one large GPU in 25 minutes: many kinds of worlds, up to 12 views, four paths at last.

    The network is small, so a step is bound by the number of kernels, not by arithmetic: batches are large. Producers
    fill the pool on the cores while the GPU trains; the views of a step are chosen anew each time.
    """
    overlap = (0.15, 0.5)
    return TrainRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        layouts=(("rooms", 4.0), ("objects", 2.0), ("outdoor", 2.0), ("street", 2.0), ("dynamic", 1.0)),
        confidence_alpha=0.5,
        appearance=Appearance.hard(),
        scene_views=14,
        minutes=25,
        stages=(
            Stage(0.35, 112, (2, 4), 192, 1, (0.15, 0.6), matching_weight=1.0, seam_weight=1.0),
            Stage(0.65, (112, 224), (2, 8), 128, 1, overlap, matching_weight=0.5, seam_weight=2.0),
            Stage(0.92, 224, (2, 12), 72, 4, overlap, matching_weight=0.3, seam_weight=3.0),
            Stage(  # short: a rendered photo is thousands of small kernels
                1.0, 224, (3, 8), 48, 4, overlap, matching_weight=0.3, seam_weight=3.0, rendering_weight=1.0,
                render_views=1, render_size=112, render_scenes=1,
            ),
        ),
        learning_rate=1e-3,
        hold=0.6,
        ema_decay=0.998,
        warmup_steps=500,
        device="cuda",
        workers=8,
        log_every_steps=50,
        checkpoint_minutes=5,
        export_minutes=10,
        validate_minutes=5,
    )  # fmt: skip


def mini_further(output: Path) -> TrainRecipe:
    """``mvdust3r-plus-mini``, trained on: from the embedded weights, all kinds of worlds, appearance changed hard.

    What the weights before lacked: worlds other than rooms (they had seen 250), and surfaces that hold together at the
    borders of patches. On a processor core with AMX or AVX512-BF16 (``precision``).
    """
    return replace(
        mini_on_processor(output),
        init="mvdust3r-plus-mini",
        layouts=(("rooms", 4.0), ("objects", 1.0), ("outdoor", 1.0), ("street", 1.0), ("dynamic", 1.0)),
        scene_views=10,
        minutes=78,
        stages=(
            Stage(0.40, 112, (2, 6), 24, 1, (0.15, 0.55), matching_weight=0.5, seam_weight=1.0, loss_stride=2),
            Stage(0.80, 224, (2, 4), 12, 1, (0.15, 0.5), matching_weight=0.4, seam_weight=2.0, loss_stride=2),
            Stage(1.00, 224, (4, 5), 10, 2, (0.15, 0.35), matching_weight=0.3, seam_weight=3.0),
        ),
        learning_rate=4e-4,
        hold=0.4,
        warmup_steps=100,
        precision="bfloat16",
        validate_minutes=13,
        export_minutes=20,
        seed=7,
    )


def mini_gaussians(output: Path) -> TrainRecipe:
    """Gaussian heads for ``mvdust3r-plus-mini``: everything else stays as it is, so its points do not change.

    Scales are clamped to 0.004 of the mean distance (as published), which closes surfaces at 224² pixels and not below:
    so all stages have that size, and what keeps a step cheap is that only a part of each target is rendered. Colours
    are those of the photos; the colour branch gets no gradient.
    """
    few = Stage(
        0.6, 224, views=(4, 4), views_per_step=4, references=4, least_overlap=(0.3, 0.6), rendering_weight=1.0,
        render_views=2, render_size=112,
    )  # fmt: skip
    many = replace(few, until=1.0, views=(3, 8), views_per_step=8, least_overlap=(0.2, 0.5))
    return TrainRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        layouts=(("rooms", 1.0),),
        scene_views=10,
        init="mvdust3r-plus-mini",
        learn=("_gaussians.",),
        minutes=60,
        stages=(few, many),
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        hold=0.5,
        warmup_steps=20,
        confidence_alpha=0.5,
        ema_decay=0.99,
        threads=1,
        checkpoint_minutes=4,
        export_minutes=15,
        validate_minutes=60,
    )


def mvdust3r(output: Path) -> TrainRecipe:
    """MV-DUSt3R as published: from DUSt3R 224, 100 epochs, 512 tuples of 8 views a step (32 GPUs × 8 × 2)."""
    return _published(output, "mvdust3r", fused=False, views=(8, 8), views_per_step=64, references=1, accumulate=2)


def mvdust3r_plus(output: Path) -> TrainRecipe:
    """MV-DUSt3R+ stage 1 as published: four reference paths, 512 tuples of 8 views a step (64 GPUs × 2 × 4)."""
    return _published(output, "mvdust3r-plus", fused=True, views=(8, 8), views_per_step=16, references=4, accumulate=4)


def mvdust3r_plus_mixed(output: Path) -> TrainRecipe:
    """MV-DUSt3R+ stage 2 as published: from stage 1, 4 to 12 views."""
    recipe = _published(
        output, "mvdust3r-plus", fused=True, views=(4, 12), views_per_step=24, references=4, accumulate=4
    )
    return replace(recipe, init="mvdust3r-plus-s1")


def _published(
    output: Path,
    name: str,
    *,
    fused: bool,
    views: tuple[int, int],
    views_per_step: int,
    references: int,
    accumulate: int,
) -> TrainRecipe:
    """The paper's optimiser, schedule and losses: pointmaps, and renderings of the inputs and of two further views.

    LPIPS needs the extra ``lpips`` and the weights of its backbone; the released scripts weigh it 1.
    """
    return TrainRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        scene_views=14,
        model=name,
        config=MVDust3rConfig.published(fused),
        init="dust3r-224-linear",
        stages=(
            Stage(
                until=1.0, size=224, views=views, views_per_step=views_per_step, references=references,
                least_overlap=(0.3, 0.7), rendering_weight=1.0, render_views=2, perceptual_weight=1.0,
            ),
        ),
        samples=100 * EPOCH,
        accumulate=accumulate,
        learning_rate=1.5e-4,
        final_learning_rate=1e-6,
        warmup_steps=0,
        warmup=0.01,  # one epoch
        clip_norm=None,
        largest_loss=10.0,
        ema_decay=0.0,  # the last weights are exported, no average
        device="cuda",
        precision="float32",  # TensorFloat-32 products
        workers=8,
        checkpoint_minutes=30,
        export_minutes=240,
        validate_minutes=240,
    )  # fmt: skip


RECIPES: dict[str, NamedRecipe] = {
    "tiny": NamedRecipe(tiny, "seconds on a processor: does the machine train at all?"),
    "mini": NamedRecipe(mini_on_processor, "the small model on a processor, 200 minutes", producers=1),
    "mini-further": NamedRecipe(
        mini_further, "mvdust3r-plus-mini trained on from its weights, 78 minutes of a processor core", producers=1
    ),
    "mini-cuda": NamedRecipe(
        mini_on_cuda, "the small model on one large GPU, 25 minutes", producers=10, pool_gigabytes=40
    ),
    "mini-gaussians": NamedRecipe(
        mini_gaussians, "Gaussian heads for mvdust3r-plus-mini on a processor, 60 minutes", producers=1
    ),
    "mvdust3r": NamedRecipe(mvdust3r, "MV-DUSt3R at published size, from DUSt3R weights", devices=32),
    "mvdust3r-plus": NamedRecipe(mvdust3r_plus, "MV-DUSt3R+ at published size, stage 1, 4 paths", devices=64),
    "mvdust3r-plus-mixed": NamedRecipe(mvdust3r_plus_mixed, "MV-DUSt3R+ stage 2: from stage 1, 4-12 views", devices=64),
    "driv3r-tiny": NamedRecipe(streams.driv3r_tiny, "seconds on a processor: a stream model learns two drives"),
    "driv3r-mini": NamedRecipe(streams.driv3r_mini, "the small Driv3R on a processor, 75 minutes", producers=1),
    "driv3r-mini-cuda": NamedRecipe(
        streams.driv3r_mini_on_cuda, "the small Driv3R on one large GPU, 25 minutes", producers=10, pool_gigabytes=40
    ),
    "driv3r": NamedRecipe(streams.driv3r, "Driv3R at published size, from Spann3R weights", devices=8),
    "d4rt-tiny": NamedRecipe(clips.d4rt_tiny, "seconds on a processor: a D4RT learns two clips"),
    "d4rt-mini": NamedRecipe(clips.d4rt_mini, "the small D4RT on a processor, 90 minutes", producers=1),
    "d4rt-mini-cuda": NamedRecipe(
        clips.d4rt_mini_on_cuda, "the small D4RT on one large GPU, 25 minutes", producers=12, pool_gigabytes=40
    ),
    "d4rt": NamedRecipe(clips.d4rt, "D4RT at published size with the paper's schedule", devices=64),
}
