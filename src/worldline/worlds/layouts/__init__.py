"""What stands where: one module per kind of world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worldline.worlds.layouts import dynamic, objects, outdoor, rooms, street
from worldline.worlds.options import Shooting, Streams, WorldOptions
from worldline.worlds.world import World


@dataclass(frozen=True)
class Layout:
    """A kind of world."""

    stream: int  # separates the random streams of layouts
    build: Callable[[Streams, WorldOptions], World]  # raises InputError where the seed has no place for the cameras
    shooting: tuple[Shooting, ...]  # ways in which it can be photographed; the first is the usual one
    says: str  # one line for people


LAYOUTS: dict[str, Layout] = {
    "rooms": Layout(1, rooms.build, ("photos", "video", "walk", "orbit"), "furnished rooms"),
    "objects": Layout(2, objects.build, ("photos", "video", "walk", "orbit"), "things on a table, from close by"),
    "outdoor": Layout(3, outdoor.build, ("photos", "video", "walk", "orbit"), "courts, squares and gardens"),
    "dynamic": Layout(
        5, dynamic.build, ("photos", "video", "walk", "orbit"), "things that move in rooms, halls, yards"
    ),
    "street": Layout(4, street.build, ("photos", "rig", "video"), "a street with traffic"),
}
