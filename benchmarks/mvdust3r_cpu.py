"""Time, work and memory of MV-DUSt3R(+) at published size on a CPU, beside the published schedule of the same work.

    python benchmarks/mvdust3r_cpu.py --views 2 4 8 --threads 1 2

Weights are random: neither time nor memory depends on them. The column "schedule" is `ours` (the library) or
`published`: a stand-in for the original program made of the library's own bricks, which does everything that
program does (heads for all paths, keys and values projected again for every reader, the last fusion for all paths,
one view and one path at a time). Both give the same numbers for the result, which is checked with --check.

Every row runs in a fresh process. Operations are multiplications plus additions as counted by
`torch.utils.flop_counter`; "memory" is the peak resident set during the pass above the resident set with weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from worldline.models.config import MVDust3rConfig
from worldline.models.layers.heads import LinearHead, points_from_raw
from worldline.models.layers.rope import grid_rope
from worldline.models.mvdust3r import MVDust3r

REFERENCES = 4
MODELS = {"plus": True, "plain": False}


def published_schedule(model: MVDust3r, images: Tensor, references: int) -> Tensor:
    """Points of path 0 [view, height, width, 3], computed the way the published program orders its work."""
    config, views = model.config, images.shape[1]
    paths = min(references, views) if config.fused_references else 1
    grid = model.encoder.patch_embed.grid(*images.shape[-2:])
    rope = grid_rope(*grid, config.decoder_dim // config.decoder_heads, config.rope_base, images.device)
    decoder = model.decoder
    embedded = decoder.embed(model.encode(images))[0]
    state = [[embedded[v][None, None] for v in range(views)] for _ in range(paths)]
    history = [state]  # the original keeps the tokens of all layers
    for layer, (reference_block, source_block) in enumerate(
        zip(decoder.reference_blocks, decoder.source_blocks, strict=True)
    ):
        before = state
        state = []
        for path in range(paths):
            row = []
            for view in range(views):
                block = reference_block if view == path else source_block
                others = torch.cat([before[path][v] for v in range(views) if v != view], dim=1)
                row.append(block(before[path][view], block.remember(others, rope).everything(), rope))
            state.append(row)
        if decoder.fusion_blocks is not None:
            fuse, before = decoder.fusion_blocks[layer], state
            state = [[_fused(fuse, before, path, view, rope) for view in range(views)] for path in range(paths)]
        history.append(state)
    return _published_heads(model, [[decoder.norm(tokens) for tokens in row] for row in state], images, grid)


def _fused(block, state: list[list[Tensor]], path: int, view: int, rope) -> Tensor:
    others = torch.cat([state[p][view] for p in range(len(state)) if p != path], dim=1)
    return block(state[path][view], block.remember(others, rope).everything(), rope)


def _published_heads(model: MVDust3r, state: list[list[Tensor]], images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Slot by slot, all paths of a slot in one batch; slot 0 of a path is its reference view."""
    paths, views = len(state), images.shape[1]
    points, kept = [], []
    for slot in range(views):
        view_of = [path if slot == 0 else 0 if slot == path else slot for path in range(paths)]
        tokens = torch.cat([state[path][view_of[path]][0] for path in range(paths)])
        head = model.reference_head if slot == 0 else model.source_head
        gaussians = model.reference_gaussians if slot == 0 else model.source_gaussians
        raw = _unfolded_head(head, tokens, grid, torch.cat([images[:, v] for v in view_of]))
        kept.append((raw, gaussians(tokens, grid) if gaussians is not None else None))
        points.append(points_from_raw(raw[:1, :3].permute(0, 2, 3, 1), model.config.depth_mode))
    return torch.cat(points)


def _unfolded_head(head: LinearHead, tokens: Tensor, grid: tuple[int, int], images: Tensor) -> Tensor:
    """The head with separate batch normalisation and the default memory layout."""
    skip, head.skip = head.skip, None
    raw = head(tokens, grid)
    head.skip = skip
    if skip is None:
        return raw
    maps = torch.cat((images, raw[:, :3]), dim=1)
    for index, layer in enumerate(skip.layers):
        maps = layer(maps)
        if index < len(skip.layers) - 1:
            maps = torch.selu(maps)
    return torch.cat((raw[:, :3] + 1e-4 * maps, raw[:, 3:]), dim=1)


def make_model(fused: bool) -> MVDust3r:
    """Full size, filled in place so that building it needs no more memory than its weights."""
    with torch.device("meta"):
        model = MVDust3r(MVDust3rConfig.published(fused_references=fused))
    model = model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if "norm" in name or not value.is_floating_point():
            value.fill_(0 if name.endswith(("bias", "running_mean", "num_batches_tracked")) else 1)
        else:
            value.normal_(std=0.02, generator=generator)
    return model


def count_operations(fused: bool, run: Callable[[MVDust3r, Tensor], object], images: Tensor) -> int:
    """Floating-point operations of a run, counted on shapes alone."""
    with torch.device("meta"):
        model = MVDust3r(MVDust3rConfig.published(fused_references=fused)).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            run(model, images.to("meta"))
    return counter.get_total_flops()


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(row: dict) -> dict:
    """One row of the table, in this process."""
    torch.set_num_threads(row["threads"])
    runs = {
        "ours": lambda model, images: model(images, REFERENCES).points[0],
        "published": lambda model, images: published_schedule(model, images, REFERENCES),
    }
    run, fused = runs[row["schedule"]], MODELS[row["model"]]
    images = torch.rand((1, row["views"], 3, 224, 224), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        model = make_model(fused)
        run(model, images[..., :32, :32])  # load the kernels
        weights_mb = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # start VmHWM again from here
        cpu, wall = time.process_time(), time.perf_counter()
        points = run(model, images)
        row |= {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        row |= {"memory_mb": resident("VmHWM") - weights_mb, "weights_mb": weights_mb}
        row |= {"tflop": count_operations(fused, run, images) / 1e12}
        if row["check"]:
            other = runs["published" if row["schedule"] == "ours" else "ours"](model, images)
            row["difference"] = ((points - other).abs().max() / other.abs().max()).item()
    return row


def main() -> None:
    """Run all rows and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["plus"])
    parser.add_argument("--schedules", nargs="+", choices=["ours", "published"], default=["ours", "published"])
    parser.add_argument("--check", action="store_true", help="also run the other schedule and compare the points")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(json.loads(options.row))))
        return
    print("| model | views | threads | schedule | TFLOP | CPU s | wall s | GFLOP per CPU s | memory MB | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    keys = ("model", "views", "threads", "schedule")
    rows = [
        dict(zip(keys, values, strict=True), check=options.check)
        for values in (
            (model, views, threads, schedule)
            for model in options.models
            for views in options.views
            for threads in options.threads
            for schedule in options.schedules
        )
    ]
    for row in rows:
        environment = os.environ | {"OMP_NUM_THREADS": str(row["threads"]), "MKL_NUM_THREADS": str(row["threads"])}
        command = [sys.executable, __file__, "--row", json.dumps(row)]
        result = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
        difference = f"{result['difference']:.1e}" if "difference" in result else ""
        print(
            f"| {row['model']} | {row['views']} | {row['threads']} | {row['schedule']} | {result['tflop']:.2f} | "
            f"{result['cpu_s']:.1f} | {result['wall_s']:.1f} | {1e3 * result['tflop'] / result['cpu_s']:.0f} | "
            f"{result['memory_mb']:.0f} | {difference} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
