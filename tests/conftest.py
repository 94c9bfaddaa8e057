"""Fixtures for every folder of tests; this file also makes the plain modules beside it importable."""

import pytest

import synthetic_scene


@pytest.fixture(scope="session")
def exact_scene(tmp_path_factory: pytest.TempPathFactory):
    """A scene with truth for everything, whose photos lie on disk; see synthetic_scene.py."""
    return synthetic_scene.make_scene(tmp_path_factory.mktemp("photos"))
