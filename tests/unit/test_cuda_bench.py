"""`benchmarks/cuda.py` at its smallest on a processor: what it writes, what it skips, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "cuda.py"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def measure(out: Path, *more: str) -> tuple[int, dict[str, Any]]:
    from benchmarks.device.run import main

    code = main(["--device", "cpu", "--tiny", "-o", str(out), *more])
    return code, json.loads((out / "cuda.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sections, once."""
    out = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        assert measure(out, "--minutes", "9")[0] == 0
    return out


def test_all_sections_are_measured(everything: Path) -> None:
    contents = json.loads((everything / "cuda.json").read_text(encoding="utf-8"))
    sections = contents["sections"]
    assert {name for name, rows in sections.items() if rows} == {
        "device", "mvdust3r", "d4rt", "driv3r", "accuracy", "gaussians", "worlds",
    }  # fmt: skip
    assert contents["left_out"] == [] and contents["machine"]["torch"] == torch.__version__
    rows = [row for table in sections.values() for row in table.values()]
    assert all(row["state"] == "measured" and row["took s"] >= 0 for row in rows)
    passes = sections["mvdust3r"]
    assert passes["MV-DUSt3R+, bfloat16, 3 views"]["views/s"] == pytest.approx(
        3 / passes["MV-DUSt3R+, bfloat16, 3 views"]["seconds"]
    )
    assert passes["MV-DUSt3R+, TF32, 3 views"]["TFLOP"] > passes["MV-DUSt3R+, TF32, 2 views"]["TFLOP"] > 0
    assert passes["MV-DUSt3R, TF32, 3 views"]["TFLOP"] < passes["MV-DUSt3R+, TF32, 3 views"]["TFLOP"]
    assert all(0 < row["share of peak"] < 1 for name, row in passes.items() if "as loaded" not in name)
    assert {"6 cameras, float32", "6 cameras, bfloat16", "6 cameras, fixed"} == set(sections["driv3r"])
    for row in sections["accuracy"].values():
        assert row["TF32 99 %"] == 0 < row["bfloat16 median"] < row["bfloat16 99 %"] < 0.5  # no TF32 here
    assert sections["d4rt"]["mini, queries, float32"]["queries/s"] > 0


def test_the_tables_can_be_pasted(everything: Path) -> None:
    text = (everything / "cuda.md").read_text(encoding="utf-8")
    assert "python benchmarks/cuda.py --device cpu --tiny -o" in text and torch.__version__ in text
    assert text.count("### ") == 7 and "Not measured" not in text
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("| |"):
            assert len({line.count("|") for line in lines}) == 1 and len(lines) > 2


def test_counted_operations_are_those_of_the_documentation() -> None:
    from benchmarks.device import multiview
    from benchmarks.device.bench import Bench

    published = Bench(torch.device("cpu"))
    assert multiview._flops(published, True, 4) == pytest.approx(3.45e12, rel=1e-2)


def test_a_second_call_measures_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, first = measure(tmp_path, "--sections", "device", "d4rt")
    assert code == 0 and "worlds" not in first["sections"]
    capsys.readouterr()
    code, second = measure(tmp_path, "--sections", "device", "d4rt")
    assert code == 0 and second["sections"] == first["sections"]
    assert "matrix product" not in capsys.readouterr().out
    code, third = measure(tmp_path, "--sections", "device", "d4rt", "--again", "device")
    assert third["sections"]["d4rt"] == first["sections"]["d4rt"]
    assert third["sections"]["device"] != first["sections"]["device"]
    assert "matrix product" in capsys.readouterr().out


def test_what_there_was_no_time_for_is_measured_by_the_next_call(tmp_path: Path) -> None:
    code, contents = measure(tmp_path, "--sections", "device", "--minutes", "0")
    assert code == 4 and len(contents["left_out"]) == 7 and contents["sections"]["device"] == {}
    assert "lack of time: device: matrix product, bfloat16" in (tmp_path / "cuda.md").read_text(encoding="utf-8")
    code, contents = measure(tmp_path, "--sections", "device")
    assert code == 0 and contents["left_out"] == [] and len(contents["sections"]["device"]) == 7


def test_a_row_that_fails_is_written_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.device import facts

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96 GiB.")

    with monkeypatch.context() as broken:
        broken.setattr(facts, "_copy", full)
        code, contents = measure(tmp_path, "--sections", "device")
    rows = contents["sections"]["device"]
    assert code == 1 and sum(row["state"] == "measured" for row in rows.values()) == 6
    assert rows["copy on the device"]["state"] == "failed"
    assert rows["copy on the device"]["reason"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 96 GiB."
    assert any("in full" in line for line in rows["copy on the device"]["trace"])
    assert "copy on the device: OutOfMemoryError" in (tmp_path / "cuda.md").read_text(encoding="utf-8")
    assert measure(tmp_path, "--sections", "device")[1]["sections"]["device"] == rows  # not tried again …
    assert measure(tmp_path, "--sections", "device", "--again", "device")[0] == 0  # … unless asked


def test_a_row_that_ended_the_process_is_not_begun_again(tmp_path: Path) -> None:
    from benchmarks.device.book import Book

    Book.open(tmp_path).begin("device", "copy on the device")
    code, contents = measure(tmp_path, "--sections", "device")
    assert code == 1
    assert contents["sections"]["device"]["copy on the device"]["reason"].startswith("interrupted")


def test_a_row_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.device import run
    from benchmarks.device.bench import Row

    def endless() -> dict[str, Any]:
        while True:
            pass

    monkeypatch.setattr(run, "SECTIONS", [run.Section("device", 1.0, lambda bench: [Row("endless", endless)])])
    monkeypatch.setattr(run, "_GRACE", 0.1)
    code, contents = measure(tmp_path, "--minutes", "0.005")
    assert code == 1 and contents["sections"]["device"]["endless"]["reason"].startswith("OutOfTime")


def test_a_lost_device_ends_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.device import facts
    from benchmarks.device.bench import Bench

    def lost(*arguments: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(facts, "_copy", lost)
    monkeypatch.setattr(Bench, "fresh", lambda self, seen=[]: seen.append(1) or (lost() if len(seen) == 5 else None))
    code, contents = measure(tmp_path, "--sections", "device", "gaussians")
    assert code == 3
    assert contents["sections"]["device"]["copy on the device"]["state"] == "failed"
    assert "gaussians" not in contents["sections"]


def test_wrong_calls_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.device.run import main

    (tmp_path / "cuda.json").write_text("[]", encoding="utf-8")
    assert main(["--device", "cpu", "--tiny", "-o", str(tmp_path)]) == 2
    assert "not written by this program" in capsys.readouterr().err
    assert (tmp_path / "cuda.json").read_text(encoding="utf-8") == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_script_says_that_there_is_no_device(tmp_path: Path) -> None:
    call = subprocess.run(
        [sys.executable, str(SCRIPT), "-o", str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert call.returncode == 2 and "There is no CUDA device here" in call.stderr
