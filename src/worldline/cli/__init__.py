"""The command line: ``worldline VERB``. One file per verb, imported only when its verb is called."""

from __future__ import annotations

import importlib
import os
import sys

# verb -> what it does; the module is worldline.cli.<verb> and offers run(argv) -> exit code
VERBS = {
    "demo": "reconstruct bundled photos with the embedded weights and say how to look at the result",
    "reconstruct": "photos or a video -> a 3D scene (points, cameras), in one forward pass",
    "stream": "the log of a camera rig -> a 4D scene, step by step: points, poses, what moves",
    "track": "a video -> depth, cameras and the tracks of its points, in 2D and 3D",
    "view": "look at a scene in the browser: points, cameras, Gaussians, tracks, time",
    "render": "films and pictures of a saved scene from new viewpoints",
    "export": "write a saved scene as GLB, PLY, Gaussians, web page, COLMAP, nerfstudio, TUM, NPZ, depth PNG, Rerun",
    "report": "one page about a saved scene: pictures, figures, provenance, as HTML or PNG",
    "models": "list, get, convert, verify and describe weights",
    "worlds": "write procedural data sets with exact ground truth",
    "train": "train a model on procedural worlds",
    "eval": "measure accuracy on procedural test scenes or on real data",
    "bench": "measure speed and memory of one pass, beside pairs + global alignment",
    "doctor": "what this machine can run, with the predicted memory of a run",
}

EXIT_OK, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 2, 130


def usage() -> str:
    """The text of ``worldline --help``; built without importing anything heavy."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        "usage: worldline VERB [options]      worldline VERB --help\n\n"
        "Photos and videos to one 3D scene in a single feed-forward pass.\n\n"
        f"{verbs}\n\n"
        "Start with:  worldline demo\n"
        "Then:        worldline reconstruct PHOTOS -o OUT --to glb,ply,colmap\n"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Bad input: one sentence of cause and one of remedy on stderr, exit code 2. A bug: a traceback."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return EXIT_OK if arguments else EXIT_BAD_INPUT
    if arguments[0] in ("-V", "--version"):
        from worldline import __version__

        sys.stdout.write(f"worldline {__version__}\n")
        return EXIT_OK
    verb = arguments[0]
    if verb not in VERBS:
        sys.stderr.write(f"worldline: there is no verb '{verb}'.{_did_you_mean(verb)} See: worldline --help\n")
        return EXIT_BAD_INPUT
    return _run(verb, arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from worldline.errors import WorldlineError

    try:
        module = importlib.import_module(f"worldline.cli.{verb}")
        return int(module.run(arguments))
    except WorldlineError as error:
        if os.environ.get("WORLDLINE_TRACEBACK"):
            raise
        sys.stderr.write(f"worldline {verb}: {error.cause}\n")
        if error.remedy:
            sys.stderr.write(f"  {error.remedy}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write(f"worldline {verb}: interrupted; nothing half-written was left behind.\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _did_you_mean(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
