"""Steps that must not count: loss or gradients that are not finite, or a loss that is too large.

Whether a step counts is known on the device that trains, and there it stays: the optimiser, the running average and the
statistics of batch norms are told by a number of that device to leave everything as it was. The host, which would have
to wait for that number, reads it later, together with those of many other steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldline.errors import WorldlineError
from worldline.train.schedule import Progress

MAX_BAD_STEPS = 50  # consecutive ones before a run gives up
READ_EVERY = 50  # steps after which a device is asked at the latest


@dataclass
class StepResult:
    """Figures of one step over all devices. They are on the device until somebody asks for one."""

    names: tuple[str, ...]  # of the figures: loss, those of Task.logged, gradient_norm, taken
    values: Float[Tensor, "figure"]
    _read: list[float] | None = field(default=None, repr=False)

    @property
    def loss(self) -> float:
        """The loss that was differentiated."""
        return self.numbers()["loss"]

    @property
    def gradient_norm(self) -> float:
        """Before it was clipped."""
        return self.numbers()["gradient_norm"]

    @property
    def taken(self) -> bool:
        """False: the step changed nothing, see :class:`Guard`."""
        return bool(self.numbers()["taken"])

    def numbers(self) -> dict[str, float]:
        """All figures by name. The first call waits for the device, unless :func:`read` has asked it."""
        if self._read is None:
            read([self])
        assert self._read is not None
        return dict(zip(self.names, self._read, strict=True))


def read(results: Sequence[StepResult]) -> None:
    """Fetch the figures of many steps, waiting for the device once."""
    unread = [result for result in results if result._read is None]
    if unread:
        for result, values in zip(unread, torch.stack([result.values for result in unread]).tolist(), strict=True):
            result._read = values


class Guard:
    """Judges every step on the device, and tells the host in time."""

    def __init__(self, network: nn.Module, largest_loss: float | None, read_every: int) -> None:
        """Watch the buffers of a network.

        Args:
            largest_loss: a step above it does not count; None: only what is not finite does not.
            read_every: steps between two looks of the host; 1 costs nothing where the host is the device.
        """
        self.largest_loss, self.read_every = largest_loss, read_every
        self._buffers = list(network.buffers())
        self._before: list[Tensor] = []
        self._unread: list[StepResult] = []
        self._bad_in_a_row = 0

    def begin(self) -> None:
        """Remember what a forward pass changes by itself."""
        self._before = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what the forward passes since :meth:`begin` changed by themselves."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)

    @torch.no_grad()
    def judge(
        self, names: Sequence[str], figures: Float[Tensor, "figure"], norm: Float[Tensor, ""]
    ) -> tuple[StepResult, Bool[Tensor, ""]]:
        """The result of a step and whether it counts; if not, buffers are as they were at :meth:`begin`.

        Args:
            names: of the figures, the loss first.
            figures: over all devices.
            norm: of the gradients, over all devices.
        """
        taken = torch.isfinite(figures[0]) & torch.isfinite(norm)
        if self.largest_loss is not None:
            taken = taken & (figures[0] <= self.largest_loss)
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(torch.where(taken, buffer, before))
        values = torch.cat([figures, torch.stack([norm.to(figures.dtype), taken.to(figures.dtype)])])
        result = StepResult((*names, "gradient_norm", "taken"), values)
        self._unread.append(result)
        return result, taken

    @property
    def due(self) -> bool:
        """Whether so many steps were judged that the host should look."""
        return len(self._unread) >= self.read_every

    def settle(self, progress: Progress) -> None:
        """Read the steps since the last call and count those that were skipped.

        Raises:
            WorldlineError: too many of them in a row.
        """
        unread, self._unread = self._unread, []
        read(unread)
        for result in unread:
            progress.skipped += not result.taken
            self._bad_in_a_row = 0 if result.taken else self._bad_in_a_row + 1
            if self._bad_in_a_row >= MAX_BAD_STEPS:
                raise WorldlineError(
                    f"Loss or gradients were not finite for {self._bad_in_a_row} steps in a row.",
                    "Lower the learning rate.",
                )


def step_if(optimizer: torch.optim.Optimizer, taken: Bool[Tensor, ""]) -> None:
    """Step a fused optimiser, or on the device do nothing.

    Fused optimisers of PyTorch leave weights, moments and step counts alone where ``found_inf`` is 1; this is how
    ``torch.amp.GradScaler`` talks to them (``grad_scale`` stays away: gradients are not scaled).
    """
    optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
