"""The tables of nuScenes v1.0: fixed vocabularies, and the merging of the scenes' rows into JSON files.

Written after the public schema (nuscenes-devkit, docs/schema_nuscenes.md): 13 tables whose rows are linked by tokens.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from worldline.errors import OutputError
from worldline.files import replacing_file, write_json

VERSION = "v1.0-worldline"
TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip
CATEGORIES = {
    "human.pedestrian.adult": "Walks, or stands where people walk.",
    "vehicle.bicycle": "A bicycle with its rider.",
    "vehicle.car": "A car.",
    "vehicle.truck": "A van or a truck.",
    "vehicle.bus.rigid": "A bus.",
    "movable_object.pushable_pullable": "Anything else that moves.",
}
ATTRIBUTES = ("vehicle.moving", "vehicle.parked", "pedestrian.moving", "pedestrian.standing", "cycle.with_rider")
_VISIBILITY = ((0.4, "v0-40"), (0.6, "v40-60"), (0.8, "v60-80"), (np.inf, "v80-100"))
_MAP = "maps/blank.png"

Row = dict[str, Any]


def token(*parts: object) -> str:
    """32 hexadecimal digits that stand for these words, the same in every run."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> list[float]:
    """Unit quaternion w, x, y, z with w >= 0."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    sign = -1.0 if w < 0 else 1.0
    return [sign * float(value) for value in (w, x, y, z)]


def visibility_level(share: float) -> str:
    """Token "1" to "4" of the bin of a visible share."""
    return str(1 + next(index for index, (end, _) in enumerate(_VISIBILITY) if share < end))


def category_of(size: Float[np.ndarray, "3"], moves: bool) -> str | None:
    """What an object is, judged by its length, width and height in metres; None: nothing that is annotated.

    Worlds have no names for things; these limits separate those of the street layout.
    """
    length, width, height = size
    if 1.3 <= height <= 4.5 and 1.5 <= width <= 3.2 and length >= max(3.2, 1.5 * width):
        if length > 9.0:
            return "vehicle.bus.rigid"
        return "vehicle.car" if length < 5.4 and height < 1.9 else "vehicle.truck"
    upright = 1.4 <= height <= 2.05 and min(length, width) >= 0.25 and 0.4 <= max(length, width) <= 1.1
    if upright or (moves and 1.2 <= height <= 2.1 and max(length, width) <= 1.3):
        return "human.pedestrian.adult"
    if moves and 1.2 <= height <= 2.2 and 1.3 < length <= 2.3 and width <= 1.2:
        return "vehicle.bicycle"
    return "movable_object.pushable_pullable" if moves else None


def attribute_of(category: str, moves: bool) -> str | None:
    """The attribute that goes with a category."""
    if category == "vehicle.bicycle":
        return "cycle.with_rider"
    if category.startswith("human"):
        return "pedestrian.moving" if moves else "pedestrian.standing"
    if category.startswith("vehicle"):
        return "vehicle.moving" if moves else "vehicle.parked"
    return None


def vocabularies() -> dict[str, list[Row]]:
    """The tables that do not depend on the scenes."""
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": text, "index": index}
            for index, (name, text) in enumerate(CATEGORIES.items())
        ],
        "attribute": [{"token": token("attribute", name), "name": name, "description": name} for name in ATTRIBUTES],
        "visibility": [
            {"token": str(index + 1), "level": name, "description": f"visibility of the whole object: {name[1:]} %"}
            for index, (_, name) in enumerate(_VISIBILITY)
        ],
    }


def read_fragments(folder: Path) -> list[dict[str, list[Row]]]:
    """The rows of all complete scenes, by name.

    Raises:
        OutputError: a file there is none of ours, or damaged.
    """
    fragments = []
    for path in sorted(folder.glob("*.json")):
        try:
            fragments.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise OutputError(f"{path} is damaged ({error}).", "Delete it: its scene is then written again.") from error
    return fragments


def merge(root: Path, fragments: list[dict[str, list[Row]]]) -> None:
    """Write all tables for the given scenes, each file in one step; rows with equal tokens are written once."""
    tables = vocabularies()
    for name in TABLES:
        rows = [*tables.get(name, []), *(row for fragment in fragments for row in fragment.get(name, []))]
        tables[name] = list({row["token"]: row for row in rows}.values())
    logs = [row["token"] for row in tables["log"]]
    tables["map"] = [
        {"token": token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": _MAP}
    ]  # fmt: skip
    blank = root / _MAP
    if not blank.exists():  # readers open the file, though there is no map
        blank.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(blank) as temporary:
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(temporary)
    for name in TABLES:
        write_json(root / VERSION / f"{name}.json", tables[name])
