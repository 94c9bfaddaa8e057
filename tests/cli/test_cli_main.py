"""The front door: help is instant, mistakes get one sentence, exit codes are stable."""

import subprocess
import sys
import time

import pytest

from worldline.cli import VERBS, main


def test_help_names_every_verb(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


def test_help_is_fast_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, worldline.cli as c; c.main(['--help']); "
        "print([m for m in ('torch', 'numpy', 'pycolmap') if m in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert time.perf_counter() - started < 5  # 0.1 s on a quiet machine; the import list above is the exact test


def test_an_unknown_verb_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture) -> None:
    assert main(["reconstuct"]) == 2
    assert "Did you mean 'reconstruct'?" in capsys.readouterr().err


def test_no_verb_prints_the_usage_and_fails() -> None:
    assert main([]) == 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
