"""The networks that are measured; their time and memory depend on sizes, so random weights do where there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from worldline.errors import InputError
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r

_SPREAD = 0.02  # standard deviation of random weights


@dataclass(frozen=True)
class NetworkChoice:
    """Which network to measure; small enough to be sent to another process."""

    model: str = "driv3r-mini"  # registry id, folder or file; random weights of its size where an id is not here
    published_size: bool = False  # the released sizes with random weights instead

    @property
    def has_weights(self) -> bool:
        """Whether trained weights are at hand."""
        from worldline import weights

        return not self.published_size and weights.is_available(self.model)

    @property
    def label(self) -> str:
        """For reports."""
        if self.published_size:
            return "published size, random weights"
        return self.model if self.has_weights else f"size of {self.model}, random weights"

    def check(self) -> None:
        """Raise before any work is done for an unknown model or one without a memory."""
        from worldline import weights

        if not self.published_size and not isinstance(weights.config_of(self.model), Driv3rConfig):
            raise InputError(f"{self.model} has no memory for streams.", "Choose driv3r-mini, or a Driv3R checkpoint.")

    def load(self, device: str = "cpu") -> tuple[Driv3r, bool]:
        """The network in eval mode, and whether it wants photos cut into squares as the published ones do.

        Raises:
            InputError: a model without a memory.
            WeightsError: unknown name.
        """
        from worldline import pipeline, weights

        if self.published_size:
            return random_network(Driv3rConfig.published(), device), True
        self.check()
        if self.has_weights:
            loaded = pipeline.load(self.model, device)
            return cast(Driv3r, loaded.network), not loaded.own
        config = cast(Driv3rConfig, weights.config_of(self.model))
        return random_network(config, device), config == Driv3rConfig.published()


def random_network(config: Driv3rConfig, device: str = "cpu", seed: int = 0) -> Driv3r:
    """A network in eval mode, filled in place so that making it takes no more memory than its weights."""
    with torch.device("meta"):
        network = Driv3r(config)
    network = network.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point() or name.endswith("bias"):
            value.zero_()
        elif value.dim() < 2:
            value.fill_(1)  # scales of norms
        else:
            value.normal_(std=_SPREAD, generator=generator)
    return network
