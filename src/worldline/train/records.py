"""What a run writes down while it goes: log.jsonl for programs, tensorboard for eyes. Only the first process writes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldline.errors import MissingExtraError

LOG = "log.jsonl"
BOARD = "tensorboard"


class Records:
    """One line of JSON per record; every number is also a curve over the steps."""

    def __init__(self, folder: Path, first: bool, step: int = 0) -> None:
        self.path, self._board = folder / LOG, None
        if first:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingExtraError("The curves of a training", "train") from error
            # curves of steps that an interrupted run had done after its last checkpoint are hidden
            self._board = SummaryWriter(str(folder / BOARD), purge_step=step or None, flush_secs=20)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add one record. Numbers that are not finite become null: JSON has no word for them."""
        if self._board is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"time": stamp, "kind": kind, "step": step} | {key: _plain(value) for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        for key, value in entry.items():
            if isinstance(value, int | float) and key != "step":
                self._board.add_scalar(f"{kind}/{key}", value, step)

    def close(self) -> None:
        """Flush the curves."""
        if self._board is not None:
            self._board.close()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
