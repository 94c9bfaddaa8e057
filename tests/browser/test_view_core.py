"""The viewer in a real browser: what a user sees and what the controls do."""

from __future__ import annotations

import numpy as np

import synthetic_scene
from browser_window import drawn_share


def test_page_shows_the_scene(open_window) -> None:
    window = open_window(synthetic_scene.make_scene())
    picture = window.picture("page")
    assert drawn_share(picture) > 0.2
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 100
    window.check()
