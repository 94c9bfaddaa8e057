"""Where a run computes: Lightning Fabric for one device, data parallel (DDP) or sharded (FSDP2) under ``torchrun``.

This is the one module that imports Lightning, and it does so when a run starts.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from worldline.errors import InputError, MissingExtraError
from worldline.models.layers.blocks import DecoderBlock, EncoderBlock, Mlp
from worldline.models.layers.reading import ReadingBlock
from worldline.train.recipes import TrainRecipe
from worldline.train.tasks import task_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch.distributed.device_mesh import DeviceMesh


def start_fabric(recipe: TrainRecipe) -> Fabric:
    """Join the processes of a run and choose its device, strategy and precision.

    One process without ``torchrun``; under ``torchrun`` as many as it started, on all its machines.

    Raises:
        MissingExtraError: Lightning is not installed.
        InputError: a distributed strategy without ``torchrun``.
    """
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies import ModelParallelStrategy
    except ImportError as error:
        raise MissingExtraError("Training", "train") from error
    world = int(os.environ.get("WORLD_SIZE", 1))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    device = torch.device(recipe.device)
    chosen = check_strategy(recipe, world)
    strategy: Any = {"single": "auto", "ddp": _data_parallel(recipe)}.get(chosen)
    if chosen == "fsdp":
        strategy = ModelParallelStrategy(_shard, data_parallel_size=world, tensor_parallel_size=1)
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for name in ("lightning.fabric", "lightning.pytorch", "lightning_utilities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    devices: Any = [device.index] if device.index is not None and world == 1 else here
    fabric = Fabric(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=devices,
        num_nodes=max(1, world // here),
        strategy=strategy,
        precision="bf16-mixed" if uses_bfloat16(recipe) else "32-true",
    )
    fabric.launch()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TensorFloat-32, as the published training
    return fabric


def need_losses(recipe: TrainRecipe, device: torch.device) -> None:
    """What the losses of a recipe need beyond the package, before any data are made: LPIPS, on the device.

    Raises:
        MissingExtraError: its package is not installed.
        WeightsError: its weights are not on this machine.
    """
    stages = [stage for stage in recipe.stages if stage.rendering_weight and stage.perceptual_weight]
    if stages:
        from worldline.eval.perceptual import need_lpips

        need_lpips(device)


def check_strategy(recipe: TrainRecipe, world: int) -> str:
    """``single``, ``ddp`` or ``fsdp`` for so many processes.

    Raises:
        InputError: a distributed strategy for one process, or one device for several.
    """
    chosen = recipe.strategy
    if chosen == "auto":
        return "ddp" if world > 1 else "single"
    if chosen == "single" and world > 1:
        raise InputError(f"torchrun started {world} processes for a single device.", "Use --strategy ddp or fsdp.")
    if chosen in ("ddp", "fsdp") and "WORLD_SIZE" not in os.environ:
        raise InputError(
            f"The strategy {chosen} needs several processes.",
            f"Start them: torchrun --nproc-per-node 8 -m worldline train RECIPE -o RUN --strategy {chosen}",
        )
    return chosen


def uses_bfloat16(recipe: TrainRecipe) -> bool:
    """Whether the network runs under bfloat16 autocast.

    ``auto`` keeps processors at float32: without native bfloat16 products (AVX512-BF16, AMX) they get much slower.
    """
    return recipe.precision == "bfloat16" or (recipe.precision == "auto" and torch.device(recipe.device).type == "cuda")


def _data_parallel(recipe: TrainRecipe) -> Any:
    from lightning.fabric.strategies import DDPStrategy

    # gradients that stay empty must not be waited for
    return DDPStrategy(find_unused_parameters=task_of(recipe).leaves_out(recipe), gradient_as_bucket_view=True)


def _shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Parameters of every transformer block, and of the rest together, spread over the devices."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # type: ignore[attr-defined]

    along = mesh["data_parallel"]
    for block in module.modules():
        if isinstance(block, EncoderBlock | DecoderBlock):
            fully_shard(block, mesh=along)
            if isinstance(block, DecoderBlock):
                register_fsdp_forward_method(block, "remember")  # runs before and outside of forward
    fully_shard(module, mesh=along)
    return module


def compile_blocks(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """``torch.compile`` the parts that repeat: one small graph serves all blocks of a kind, whatever the step sees.

    The cross-attention stays as it is: its queries and keys are recorded by hooks, and its memory is shared. Where a
    part cannot be compiled (no C compiler, for instance) it runs as it is, with a warning.
    """
    from torch._dynamo import config
    from torch.fx.experimental import _config as symbols

    config.suppress_errors = True
    symbols.use_duck_shape = False  # type: ignore[attr-defined] # sizes that happen to be equal once are not the same
    for module in network.modules():
        if isinstance(module, EncoderBlock):
            _compile(module, backend)
        elif isinstance(module, DecoderBlock):
            _compile(module.self_attention, backend)
            if isinstance(module.mlp, Mlp):
                _compile(module.mlp, backend)
        elif isinstance(module, ReadingBlock):
            _compile(module.mlp, backend)


def _compile(module: nn.Module, backend: str | Callable[..., Any]) -> None:
    """Compile for tokens ``[row, token, channel]``: an axis that is 1 in some steps would be another graph."""
    compiled = torch.compile(module.forward, dynamic=True, backend=backend)

    def forward(tokens: Tensor, *rest: Any) -> Tensor:
        shape = tokens.shape[:-2].numel(), *tokens.shape[-2:]
        rows = torch.ops.aten._unsafe_view(tokens.contiguous(), shape)  # no view: the graph would depend on its base
        found: Tensor = compiled(rows, *rest)
        return found.view(tokens.shape)

    module.forward = forward  # type: ignore[method-assign]


def summed(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum over all processes; the values themselves where there is one."""
    if fabric.world_size == 1:
        return values
    total = fabric.all_reduce(values.clone(), reduce_op="sum")
    assert isinstance(total, Tensor)  # Fabric's annotation is wider
    return total


def largest(fabric: Fabric, values: Tensor) -> Tensor:
    """Largest over all processes."""
    if fabric.world_size == 1:
        return values
    result = values.clone()
    torch.distributed.all_reduce(result, op=torch.distributed.ReduceOp.MAX)
    return result
