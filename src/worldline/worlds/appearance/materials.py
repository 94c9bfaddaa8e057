"""Random materials: a pattern, its size and its colours for a wall, a road or a cushion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from worldline.errors import InputError
from worldline.worlds.appearance import palettes, textures
from worldline.worlds.appearance.families import FAMILIES, Recipe
from worldline.worlds.world import MATERIAL_WIDTH, Builder, material_slices

_COLUMNS = material_slices()
# what stays level: things with an up and a down, and what is laid along the edges of its face
_UPRIGHT_FAMILIES = frozenset(
    {"wall", "poster", "books", "window", "facade", "windows", "roof", "text", "sign", "bark"}
)
_LEVEL_PATTERNS = frozenset({
    textures.TEXT, textures.LABEL, textures.SIGN, textures.BOOKS, textures.WINDOWS, textures.PANELS, textures.MASONRY,
})  # fmt: skip


def material(
    builder: Builder, rng: np.random.Generator, family: str, *, emission: float = 0.0, gloss: float | None = None
) -> int:
    """Draw a material of a family, register it with the builder and return its index.

    Takes one number from ``rng``, whatever it draws: the appearance of a world may change without moving anything.

    Args:
        builder: gets the material.
        rng: of the scene.
        family: name in ``FAMILIES``, for example wall, floor, fabric, road, facade, foliage, car, text.
        emission: emitted radiance as a multiple of the albedo.
        gloss: specular strength; None: what is usual for the family.

    Raises:
        InputError: unknown family; lists the choices.
    """
    if family not in FAMILIES:
        raise InputError(f"Unknown family of materials {family!r}.", f"Choose one of: {', '.join(sorted(FAMILIES))}.")
    own = np.random.default_rng(rng.integers(2**62))
    recipes = FAMILIES[family]
    weights = np.array([recipe.weight for recipe in recipes])
    recipe = recipes[own.choice(len(recipes), p=weights / weights.sum())]
    return builder.material(recipe.pattern, _row(own, family, recipe, emission, gloss))


def _row(
    rng: np.random.Generator, family: str, recipe: Recipe, emission: float, gloss: float | None
) -> Float32[np.ndarray, "k"]:
    row: Float32[np.ndarray, "k"] = np.zeros(MATERIAL_WIDTH, np.float32)
    known = recipe.palette is not None and rng.random() < 0.95  # now and then a road is green: shape must do
    colors = palettes.draw(rng, str(recipe.palette)) if known else palettes.scheme(rng, family)
    for name, color in zip(("color_a", "color_b", "color_c"), colors, strict=True):
        row[_COLUMNS[name]] = color
    row[_COLUMNS["scale"]] = np.exp(rng.uniform(*np.log(recipe.scale)))
    if recipe.ratio is not None:
        row[_COLUMNS["ratio"]] = rng.uniform(*recipe.ratio)
    elif recipe.pattern in (textures.TILES, textures.PANELS):
        row[_COLUMNS["ratio"]] = rng.choice([1.0, 1.0, 0.5, 2.0])
    else:
        row[_COLUMNS["ratio"]] = rng.uniform(0.8, 1.3)
    row[_COLUMNS["offset"]] = rng.uniform(0, 50, 3)
    level = family in _UPRIGHT_FAMILIES or recipe.pattern in _LEVEL_PATTERNS
    row[_COLUMNS["angle"]] = 0.0 if level or rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    row[_COLUMNS["contrast"]] = rng.uniform(*recipe.contrast)
    if gloss is None:
        drawn = (0.0, 0.35 if rng.random() < 0.4 else 0.0) if recipe.gloss is None else recipe.gloss
        gloss = rng.uniform(*drawn)
    row[_COLUMNS["gloss"]] = gloss
    row[_COLUMNS["emission"]] = emission
    return row
