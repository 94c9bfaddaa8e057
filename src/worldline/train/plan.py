"""A run on paper: shapes, parameters, memory per GPU and schedule, without data, weights or the machines.

Nothing is estimated by formula. The network is built without memory for its numbers, and a forward pass of every stage
is traced with fake tensors: what autograd would keep is counted byte by byte, and so are the operations. Losses are not
traced; a rendering loss adds its rasteriser's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from worldline.models.layers.blocks import DecoderBlock, EncoderBlock
from worldline.models.layers.rope import grid_rope
from worldline.train.launch import uses_bfloat16
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.tasks import task_of

FLOAT_BYTES = 4
GIB = 2**30
_BACKWARD = 3  # forward and backward cost three times the forward pass


@dataclass(frozen=True)
class StagePlan:
    """One stage at its largest shape (most views, largest size), per device."""

    stage: Stage
    samples: int  # per batch
    images: tuple[int, ...]  # shape of the input
    points: tuple[int, ...]  # shape of the predicted points
    activation_bytes: int  # kept for the backward pass of one batch
    flops: int  # of one optimiser step: forward and backward of all its batches


@dataclass(frozen=True)
class RunPlan:
    """What a recipe needs on so many devices."""

    parameters: int
    devices: int
    sharded: bool
    largest_block: int  # parameters of the largest unit that FSDP gathers
    stages: tuple[StagePlan, ...]
    recipe: TrainRecipe

    @property
    def memory(self) -> dict[str, int]:
        """Bytes per device: what is always there, and the widest moment of a step."""
        share = self.devices if self.sharded else 1
        whole = -(-self.parameters // share) * FLOAT_BYTES
        gathered = 2 * self.largest_block * FLOAT_BYTES if self.sharded else 0  # one at work, the next on its way
        return {
            "weights": whole,
            "gradients": whole,
            "optimiser": 2 * whole,
            "average": whole,
            "gathered": gathered,
            "activations": max(plan.activation_bytes for plan in self.stages),
        }

    @property
    def total_bytes(self) -> int:
        """Sum of :attr:`memory`; allocators and kernels' workspaces come on top, some 10 %."""
        return sum(self.memory.values())

    @property
    def batch(self) -> int:
        """Samples of one optimiser step on all devices, in the last stage."""
        return self.stages[-1].samples * self.recipe.accumulate * self.devices

    @property
    def steps(self) -> int | None:
        """Optimiser steps of the run, where its length says so."""
        if self.recipe.steps is not None:
            return self.recipe.steps
        return None if self.recipe.samples is None else -(-self.recipe.samples // self.batch)


def plan_run(recipe: TrainRecipe, devices: int = 1, sharded: bool = False) -> RunPlan:
    """Trace every stage of a recipe."""
    network = _on_meta(recipe)
    blocks = [block for block in network.modules() if isinstance(block, EncoderBlock | DecoderBlock)]
    inside = sum(map(_count, blocks))
    total = _count(network)
    largest = max([total - inside, *map(_count, blocks)])
    traced: dict[tuple[object, ...], StagePlan] = {}  # stages of the same shape are traced once
    for stage in recipe.stages:
        if _shape(recipe, stage) not in traced:
            traced[_shape(recipe, stage)] = _plan_stage(recipe, stage)
    stages = tuple(replace(traced[_shape(recipe, stage)], stage=stage) for stage in recipe.stages)
    return RunPlan(total, devices, sharded, largest, stages, recipe)


def _shape(recipe: TrainRecipe, stage: Stage) -> tuple[object, ...]:
    return task_of(recipe).example(recipe, stage).images, stage.references


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _on_meta(recipe: TrainRecipe) -> nn.Module:
    with torch.device("meta"):
        return task_of(recipe).empty(recipe)


def _plan_stage(recipe: TrainRecipe, stage: Stage) -> StagePlan:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    example = task_of(recipe).example(recipe, stage)
    kept: dict[int, int] = {}
    network = _on_meta(recipe)
    grid_rope.cache_clear()  # its tables of real numbers must not meet fake tensors, nor the other way round
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            network.to_empty(device="cpu")
            own = {_storage(value) for value in network.parameters()}

            def keep(value: Tensor) -> Tensor:
                if _storage(value) not in own:
                    kept[_storage(value)] = value.untyped_storage().nbytes()
                return value

            half = torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16(recipe))
            saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
            attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            # traced on the processor, whose attention kernel PyTorch does not count and which keeps float32 copies
            counter = FlopCounterMode(
                display=False, custom_mapping={attention: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)}
            )
            with half, saved, counter:
                found = example.forward(network, torch.empty(example.images))
            points = tuple(found.shape)
            del found
    finally:
        grid_rope.cache_clear()
    flops = counter.get_total_flops() * _BACKWARD * recipe.accumulate
    return StagePlan(stage, example.samples, example.images, points, sum(kept.values()), flops)


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata
