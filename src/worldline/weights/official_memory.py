"""What published Spann3R and Driv3R checkpoints have beside their backbone: a memory with sizes and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from worldline.errors import WeightsError
from worldline.models.memory import MemoryOptions

_MARK = "attn_head_1.0.weight"
_OPTIONS = {  # published name -> ours
    "long_mem_size": "long_tokens",
    "work_mem_size": "working_frames",
    "attn_thresh": "attention_cut",
    "sim_thresh": "similarity_limit",
}


def has_memory(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors under published names belong to Spann3R or Driv3R."""
    return _MARK in tensors


def flat_options(document: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor options; a document may hold them as "config" or "model", and those of the memory as "memory"."""
    options = dict(document.get("config") or document)
    for part in ("model", "memory"):
        nested = options.get(part)
        if isinstance(nested, Mapping):
            options = {**{name: value for name, value in options.items() if name != part}, **nested}
    return options


def memory_options(options: Mapping[str, Any]) -> MemoryOptions:
    """The memory of the published code, with its quirks; sizes that are not stated are the published ones.

    Raises:
        WeightsError: values from decoder features, or with rotary positions, which nothing in the tensors would tell.
    """
    for variant in ("use_feat", "mem_pos_enc"):
        if options.get(variant):
            raise WeightsError(
                f"The variant {variant} of Spann3R is not supported.", "No released model uses it; retrain without it."
            )
    given = {ours: options[name] for name, ours in _OPTIONS.items() if options.get(name) is not None}
    return MemoryOptions(**given, official=True)
