"""``worldline bench``: speed and memory of one pass, of streams, of queries about videos, of worlds, of Gaussians."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from worldline.eval.query_bench import QueryNetwork


@dataclass(frozen=True)
class SinglePass:
    """One pass over all views against pairs + global alignment, same weights, same photos, one run."""

    model: str = "mvdust3r-plus-mini"
    """A multi-view model."""
    views: tuple[int, ...] = (4, 8, 12, 24)
    """Numbers of views."""
    iterations: int = 300
    """Steps of global alignment."""
    repeats: int = 3
    """Single passes per number of views; their median is reported."""
    threads: int = 2
    """Processor threads."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class Memory:
    """Predicted against measured peak memory of one pass."""

    model: str = "mvdust3r-plus-mini"
    """Model to load; random weights of the same size when it is not there."""
    views: tuple[int, ...] = (2, 4, 8, 12, 24)
    """Numbers of views."""


@dataclass(frozen=True)
class Worlds:
    """Rays per second and seconds per sample of procedural worlds."""

    layout: str = "rooms"
    """Kind of world; see: worldline worlds list."""
    solids: tuple[int, ...] = (30, 100, 300, 1000)
    """Numbers of solids in the scene, each 1 or more."""
    device: str = "cpu"
    """Where to render: cpu or cuda."""
    threads: int = 2
    """Processor threads."""
    repeats: int = 5
    """Runs of which the median is reported."""
    scenes: int = 2
    """Worlds in one batch."""
    size: int = 224
    """Side of the square photos in pixels; 4 of each world."""
    compile: bool = False
    """Compile the elementwise steps first."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class Render:
    """Rendering Gaussians, and their gradients: seconds and memory by number of Gaussians and pixels."""

    gaussians: tuple[int, ...] = (50_000, 200_000, 800_000)
    """Numbers of Gaussians: one per pixel of four photos of a room."""
    sizes: tuple[str, ...] = ("112x112", "224x224", "448x448", "960x540")
    """Pictures, each WIDTHxHEIGHT in pixels."""
    device: str = "cpu"
    """Where to render: cpu or cuda."""
    backend: Literal["auto", "torch", "gsplat"] = "auto"
    """Which renderer; auto: gsplat where it is installed and the device is cuda."""
    threads: int = 1
    """Processor threads."""
    repeats: int = 5
    """Runs of which the median is reported; those of all rows take turns."""
    memory: bool = True
    """Also measure peak memory, in processes of their own."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class Stream:
    """Latency per step and memory of a stream; --compare: beside pairs + global alignment over the same images."""

    model: str = "driv3r-mini"
    """A model with a memory; random weights of the same size when it is not there."""
    published_size: bool = False
    """Measure the released sizes with random weights instead."""
    cameras: tuple[int, ...] = (1, 3, 6)
    """Numbers of cameras, 1 to 6 each."""
    steps: int = 200
    """Pushes per number of cameras, 8 or more."""
    images: Literal["street", "noise"] = "street"
    """What the cameras see: a rendered street, forwards and backwards in turn, or random pixels."""
    size: tuple[int, int] | None = None
    """Height and width of the photos; by default those that the network takes as they are."""
    motion: bool = True
    """Also find what moves."""
    preview: bool = True
    """Also answer for the image just pushed, at the price of one head."""
    keep: int = 1
    """Steps whose results the session keeps; a session of yours keeps 64 unless told otherwise."""
    compare: bool = False
    """Compare with pairs + global alignment instead."""
    frames: tuple[int, ...] = (5, 10, 20, 30)
    """With --compare: numbers of images of one camera."""
    rig_steps: int = 5
    """With --compare: also so many steps of six cameras; 0 leaves that out."""
    iterations: int = 300
    """With --compare: steps of global alignment."""
    repeats: int = 3
    """With --compare: runs of the stream; their median is reported."""
    threads: int = 2
    """Processor threads."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class D4rt:
    """Encoding a video and answering queries about it; beside the PyPI package d4rt where it is installed."""

    model: str = "mini"
    """mini, small-128, small-256, vit-b, vit-l, vit-h or vit-g with random weights, or a D4RT model."""
    parts: tuple[Literal["speed", "tracks", "poses", "saving", "memory"], ...] = ("speed", "tracks", "poses", "saving")
    """What to measure; memory loads the network once per number of frames and of queries."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of processor threads."""
    queries: int = 2048
    """Queries per run."""
    repeats: int = 5
    """Runs of which the median is reported."""
    rates: tuple[float, ...] = (60, 24, 10, 1)
    """Frame rates for which full-video tracks are counted."""
    grid: int = 8
    """Points per side for the pose of a frame."""
    peer: bool = True
    """Also the PyPI package d4rt where it is installed and has a network of the same sizes."""
    json: bool = False
    """Print JSON instead of tables."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


def run(argv: list[str]) -> int:
    """Parse the arguments and measure."""
    arguments = tyro.extras.subcommand_cli_from_dict(
        {
            "single-pass": SinglePass,
            "memory": Memory,
            "worlds": Worlds,
            "render": Render,
            "stream": Stream,
            "d4rt": D4rt,
        },
        args=argv,
        prog="worldline bench",
    )
    if isinstance(arguments, Stream):
        return _stream(arguments)
    if isinstance(arguments, D4rt):
        return _d4rt(arguments)
    if isinstance(arguments, Worlds):
        return _worlds(arguments)
    if isinstance(arguments, Render):
        return _render(arguments)
    return _single_pass(arguments) if isinstance(arguments, SinglePass) else _memory(arguments)


def _single_pass(arguments: SinglePass) -> int:
    from worldline.cli.common import check_positive, console, markdown_table, parse_counts
    from worldline.eval.single_pass import compare_single_pass
    from worldline.files import write_json

    counts = parse_counts(arguments.views)
    check_positive(repeats=arguments.repeats, iterations=arguments.iterations, threads=arguments.threads)
    out = console()
    records = compare_single_pass(
        arguments.model,
        counts,
        repeats=arguments.repeats,
        iterations=arguments.iterations,
        threads=arguments.threads,
        report=lambda record: out.print(json.dumps(record)),
    )
    out.print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0


def _memory(arguments: Memory) -> int:
    from worldline.cli.common import console, markdown_table, parse_counts
    from worldline.eval.memory import compare_memory

    console().print(markdown_table(compare_memory(arguments.model, parse_counts(arguments.views))))
    return 0


def _worlds(arguments: Worlds) -> int:
    from worldline.cli.common import check_positive, console, markdown_table
    from worldline.eval.worlds_bench import measure_worlds
    from worldline.files import write_json
    from worldline.worlds.sampling import canonical_device

    canonical_device(arguments.device)
    check_positive(solids=min(arguments.solids, default=0))
    check_positive(repeats=arguments.repeats, threads=arguments.threads, scenes=arguments.scenes, size=arguments.size)
    records = measure_worlds(
        layout=arguments.layout,
        counts=arguments.solids,
        device=arguments.device,
        threads=arguments.threads,
        repeats=arguments.repeats,
        scenes=arguments.scenes,
        size=arguments.size,
        compile=arguments.compile,
    )
    console().print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0


def _render(arguments: Render) -> int:
    from worldline.cli.common import check_positive, console, markdown_table
    from worldline.eval.render_bench import Item, measure_rendering, parse_size
    from worldline.files import write_json

    check_positive(gaussians=min(arguments.gaussians, default=0))
    check_positive(threads=arguments.threads, repeats=arguments.repeats, sizes=len(arguments.sizes))
    sizes = [parse_size(size) for size in arguments.sizes]
    records = measure_rendering(
        [Item(count, size) for count in arguments.gaussians for size in sizes],
        threads=arguments.threads,
        repeats=arguments.repeats,
        device=arguments.device,
        backend=arguments.backend,
        memory=arguments.memory,
    )
    console().print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0


def _stream(arguments: Stream) -> int:
    from worldline.cli.common import check_positive, console, markdown_table
    from worldline.eval import stream_bench
    from worldline.files import write_json

    check_positive(threads=arguments.threads, steps=arguments.steps, keep=arguments.keep)
    check_positive(
        cameras=min(arguments.cameras, default=0), iterations=arguments.iterations, repeats=arguments.repeats
    )
    network = stream_bench.NetworkChoice(arguments.model, arguments.published_size)
    network.check()
    size = arguments.size or ((224, 398) if arguments.published_size else (128, 224))
    show = {"street": stream_bench.street_drive, "noise": stream_bench.noise_drive}[arguments.images]
    items = [stream_bench.Item(1, count) for count in arguments.frames]
    items += [stream_bench.Item(6, arguments.rig_steps)] if arguments.rig_steps else []
    out = console()
    drive = show(size)
    out.print(f"{network.label}; {drive.kind}, {size[0]}x{size[1]} pixels; {arguments.threads} threads")
    if arguments.compare:
        records = stream_bench.compare_alignment(
            network,
            drive,
            items,
            iterations=arguments.iterations,
            repeats=arguments.repeats,
            threads=arguments.threads,
            report=lambda record: out.print(json.dumps(record)),
        )
        out.print(markdown_table(stream_bench.alignment_table(records)))
    else:
        records = stream_bench.measure_latency(
            network,
            drive,
            arguments.cameras,
            steps=arguments.steps,
            motion=arguments.motion,
            preview=arguments.preview,
            keep=arguments.keep,
            threads=arguments.threads,
            report=lambda record: out.print(json.dumps(record)),
        )
        out.print(markdown_table(stream_bench.latency_table(records)))
    if arguments.out:
        write_json(arguments.out, records)
    return 0


def _d4rt(arguments: D4rt) -> int:
    from worldline.cli.common import check_positive, console, markdown_table
    from worldline.errors import InputError
    from worldline.eval import query_bench
    from worldline.files import write_json

    check_positive(threads=min(arguments.threads, default=0), queries=arguments.queries, repeats=arguments.repeats)
    if not arguments.rates or min(arguments.rates) <= 0 or arguments.grid < 2:
        raise InputError("A frame rate is not above 0, or the grid has no two points.", "For example: --rates 24 10")
    out = console()
    network, result = query_bench.QueryNetwork(arguments.model), dict[str, Any]()
    config = network.config  # an unknown name ends here
    size = f"{config.clip_frames} frames of {config.image_size[1]}x{config.image_size[0]}"
    if not arguments.json:
        out.print(f"{network.label}; {size}; {arguments.queries} queries")
    for part in dict.fromkeys(arguments.parts):
        result[part] = []
        for records in _d4rt_part(part, network, arguments):
            result[part] += records
            if not arguments.json:
                out.print(f"\n{part}\n{markdown_table(query_bench.table(part, records))}")
    if arguments.json:
        out.print(json.dumps({"network": network.label, **result}, indent=1))
    if arguments.out:
        write_json(arguments.out, {"network": network.label, **result})
    return 0


def _d4rt_part(part: str, network: QueryNetwork, arguments: D4rt) -> Iterator[list[dict[str, Any]]]:
    """The records of one part of the benchmark, for one number of threads at a time."""
    from worldline.eval import query_bench

    if part == "saving":
        yield query_bench.measure_savings()
        return
    if part == "memory":
        yield query_bench.measure_peaks(network)
        return
    for threads in arguments.threads:
        common: dict[str, Any] = {"threads": threads, "repeats": arguments.repeats}
        if part == "speed":
            yield query_bench.measure_speed(network, queries=arguments.queries, peer=arguments.peer, **common)
        elif part == "tracks":
            yield query_bench.measure_tracks(network, rates=arguments.rates, queries=arguments.queries, **common)
        else:
            yield [query_bench.measure_poses(network, grid=arguments.grid, **common)]
