"""Browser tests are skipped where there is no browser, but not where there has to be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import browser_window

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_a_browser_that_nobody_needs_may_lack(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLDLINE_NEED_BROWSER", raising=False)
    if value is not None:
        monkeypatch.setenv("WORLDLINE_NEED_BROWSER", value)
    with pytest.raises(pytest.skip.Exception, match="needs it"):
        browser_window.need("a_module_that_nobody_wrote", "needs it")


def test_one_that_is_needed_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_NEED_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="needs it"):
        browser_window.need("a_module_that_nobody_wrote", "needs it")
    assert browser_window.need("json", "needs it").dumps(1) == "1"


@pytest.mark.skipif(sys.platform == "win32", reason="CI runs a shell script")
@pytest.mark.parametrize("found", [True, False])
def test_ci_needs_the_browser_it_finds(found: bool, tmp_path: Path) -> None:
    tools = {"make": 'echo "need=${WORLDLINE_NEED_BROWSER:-no} shots=$WORLDLINE_BROWSER_SHOTS"', "id": "echo 1000"}
    for name, line in (tools | ({"my-chromium": "exit 0"} if found else {})).items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    paths = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WORLDLINE_")}
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        env=kept | {"PATH": paths, "WORLDLINE_CHROMIUM": "my-chromium"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"need={1 if found else 'no'}", f"shots={ROOT / 'browser_shots'}"]
    assert ("are skipped" in done.stderr) == (not found)
    assert "browser_shots/" in (ROOT / ".gitignore").read_text().split()
