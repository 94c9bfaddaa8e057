"""The recipes of D4RT. They are in the one table of :mod:`worldline.train.catalog`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from worldline.models.config import D4rtConfig
from worldline.train.clips.batches import CropOptions
from worldline.train.clips.losses import LossWeights
from worldline.train.clips.recipe import ClipRecipe, ClipStage

POOL, VALIDATION = "pool", "validation"  # folders in the run, where rendered clips are kept


def d4rt_tiny(output: Path) -> ClipRecipe:
    """Seconds on a processor: a network of 0.3 M parameters that learns two clips by heart. For tests."""
    config = replace(
        D4rtConfig.mini(),
        clip_frames=4, image_size=(32, 32), encoder_dim=64, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=128,
        decoder_dim=64, decoder_depth=2, decoder_heads=4, decoder_mlp_dim=128,
    )  # fmt: skip
    return ClipRecipe(
        output=output,
        scenes=2,
        scene_views=4,
        layouts=(("dynamic", 1.0),),
        model="d4rt-tiny",
        config=config,
        stages=(
            ClipStage(0.5, 32, (2, 4), 16, queries=128, near=((0.5, 1),), matching_weight=0.1),
            ClipStage(until=1.0, size=32, views=(4, 4), views_per_step=16, queries=128),
        ),
        steps=100,
        learning_rate=3e-3,
        warmup_steps=10,
        ema_decay=0.95,
        crop=CropOptions(share=0.2),
        validation_views=4,
        validation_scenes=1,
        threads=1,
    )


def d4rt_mini(output: Path) -> ClipRecipe:
    """``d4rt-mini`` on a processor core with AVX512-BF16: what the shipped weights learned, in one run.

    The encoder begins as that of ``mvdust3r-plus-mini``, which has seen many worlds; decoder and global layers are new.
    Short clips come first, because they are cheap and the decoder is what takes longest to learn: where a query points.
    Points and uv weigh more than published: with the published weights the normals, which are easy, are most of the
    loss of a small network. The relative error of depth is in the loss, since the logarithm hardly sees what is near.
    """
    near = ((0.5, 3),)
    return ClipRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        init="mvdust3r-plus-mini",
        minutes=90,
        stages=(
            ClipStage(0.6, 128, (3, 8), 24, queries=256, near=near, matching_weight=0.1),
            ClipStage(1.0, 128, (8, 16), 32, queries=512, matching_weight=0.1),
        ),
        weights=LossWeights(points=3.0, uv=1.0, motion=0.3, normal=0.2, depth=0.2, motion_unit="log"),
        trust_from=(0.1, 0.3),
        dense_weight=1.0,
        edges=0.2,
        moving=0.2,  # otherwise 8 %: most of what a video shows stands still
        crop=CropOptions(share=0.6, aspect=(0.6, 2.2)),
        learning_rate=6e-4,
        weight_decay=0.03,
        hold=0.3,
        ema_decay=0.998,
        warmup_steps=150,
        threads=1,
        precision="bfloat16",
        checkpoint_minutes=4,
        export_minutes=15,
        validate_minutes=10,
    )


def d4rt_mini_on_cuda(output: Path) -> ClipRecipe:
    """``d4rt-mini`` on one large GPU in 25 minutes: large batches, 2048 queries per clip as in the paper. Untried: no
    such machine was at hand when it was written."""
    return replace(
        d4rt_mini(output),
        minutes=25,
        stages=(
            ClipStage(0.40, 128, (8, 8), 512, queries=1024, near=((0.5, 3),), matching_weight=0.1),
            ClipStage(1.0, 128, (16, 16), 512, queries=2048, matching_weight=0.05),
        ),
        learning_rate=1e-3,
        warmup_steps=500,
        device="cuda",
        precision="auto",
        threads=None,
        workers=12,
        compile=True,
        log_every_steps=50,
        checkpoint_minutes=5,
        export_minutes=10,
        validate_minutes=5,
    )  # fmt: skip


def d4rt(output: Path) -> ClipRecipe:
    """D4RT (ViT-g) with the paper's schedule: 500 000 steps of 64 clips of 48 frames, 2048 queries each.

    What differs: the paper begins with VideoMAE weights and learns from a mixture of public and internal data; here the
    start is random and the data are worlds, or any folder of clips given with ``--pool``.
    """
    return ClipRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        scene_views=96,
        model="d4rt",
        config=D4rtConfig.published("g"),
        stages=(ClipStage(1.0, 256, (48, 48), 48, queries=2048),),
        steps=500_000,
        learning_rate=1e-4,
        final_learning_rate=1e-6,
        weight_decay=0.03,
        warmup_steps=2_500,
        clip_norm=10.0,
        ema_decay=0.0,  # the last weights are exported, no average
        reverse=0.0,
        validation_views=48,
        device="cuda",
        precision="bfloat16",
        compile=True,
        workers=8,
        checkpoint_minutes=30,
        export_minutes=240,
        validate_minutes=240,
    )  # fmt: skip
