"""Names become folders; what was fetched once is pinned; without a network there is a sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import published_checkpoints as published
from worldline import weights
from worldline.errors import OutputError, WeightsError
from worldline.weights import fetch, hub
from worldline.weights.files import home
from worldline.weights.model_info import Source

REVISIONS = ("a" * 40, "b" * 40)


class FakeHub:
    """Files under snapshots/<revision>/, as the hub's cache has them; counts what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.newest, self.requests = folder, REVISIONS[0], []

    def path(self, repo: str, filename: str, revision: str | None = None) -> Path:
        return self.folder / repo / "snapshots" / (revision or self.newest) / filename

    def publish(self, repo: str, seed: int = 0, revision: str = REVISIONS[0]) -> None:
        """The tiny pairwise model in the hub's form."""
        self.newest = revision
        state = {key: value + seed for key, value in published.dust3r_state().items()}
        self.path(repo, "x").parent.mkdir(parents=True, exist_ok=True)
        save_file(state, self.path(repo, "model.safetensors"))
        self.path(repo, "config.json").write_text(json.dumps(published.DUST3R_OPTIONS))

    def download(self, repo: str, filename: str, revision: str | None, get_command: str) -> Path:
        self.requests.append((repo, filename, revision))
        return self.path(repo, filename, revision)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORLDLINE_HOME", str(tmp_path / "home"))
    assert home() == tmp_path / "home"
    return tmp_path / "home"


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(fetch, "download", found.download)
    tiny = weights.from_official(published.dust3r_state(), published.DUST3R_OPTIONS)
    entry = weights.MODELS["dust3r-512-linear"]
    count = sum(parameter.numel() for parameter in tiny.parameters())
    monkeypatch.setitem(weights.MODELS, entry.id, replace(entry, parameters=count))
    found.publish(entry.source.repo)
    return found


def test_the_first_use_fetches_converts_and_pins(fake_hub: FakeHub, own_home: Path) -> None:
    assert not weights.is_available("dust3r-512-linear")
    folder = weights.resolve("dust3r-512-linear")
    assert folder.is_relative_to(own_home) and weights.is_available("dust3r-512-linear")
    _, info = weights.load_model(folder)
    assert info.id == "dust3r-512-linear" and "BY-NC-SA" in info.license and info.image_size == 512
    pin = json.loads((own_home / "pins.json").read_text())["dust3r-512-linear"]
    source = fake_hub.path(pin["repo"], pin["file"])
    assert pin["revision"] == REVISIONS[0] and pin["bytes"] == source.stat().st_size
    assert len(pin["sha256"]) == 64 and pin["converted_sha256"] == info.sha256 and pin["date"].startswith("20")
    assert info.card["source"]["sha256"] == pin["sha256"]
    assert weights.info("dust3r-512-linear").sha256 == info.sha256
    assert weights.verify("dust3r-512-linear").sha256 == info.sha256
    requests = len(fake_hub.requests)
    assert weights.resolve("dust3r-512-linear") == folder and len(fake_hub.requests) == requests  # no second fetch


def test_a_changed_file_on_this_machine_is_refused(fake_hub: FakeHub) -> None:
    folder = weights.resolve("dust3r-512-linear")
    other, _ = weights.load_model(folder)
    with torch.no_grad():
        other.decoder.norm.bias += 1
    weights.save_model(other, folder, card={}, dtype=torch.float32)  # consistent in itself, but not what was pinned
    with pytest.raises(WeightsError, match=r"refused: the converted file on this machine") as caught:
        weights.resolve("dust3r-512-linear")
    assert "--repin" in caught.value.remedy
    with pytest.raises(WeightsError, match="refused"):
        weights.verify("dust3r-512-linear")
    weights.resolve("dust3r-512-linear", repin=True)
    weights.verify("dust3r-512-linear")


def test_a_changed_file_on_the_hub_is_refused_and_the_pinned_revision_is_asked_for(
    fake_hub: FakeHub, own_home: Path
) -> None:
    import shutil

    repo = weights.MODELS["dust3r-512-linear"].source.repo
    weights.resolve("dust3r-512-linear")
    shutil.rmtree(own_home / "models")
    fake_hub.publish(
        repo, seed=1, revision=REVISIONS[1]
    )  # the authors publish something newer: the old one is still used
    weights.resolve("dust3r-512-linear")
    assert fake_hub.requests[-1] == (repo, "config.json", REVISIONS[0])
    shutil.rmtree(own_home / "models")
    fake_hub.publish(repo, seed=1, revision=REVISIONS[0])  # same revision, other content
    with pytest.raises(WeightsError, match=r"refused: the file on the hub is not the one first used on 20"):
        weights.resolve("dust3r-512-linear")
    assert not weights.is_available("dust3r-512-linear")
    weights.resolve("dust3r-512-linear", repin=True)
    assert fake_hub.requests[-1] == (repo, "config.json", None)
    weights.verify("dust3r-512-linear")


def test_a_failed_repin_keeps_the_old_pin(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    folder = weights.resolve("dust3r-512-linear")
    before = (own_home / "pins.json").read_text()

    def offline(*_: object) -> Path:
        raise WeightsError("no network.", "later")

    monkeypatch.setattr(fetch, "download", offline)
    with pytest.raises(WeightsError, match="no network"):
        weights.resolve("dust3r-512-linear", repin=True)
    assert (own_home / "pins.json").read_text() == before and weights.resolve("dust3r-512-linear") == folder


def test_hub_ids_of_known_and_unknown_owners(fake_hub: FakeHub, tmp_path: Path) -> None:
    repo = weights.MODELS["dust3r-512-linear"].source.repo
    assert weights.read_info(weights.resolve(repo)).id == "dust3r-512-linear"
    fake_hub.publish("someone/finetuned")
    info = weights.read_info(weights.resolve("someone/finetuned"))
    assert "unknown" in info.license and not info.is_permissive
    with pytest.raises(WeightsError, match="several models") as caught:
        weights.resolve("Zhenggang/MV-DUSt3R")
    assert "mvdust3r-plus-s1" in caught.value.remedy
    ours = weights.save_model(
        weights.load_model(weights.resolve(repo))[0], tmp_path / "ours", card={"name": "ours"}, dtype=torch.float32
    )
    target = fake_hub.path("someone/ours", "x").parent
    target.parent.mkdir(parents=True)
    ours.rename(target)
    assert isinstance(weights.load_model(weights.resolve("someone/ours"))[0], torch.nn.Module)


def test_local_files_are_converted_once(tmp_path: Path, own_home: Path) -> None:
    path = published.write_mvdust3r(tmp_path / "my run.pth")
    folder = weights.resolve(path)
    assert folder.is_relative_to(own_home) and weights.resolve(str(path)) == folder
    assert weights.resolve(folder) == folder and weights.resolve(folder / "model.safetensors") == folder
    assert weights.info(path).config == weights.config_of(folder)
    published.write_dust3r(path)  # another content under the same name
    assert weights.resolve(path) != folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "does not exist"),
        ("missing.pth", "does not exist"),
        ("some/where/model.pth", "does not exist"),
        ("a/b/c", "There is no model 'a/b/c'"),
        ("../x/y", "does not exist"),
    ],
)
def test_names_that_lead_nowhere(name: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        weights.resolve(name)
    assert caught.value.remedy


def test_folders_and_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html></html>")
    with pytest.raises(WeightsError, match="HTML page"):
        weights.resolve(tmp_path / "page.pth")
    with pytest.raises(WeightsError, match="not a model folder"):
        weights.resolve(tmp_path)


def test_offline_there_is_a_sentence_and_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set") as caught:
        weights.resolve("mvdust3r-plus")
    assert "worldline models get mvdust3r-plus" in caught.value.remedy
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.verify("mvdust3r-plus")
    assert weights.info("mvdust3r-plus").parameters == 661_428_498  # still known
    assert weights.config_of("mvdust3r-plus").fused_references


def test_every_answer_of_the_hub_becomes_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    def made(kind: type[Exception], text: str = "x") -> Exception:
        error = kind.__new__(kind)  # their constructors want a whole HTTP response
        error.args = (text,)
        return error

    cases = [
        (made(errors.GatedRepoError), WeightsError, "wants a login"),
        (made(errors.RepositoryNotFoundError), WeightsError, "no public hub repository"),
        (made(errors.RevisionNotFoundError), WeightsError, "no longer has the revision"),
        (made(errors.RemoteEntryNotFoundError), WeightsError, "has no file f"),
        (made(errors.LocalEntryNotFoundError), WeightsError, "not on this machine"),
        (made(errors.HfHubHTTPError), WeightsError, "could not be fetched"),
        (made(errors.HFValidationError), WeightsError, "could not be fetched"),
        (ConnectionError("x"), WeightsError, "not on this machine"),
        (RuntimeError("slow\nand more"), WeightsError, r"could not be fetched from .* \(slow\)"),
        (PermissionError(13, "Permission denied"), OutputError, "cache cannot be written"),
        (OSError(28, "No space left on device"), OutputError, "cache cannot be written"),
    ]
    for error, kind, words in cases:

        def fail(*_: object, failure: Exception = error, **__: object) -> str:
            raise failure

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(kind, match=words):
            hub.download("owner/repo", "f", "c" * 40, "worldline models get x")


def test_sources_name_files_that_the_hub_can_have() -> None:
    for entry in weights.MODELS.values():
        assert entry.embedded or isinstance(entry.source, Source)
        if entry.source:
            assert entry.source.filename.endswith((".pth", ".ckpt", ".safetensors"))
            if entry.source.page:  # downloaded by hand
                assert entry.source.page.startswith("https://") and not entry.source.repo
            else:
                assert hub.looks_like_hub_id(entry.source.repo)
