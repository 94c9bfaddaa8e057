"""The rooms of docs/architecture.md: a lower room never imports a higher one."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "worldline"
RANK = {
    "errors": 0, "types": 0, "files": 0, "geometry": 1, "inputs": 2, "models": 2, "worlds": 2, "weights": 3, "scene": 3,
    "outputs": 4, "pipeline": 5, "train": 6, "eval": 6, "cli": 7,
}  # fmt: skip
ALLOWED = {("scene/scene.py", "outputs")}  # Scene.export looks its writers up when called
SAME_RANK_APART = [{"inputs", "models"}, {"models", "worlds"}, {"worlds", "inputs"}, {"weights", "scene"}]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "worldline" else [f"worldline.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("worldline.")}
    return rooms & set(RANK)


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_room_imports_a_higher_one(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    room = name.split("/")[0]
    for other in imported_rooms(path) - {room}:
        if (name, other) in ALLOWED:
            continue
        assert RANK[other] <= RANK[room] and {room, other} not in SAME_RANK_APART, f"{name} imports worldline.{other}"


def test_every_room_is_ranked() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert rooms - {"assets"} == set(RANK) - {"errors", "types", "files"}


def test_the_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from worldline.cli import main\nimport worldline.scene.scene\n", encoding="utf-8")
    assert imported_rooms(bad) == {"cli", "scene"}
