"""The position code is the same at every resolution and tells the two axes apart."""

import torch

from worldline.models.layers.position import PhotoPosition


def test_position_code_scales_with_the_photo():
    torch.manual_seed(0)
    position = PhotoPosition(8)
    coarse = position(torch.zeros(1, 4, 8), 2, 2)[0].reshape(2, 2, 8)
    wide = position(torch.zeros(1, 8, 8), 2, 4)[0].reshape(2, 4, 8)
    fine = position(torch.zeros(1, 36, 8), 6, 6)[0].reshape(6, 6, 8)
    torch.testing.assert_close(coarse, fine[1::3, 1::3])  # centres of the coarse tokens are centres of fine ones
    assert not torch.allclose(coarse[0, 1], coarse[1, 0])
    assert not torch.allclose(wide[:, 0], coarse[:, 0])  # the unit is the longer side
