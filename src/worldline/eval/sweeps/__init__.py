"""Sweeps: one property of scene, photos or method is varied and everything else kept, on the same seeds."""

from worldline.eval.sweeps.plan import SWEEPS, Level, Sweep, sweep_named
from worldline.eval.sweeps.run import SweepSettings, run_sweep

__all__ = ["SWEEPS", "Level", "Sweep", "SweepSettings", "run_sweep", "sweep_named"]
