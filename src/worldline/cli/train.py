"""``worldline train RECIPE``: train a model on procedural worlds."""

from __future__ import annotations


def run(argv: list[str]) -> int:
    """Parse the recipe's fields and train; a stopped run goes on where it stopped when called again."""
    import tyro

    from worldline.cli.common import console
    from worldline.train.recipes import RECIPES

    recipe = tyro.extras.overridable_config_cli(RECIPES, args=argv, prog="worldline train")
    from worldline.train.loop import train

    console().print(f"weights: {train(recipe)}")
    return 0
