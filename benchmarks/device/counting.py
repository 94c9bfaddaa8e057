"""Operations of a forward pass, counted on tensors without numbers: matrix products, attention and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")
_known: dict[tuple[str, str], float] = {}
_networks: dict[str, nn.Module] = {}


def count(name: str, case: str, build: Callable[[], nn.Module], run: Callable[[Any], object]) -> float:
    """FLOP (two per multiply-add) of ``run(network)``, counted once.

    Args:
        name: of the network, with its sizes.
        case: of the inputs.
        build: the network; called where its weights take no memory.
        run: calls the network with inputs on ``META``.
    """
    if name not in _networks:
        with META:
            _networks[name] = build().eval()
    if (name, case) not in _known:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(_networks[name])
        _known[name, case] = float(counter.get_total_flops())
    return _known[name, case]
