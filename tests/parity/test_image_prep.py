"""Resizing and cropping equal the published rules, to one grey level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from worldline.inputs import load_views, stack

DATA = Path(__file__).parent / "data" / "image_prep"
CASES = json.loads((DATA / "config.json").read_text())["cases"]
ARRAYS = load_file(DATA / "io.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_published_crop(case):
    expected = CASES[case]
    (view,) = load_views(ARRAYS[f"{case}/in/rgb_hwc"], size=expected["size"])
    assert list(view.image.shape[:2]) == expected["output_hw"]
    assert view.transform.model_size == view.image.shape[:2]
    stride = expected["subsample_stride"]
    difference = (
        view.image[::stride, ::stride].transpose(2, 0, 1).astype(int) - ARRAYS[f"{case}/out/rgb_chw_subsampled"]
    )
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_normalised_network_input(case):
    tensor = stack(load_views(ARRAYS[f"{case}/in/rgb_hwc"], size=CASES[case]["size"]))
    assert tensor.shape == (1, 1, 3, *CASES[case]["output_hw"])
    assert abs(float(tensor.mean()) - CASES[case]["normalised_mean"]) < 2e-4
    assert abs(float(tensor.std()) - CASES[case]["normalised_std"]) < 2e-4


def test_files_and_arrays_give_the_same_pixels(tmp_path):
    pixels = ARRAYS["224_portrait/in/rgb_hwc"]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_views(tmp_path / "a.png")[0].image, load_views(pixels)[0].image)
