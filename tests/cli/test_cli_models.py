"""``worldline models``: what it prints, what it writes, how it fails."""

from pathlib import Path

import pytest
import torch

import published_checkpoints as published
import published_driv3r
from worldline import weights
from worldline.cli import main


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "140")


def test_list_names_every_model_with_its_terms(capsys: pytest.CaptureFixture) -> None:
    assert main(["models", "list"]) == 0
    text = capsys.readouterr().out
    for name, model in weights.MODELS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert model.license.split(" (")[0] in line
        assert model.embedded or line.rstrip().endswith("no")


def test_info_tells_counts_terms_and_origin(capsys: pytest.CaptureFixture) -> None:
    assert main(["models", "info", "dust3r-512-dpt"]) == 0
    text = capsys.readouterr().out
    for words in (
        "568,810,120 (571,171,208 in the published file)",
        "CC BY-NC-SA 4.0",
        "naver/",
        "not on this machine",
    ):
        assert words in text


def test_convert_writes_a_folder_that_info_and_verify_understand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = published.write_mvdust3r(tmp_path / "run.pth"), tmp_path / "out"
    assert main(["models", "convert", str(path), "-o", str(out)]) == 0
    assert "licence" in capsys.readouterr().out or weights.read_info(out).notice
    assert main(["models", "verify", str(out)]) == 0
    assert f"sha256 {weights.read_info(out, digests=True).sha256}" in capsys.readouterr().out
    assert main(["models", "info", str(out)]) == 0
    assert "run.pth" in capsys.readouterr().out
    assert main(["models", "convert", str(path), "-o", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["models", "convert", str(path), "-o", str(out), "--force"]) == 0


def test_convert_reads_the_files_of_spann3r_and_driv3r(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = published_driv3r.write(tmp_path / "run.pth"), tmp_path / "out"
    assert main(["models", "convert", str(path), "-o", str(out)]) == 0
    assert "run: driv3r, " in capsys.readouterr().out
    assert main(["models", "verify", str(out)]) == 0


def test_weights_that_are_not_on_a_hub_say_what_to_do(capsys: pytest.CaptureFixture) -> None:
    assert main(["models", "info", "driv3r"]) == 0
    text = capsys.readouterr().out
    for words in ("656,330,888 (658,691,976 in the published file)", "CC BY-NC-SA 4.0 (non-commercial)", "github.com"):
        assert words in text
    for verb in ("get", "verify"):
        assert main(["models", verb, "spann3r"]) == 2
        shown = capsys.readouterr()
        assert "by hand from https://" in " ".join((shown.err + shown.out).split())


def test_verify_fails_for_a_changed_file_and_goes_on_with_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    good = weights.convert(published.write_dust3r(tmp_path / "a.pth"), tmp_path / "good")
    bad = weights.convert(published.write_dust3r(tmp_path / "a.pth"), tmp_path / "bad")
    content = bytearray((bad / "model.safetensors").read_bytes())
    content[-3] ^= 64
    (bad / "model.safetensors").write_bytes(content)
    assert main(["models", "verify", str(bad), str(good)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{bad}: FAILED") and "changed" in lines[0]
    assert lines[1].startswith(f"{good}: ok")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "mvdust3r-plu"], "Did you mean mvdust3r-plus"),
        (["verify", "mvdust3r"], "not on this machine"),
        (["convert", "{page}", "-o", "{tmp}/out"], "is an HTML page"),
        (["convert", "{page}", "-o", "{tmp}"], "already exists"),
        (["convert", "{tmp}/none.pth", "-o", "{tmp}/out"], "does not exist"),
        (["get", "{page}"], "is an HTML page"),
    ],
)
def test_mistakes_get_a_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], words: str
) -> None:
    page = tmp_path / "weights.pth"
    page.write_text("<!doctype html><title>Not found</title>")
    filled = [argument.format(page=page, tmp=tmp_path) for argument in arguments]
    assert main(["models", *filled]) == 2
    shown = capsys.readouterr()
    assert words in shown.err + shown.out and "Traceback" not in shown.err


def test_get_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    assert main(["models", "get", "mvdust3r"]) == 2
    shown = capsys.readouterr().err
    assert "checkpoints/MVD.pth of the hub repository Zhenggang/MV-DUSt3R is not on this machine" in shown
    assert "worldline models get mvdust3r" in shown


@pytest.mark.parametrize("verb", ["list", "get", "info", "verify", "convert"])
def test_every_subcommand_has_help(verb: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", verb, "--help"])
    assert stopped.value.code == 0 and f"worldline models {verb}" in capsys.readouterr().out


def test_converted_weights_run(tmp_path: Path) -> None:
    folder = weights.convert(published.write_mvdust3r(tmp_path / "run.pth"), tmp_path / "out")
    model, _ = weights.load_model(folder)
    with torch.inference_mode():
        maps = model(torch.zeros(1, 2, 3, 8, 8))
    assert maps.points.shape == (1, 2, 8, 8, 3) and bool(torch.isfinite(maps.points).all())
