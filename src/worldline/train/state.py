"""What a run remembers: averaged weights, and the checkpoint that it goes on from.

Sharded tensors are gathered before they are written, so a checkpoint is the same file whatever the strategy was, and a
run may go on with another strategy or another number of devices.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from worldline.errors import InputError
from worldline.files import replacing_file, reporting
from worldline.train.schedule import Progress

CHECKPOINT = "checkpoint.pt"
_FORMAT = 2


class Average:
    """Exponential moving average of all weights; buffers are copied. Sharded like the network itself."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        # the tensors themselves: collecting them from all modules takes longer than averaging them
        self._live: dict[str, Tensor] = network.state_dict(keep_vars=True)
        self.values = {name: value.detach().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int, taken: Tensor | None = None) -> None:
        """Move towards the present weights; early in a run the average follows them closely.

        Args:
            taken: 0-dim boolean on the device of the weights: False leaves the average where it is.
        """
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in self._live.items():
            average = self.values[name]
            if average.is_floating_point():
                averages.append(_local(average))
                values.append(_local(value))
            else:  # a count: the guard of the loop has put it back where the step did not count
                average.copy_(value)
        if taken is None:
            torch._foreach_lerp_(averages, values, weight)
        else:
            _move(averages, values, taken * weight, few_kernels=taken.device.type != "cpu")


def _move(averages: list[Tensor], values: list[Tensor], share: Tensor, few_kernels: bool) -> None:
    """``averages += share * (values - averages)`` with a 0-dim share of the same device.

    On a GPU ``lerp`` with a list of shares would be one kernel for every tensor.
    """
    if few_kernels:
        steps = torch._foreach_sub(values, averages)
        torch._foreach_mul_(steps, share)
        torch._foreach_add_(averages, steps)
    else:
        torch._foreach_lerp_(averages, values, [share] * len(values))


def _local(value: Tensor) -> Tensor:
    """This process's part of a tensor; without gradient."""
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def gathered(values: Any) -> Any:
    """Nested values with every tensor whole and on the processor. Every process of a sharded run must call this."""
    if isinstance(values, dict):
        return {key: gathered(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [gathered(value) for value in values]
    if isinstance(values, Tensor):
        return whole(values.detach()).cpu()
    return values


def whole(value: Tensor) -> Tensor:
    """The tensor itself, put together where it is spread over devices."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shared_out(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of another one, and in shards where that one is."""
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value


def write_checkpoint(
    folder: Path,
    network: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    first: bool,
) -> None:
    """Write everything needed to go on, atomically; only the ``first`` process writes, all must call."""
    content = gathered({"model": network.state_dict(), "ema": average.values, "optimizer": optimizer.state_dict()})
    if first:
        path = folder / CHECKPOINT
        with reporting(path), replacing_file(path) as temporary:
            torch.save({"format": _FORMAT, **content, "progress": dict(vars(progress))}, temporary)


def read_checkpoint(folder: Path, network: nn.Module, average: Average, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore network, average and optimiser in place.

    Raises:
        InputError: there is no checkpoint, it cannot be read, or it belongs to another network.
    """
    path = folder / CHECKPOINT
    content = _load(path)
    current = network.state_dict()
    same = current.keys() == content["model"].keys() and all(
        value.shape == content["model"][name].shape for name, value in current.items()
    )
    if not same:
        raise InputError(f"{path} belongs to a network of other sizes.", "Resume with the recipe that began the run.")
    network.load_state_dict({name: shared_out(content["model"][name], value) for name, value in current.items()})
    average.values = {name: shared_out(content["ema"][name], value) for name, value in average.values.items()}
    state = content["optimizer"]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state["state"] = {
        index: {name: _as_state(value, parameters[index]) for name, value in entries.items()}
        for index, entries in state["state"].items()
    }
    optimizer.load_state_dict(state)
    return Progress(**content["progress"])


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path.parent} holds no training run to go on from.", "Start it without --resume.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be read ({str(error).splitlines()[0]}).",
            "Restore the file, or train anew in another folder.",
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(
            f"{path} was written by another version of worldline.", "Finish the run with that version, or train anew."
        )
    return content


def _as_state(value: Any, parameter: Tensor) -> Any:
    """Moments are laid out like their parameter; step counts stay on the processor."""
    return shared_out(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
