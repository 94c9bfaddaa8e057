"""The recipes of stream models. They are in the one table of :mod:`worldline.train.catalog`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from worldline.models.config import Driv3rConfig
from worldline.train.streams.recipe import StreamRecipe, StreamStage

POOL, VALIDATION = "pool", "validation"  # folders in the run, where rendered drives are kept
NUSCENES_SEQUENCES = 700 * 8 * 6  # training scenes of nuScenes, chunks of five key frames, cameras


def driv3r_tiny(output: Path) -> StreamRecipe:
    """Seconds on a processor: a network of 0.5 M parameters that learns two drives by heart. For tests."""
    config = replace(
        Driv3rConfig.mini(),
        encoder_dim=64, encoder_depth=1, encoder_heads=2, decoder_dim=64, decoder_depth=1, decoder_heads=2,
        value_depth=1, value_heads=2,
    )  # fmt: skip
    return StreamRecipe(
        output=output,
        scenes=2,
        scene_views=3,
        model="driv3r-tiny",
        config=config,
        stages=(
            StreamStage(until=0.8, size=32, views=(2, 3), sensors=(1, 2), views_per_step=12, keep=(0.6, 1.0)),
            StreamStage(
                until=1.0, size=32, views=(3, 3), sensors=(2, 3), views_per_step=12, focus=0.3, matching_weight=0.1
            ),
        ),
        steps=60,
        learning_rate=3e-3,
        warmup_steps=10,
        ema_decay=0.98,
        skip_steps=0.0,
        validation_views=3,
        validation_scenes=1,
        threads=1,
    )


def driv3r_mini(output: Path) -> StreamRecipe:
    """``driv3r-mini`` on a processor core with AVX512-BF16: what the shipped weights learned, in one run.

    Encoder and decoders begin as those of ``mvdust3r-plus-mini``, which has seen streets among other worlds; the memory
    is new, and is told what to read (:mod:`worldline.train.streams.matching`), which it does not find out by itself. An
    image of 128×224 costs four times one of 64×112, so most sequences are seen small. Stage 2 of the paper is mixed
    in: a third of its steps see moving things only, the others everything, or what stands still would be forgotten.
    Lone cameras and partial memories are part of every stage, so that dropped cameras, neighbours and images do not
    come as a surprise.
    """
    keep = (0.6, 1.0)
    return StreamRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        init="mvdust3r-plus-mini",
        minutes=75,
        stages=(
            StreamStage(0.45, 64, (3, 5), 36, sensors=(2, 3), keep=keep, matched=0.7, matching_weight=0.5),
            StreamStage(0.80, 128, (3, 6), 18, sensors=(2, 3), keep=keep, matched=0.5, matching_weight=0.3),
            StreamStage(1.00, 128, (3, 8), 24, sensors=(1, 6), keep=keep, matched=0.4, matching_weight=0.2, focus=0.3),
        ),
        learning_rate=5e-4,
        hold=0.5,
        confidence_alpha=0.5,  # as for mvdust3r-plus-mini: at less a network of this size is never sure
        final_confidence_alpha=0.4,
        ema_decay=0.998,
        farthest=100.0,
        warmup_steps=200,
        threads=1,
        checkpoint_minutes=4,
        export_minutes=15,
        validate_minutes=10,
    )


def driv3r_mini_on_cuda(output: Path) -> StreamRecipe:
    """``driv3r-mini`` on one large GPU in 25 minutes. Untried: no such machine was at hand when it was written."""
    recipe, keep = driv3r_mini(output), (0.6, 1.0)
    return replace(
        recipe,
        minutes=25,
        stages=(
            StreamStage(0.40, 64, (3, 6), 288, sensors=(1, 3), keep=keep, matched=0.7, matching_weight=0.5),
            StreamStage(0.75, 128, (3, 8), 144, sensors=(1, 6), keep=keep, matched=0.5, matching_weight=0.3),
            StreamStage(1.00, 128, (4, 8), 144, sensors=(2, 6), keep=keep, matched=0.4, matching_weight=0.2, focus=0.3),
        ),
        learning_rate=1e-3,
        warmup_steps=500,
        device="cuda",
        threads=None,
        workers=8,
        log_every_steps=50,
        checkpoint_minutes=5,
        export_minutes=10,
        validate_minutes=5,
    )  # fmt: skip


def driv3r(output: Path) -> StreamRecipe:
    """Driv3R at published size with the paper's schedule: from Spann3R, 50 epochs, 32 sequences of 5 key frames a step.

    Three things differ from the released code, whose training cannot run: a sequence is of whole images, 224 pixels
    high, instead of two half-images; the loss sees everything in the first half and moving things only in the second
    (the two stages of the paper); and half of the steps let two neighbouring cameras read each other's memories.
    """
    return StreamRecipe(
        output=output,
        pool=output / POOL,
        validation_pool=output / VALIDATION,
        model="driv3r",
        config=replace(Driv3rConfig.published(), relative_pose=True),
        init="spann3r",
        stages=(
            StreamStage(0.5, 224, (5, 5), 20, sensors=(2, 2), alone=0.5),
            StreamStage(1.0, 224, (5, 5), 20, sensors=(2, 2), alone=0.5, focus=1.0),
        ),
        samples=50 * NUSCENES_SEQUENCES // 2,  # drives of two cameras each
        learning_rate=2e-5,
        final_learning_rate=1e-7,
        warmup_steps=0,
        warmup=0.1,  # 5 epochs
        ema_decay=0.0,  # the last weights are exported, no average
        skip_steps=0.0,
        device="cuda",
        precision="float32",  # TensorFloat-32 products
        workers=8,
        checkpoint_minutes=30,
        export_minutes=240,
        validate_minutes=240,
    )
