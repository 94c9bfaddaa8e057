"""``worldline bench stream``, with its processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stream_network import tiny_network
from worldline.cli import main
from worldline.weights import save_model


def run(*arguments: object) -> int:
    return main(["bench", "stream", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_network(), folder, card={"id": "tiny-mini", "license": "Apache-2.0"}, dtype=torch.float32)
    return folder


def test_latency_as_table_and_json(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "latency.json"
    assert run("--model", tiny, "--images", "noise", "--size", 32, 48, "--cameras", 2, "--steps", 8,
               "--no-motion", "--threads", 1, "-o", out) == 0  # fmt: skip
    (record,) = json.loads(out.read_text())
    assert (record["cameras"], record["steps"], record["images"]) == (2, 8, "noise")
    assert record["peak MiB"] > 0
    printed = capsys.readouterr().out
    assert "| cameras |" in printed and "noise, 32x48 pixels" in printed


@pytest.mark.slow
def test_comparison_with_global_alignment(tiny: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--model", tiny, "--images", "noise", "--size", 32, 48, "--compare", "--frames", 3, "--rig-steps", 0,
               "--iterations", 5, "--repeats", 1, "--threads", 1) == 0  # fmt: skip
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 1 x 3")]
    assert [line.split("|")[2].strip() for line in table] == [
        "stream",
        "pairs, complete graph",
        "pairs, sliding window",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--steps", 3), "3 steps"),
        (("--cameras", 9), "9 cameras"),
        (("--cameras", 0), "cameras"),
        (("--model", "mvdust3r-plus-mini"), "no memory"),
        (("--compare", "--repeats", 0), "repeats"),
    ],
)
def test_what_cannot_be_measured(
    arguments: tuple[object, ...], says: str, capsys: pytest.CaptureFixture, tiny: Path
) -> None:
    given = ("--model", tiny, "--images", "noise", "--size", 32, 48, *arguments)
    assert run(*given) != 0
    assert says in "".join(capsys.readouterr())
