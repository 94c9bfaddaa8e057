"""Error of every source of scale of the rig aligner on street test seeds: ``python benchmarks/rig_alignment.py``.

Rendering takes half a minute per seed; ``--cache FOLDER`` keeps the depth maps for the next run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rig_streams import Drive, Noise, pushes, street_drive
from worldline.errors import NoPlaceError
from worldline.scene.align.rig import SOURCES, AlignOptions, RigAligner
from worldline.worlds.sampling import TEST_SEEDS

FULL = ("ego", "overlap", "turn", "ground", "speed", "previous")
SETUPS = {  # name -> (sources, whether poses of the rig are given)
    "ego": (("ego",), True),
    "ground": (("ground",), True),
    "speed": (("speed",), True),
    "lidar": (("lidar",), True),
    "overlap": (("overlap",), True),
    "default": (FULL, True),
    "default, no poses": (FULL, False),
    "no poses, no speed": (("overlap", "turn", "ground", "previous"), False),
    "default and lidar": (SOURCES, True),
}


def load(count: int, steps: int, cache: Path | None) -> list[Drive]:
    """The first test seeds with a place for the cameras."""
    drives: list[Drive] = []
    for seed in TEST_SEEDS:
        if len(drives) == count:
            break
        path = None if cache is None else cache / f"street_{seed}_{steps}.npz"
        if path is not None and path.exists():
            stored = np.load(path)
            arrays = {name: stored[name] for name in stored.files}
            drives.append(Drive(**{**arrays, "sensors": tuple(map(str, arrays["sensors"]))}))
            continue
        try:
            drive = street_drive(seed, steps, height=128, width=224)
        except NoPlaceError:
            continue
        drives.append(drive)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **{**vars(drive), "sensors": np.array(drive.sensors)})
    return drives


def measure(drives: list[Drive], sources: tuple[str, ...], given: bool, noise: Noise) -> str:
    """One row of the table."""
    options = AlignOptions(**{source: source in sources for source in SOURCES})
    errors, sigmas, seconds = [], [], []
    for number, drive in enumerate(drives):
        aligner, speeds = RigAligner(drive.rig, options), drive.speeds()
        for push in pushes(drive, noise=noise, seed=number, every=len(drive.times) // 2):
            pose = drive.world_from_rig[push.step] if given else None
            start = time.process_time()
            result = aligner.update(
                drive.times[push.step], push.maps, pose, drive.lidar[push.step], float(speeds[push.step])
            )
            seconds.append(time.process_time() - start)
            if push.step < 2:
                continue
            known = [each.scale_kind != "arbitrary" for each in result.values()]
            errors.append([np.log(result[n].scale / push.scales[n]) for n in drive.sensors])
            sigmas.append(np.where(known, [each.scale_sigma for each in result.values()], np.inf))
    error, sigma = np.array(errors), np.array(sigmas)
    known = np.isfinite(sigma)
    if not known.any():
        apart = float(np.median(np.ptp(error, axis=1)))
        return f"0 % | – | – | – | – | – | {1e3 * np.median(seconds):.0f} (cameras {apart:.2f} apart)"
    error, sigma = np.abs(error[known]), sigma[known]
    return (
        f"{known.mean():.0%} | {np.median(error):.2%} | {np.quantile(error, 0.9):.2%} | {np.median(sigma):.2%} | "
        f"{(error <= sigma).mean():.0%} | {(error <= 2 * sigma).mean():.0%} | {1e3 * np.median(seconds):.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    drives = load(arguments.seeds, arguments.steps, arguments.cache)
    for label, noise in (("realistic", Noise.realistic()), ("exact", Noise())):
        print(f"\n| {label} | known | median | 90 % | sigma | within 1 sigma | within 2 sigma | CPU ms |")
        print("|---|---|---|---|---|---|---|---|")
        for name, (sources, given) in SETUPS.items():
            print(f"| {name} | {measure(drives, sources, given, noise)} |", flush=True)


if __name__ == "__main__":
    main()
