"""Error against samples of a training run, with a power law fitted to one of its stages.

Run: python benchmarks/training_curve.py RUN/log.jsonl -o curve.png [--stage 0] [--before 0] [--to 1000000]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BIN = 1500  # samples averaged into one point


def read(path: Path, before: int) -> dict[int, np.ndarray]:
    """Per stage: rows of (samples seen, error, views of the record)."""
    rows: dict[int, list[tuple[float, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "step":
            rows.setdefault(record["stage"], []).append((before + record["scenes"], record["error"]))
    return {stage: np.array(values) for stage, values in rows.items()}


def binned(values: np.ndarray) -> np.ndarray:
    """Means over ``BIN`` samples."""
    group = (values[:, 0] // BIN).astype(int)
    return np.array([values[group == number].mean(0) for number in np.unique(group)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--stage", type=int, default=0, help="the stage that the power law is fitted to")
    parser.add_argument("--before", type=int, default=0, help="samples seen before this run")
    parser.add_argument("--to", type=float, default=1e6, help="samples to extrapolate to")
    parser.add_argument("--labels", nargs="*", default=[])
    options = parser.parse_args()
    stages = read(options.log, options.before)
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for stage, values in sorted(stages.items()):
        label = options.labels[stage] if stage < len(options.labels) else f"stage {stage}"
        points = binned(values)
        axes.plot(points[:, 0], points[:, 1], marker="o", markersize=3, linewidth=1, label=label)
    samples, error = stages[options.stage].T
    slope, level = np.polyfit(np.log(samples), np.log(error), 1)
    boot = []
    rng = np.random.default_rng(0)
    for _ in range(500):
        chosen = rng.integers(len(samples), size=len(samples))
        boot.append(np.polyfit(np.log(samples[chosen]), np.log(error[chosen]), 1)[0])
    low, high = np.percentile(boot, (2.5, 97.5))
    axis = np.geomspace(samples.min(), options.to, 50)
    axes.plot(axis, np.exp(level) * axis**slope, "--", color="grey", linewidth=1, label=f"samples^{slope:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="samples seen", ylabel="mean normalised error of a step")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(options.out, dpi=130)
    print(f"exponent {slope:.3f} (95 % {low:.3f} to {high:.3f}), {len(samples)} records of stage {options.stage}")
    for value in (*(options.to * np.array([0.1, 0.3, 1.0])),):
        print(f"{value:,.0f} samples: {np.exp(level) * value**slope:.3f}")


if __name__ == "__main__":
    main()
