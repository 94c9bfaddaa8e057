"""Random changes of colour and sharpness."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from worldline.train.appearance import Appearance, ColorChange, blurred


def colors(scenes=2, views=3, size=12):
    return torch.from_numpy(np.random.default_rng(0).random((scenes, views, size, size, 3), dtype=np.float32))


def still(**changes):
    """Options under which nothing changes but what is named."""
    nothing = dict.fromkeys(("gain", "tint", "contrast", "saturation", "gamma", "noise", "hue", "grey", "blur"), 0.0)
    return Appearance(**nothing | changes)


def draw(options, seed=0):
    return ColorChange.draw(2, 3, np.random.default_rng(seed), options=options)


def test_without_any_spread_nothing_changes():
    given = colors()
    torch.testing.assert_close(draw(still()).apply(given), given.clamp(1e-4, 1))


def test_blur_is_gaussian_with_continued_edges():
    given, sigma = colors(), torch.tensor([[0.0, 0.5, 0.9], [1.0, 0.0, 0.7]])
    found = blurred(given, sigma)
    for scene in range(2):
        for view in range(3):
            picture, spread = given[scene, view].numpy(), sigma[scene, view].item()
            if spread:
                for axis in (0, 1):
                    picture = gaussian_filter1d(picture, spread, axis, mode="nearest", radius=3)
            np.testing.assert_allclose(found[scene, view], picture, atol=1e-6)


def test_blur_reaches_its_share_of_the_views():
    change = ColorChange.draw(200, 5, np.random.default_rng(0), options=still(blur=0.3, sigma=(0.5, 1.0)))
    hit = change.sigma[change.sigma > 0]
    assert 0.25 < len(hit) / 1000 < 0.35
    assert hit.min() >= 0.5 and hit.max() <= 1.0


def test_turned_hues_keep_greys():
    grey = torch.rand(2, 3, 4, 4, 1).expand(-1, -1, -1, -1, 3).clamp(1e-3)
    change = draw(still(hue=1.0))
    torch.testing.assert_close(change.apply(grey), grey, atol=1e-5, rtol=0)
    assert (change.apply(colors()) - colors()).abs().mean() > 0.02


def test_colourless_scenes():
    found = draw(still(grey=1.0)).apply(colors())
    assert (found.max(-1).values - found.min(-1).values).max() < 1e-5


def test_hard_changes_more():
    given = colors()

    def change(options):
        return np.mean([(draw(options, seed).apply(given) - given).abs().mean() for seed in range(20)])

    assert change(Appearance.hard()) > 1.5 * change(Appearance())


@pytest.mark.parametrize("options", [Appearance(), Appearance.hard()])
def test_changes_are_reproducible_and_can_be_moved(options):
    one, two = draw(options), draw(options).with_parts(lambda part: part.clone())
    assert torch.equal(one.apply(colors()), two.apply(colors()))
    assert one.apply(colors()).min() >= 0 and one.apply(colors()).max() <= 1
