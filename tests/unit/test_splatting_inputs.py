"""Mistakes of the caller, and the backend gsplat by a stand-in that records what it is asked."""

import importlib.util
import sys
import types

import pytest
import torch

import splatting_reference as reference
from worldline.errors import InputError, MissingExtraError
from worldline.outputs.render import gsplat_backend, rasterize

SIZE = (17, 23)
NAMES = ("means", "scales", "rotations", "opacities", "colors")


def call(**changes):
    values = dict(zip(NAMES, reference.scene(0, 12), strict=True)) | reference.cameras() | {"size": SIZE} | changes
    args = [values.pop(name) for name in NAMES]
    return rasterize(*args, **values)


def spoiled(name, value):
    tensor = (dict(zip(NAMES, reference.scene(0, 12), strict=True)) | reference.cameras())[name].clone()
    tensor.view(-1)[0] = value
    return {name: tensor}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (spoiled("means", float("nan")), "means has values that are not finite"),
        (spoiled("world_from_cam", float("inf")), "world_from_cam has values"),
        (spoiled("colors", float("nan")), "colors has values"),
        (spoiled("opacities", 1.5), "above 1"),
        (spoiled("opacities", -0.5), "below 0"),
        (spoiled("scales", -0.5), "scale is below 0"),
        (spoiled("intrinsics", 0.0), "focal length"),
        ({"rotations": torch.zeros(12, 4).double()}, "rotation is"),
        ({"scales": torch.ones(12, 1).double()}, "shape"),
        ({"means": torch.tensor(1.0).double()}, "shape"),
        ({"intrinsics": torch.eye(3)[None].expand(2, 3, 3).double()}, "shape"),
        ({"colors": torch.ones(12, 5, 3).double()}, "colors has shape"),
        ({"sh_degree": 2}, "plain colours"),
        ({"colors": torch.ones(12, 4, 3).double(), "sh_degree": 2}, "degrees 0 to 1"),
        ({"means": torch.zeros(12, 3)}, "float64"),
        ({"means": torch.zeros(12, 3).bfloat16()}, "bfloat16"),
        ({"size": (0, 5)}, "size"),
        ({"near": 0.0}, "near"),
        ({"eps2d": 0.0}, "eps2d"),
        ({"background": (1.0, 2.0)}, "background"),
        ({"backend": "opengl"}, "no backend"),
    ],
)
def test_mistakes_are_named_with_a_remedy(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        call(**changes)
    assert caught.value.remedy


def test_gsplat_missing_or_misplaced(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"worldline\[gsplat\]"):
        call(backend="gsplat")
    assert call(backend="auto").color.isfinite().all()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="CUDA"):
        call(backend="gsplat")


def test_gsplat_is_asked_in_its_own_conventions(monkeypatch):
    asked = {}

    def rasterization(**arguments):
        asked.update(arguments)
        shape = (len(arguments["viewmats"]), arguments["height"], arguments["width"])
        return torch.full((*shape, 4), 0.25).double(), torch.full((*shape, 1), 0.5).double(), {}

    monkeypatch.setitem(sys.modules, "gsplat", types.SimpleNamespace(rasterization=rasterization))
    monkeypatch.setattr(gsplat_backend, "chosen", lambda backend, like: True)
    lens = reference.cameras(2)
    picture = call(**lens, background=(1.0, 0.0, -1.0), eps2d=0.1, far=100.0, backend="gsplat")
    torch.testing.assert_close(asked["viewmats"], torch.linalg.inv(lens["world_from_cam"]))
    torch.testing.assert_close(asked["Ks"][:, :2, 2], lens["intrinsics"][:, :2, 2] + 0.5)
    torch.testing.assert_close(asked["Ks"][:, :2, :2], lens["intrinsics"][:, :2, :2])
    assert (asked["width"], asked["height"]) == (23, 17)
    assert (asked["near_plane"], asked["far_plane"], asked["eps2d"], asked["sh_degree"]) == (0.01, 100.0, 0.1, None)
    assert (asked["packed"], asked["render_mode"], asked["rasterize_mode"]) == (False, "RGB+ED", "classic")
    torch.testing.assert_close(asked["quats"], reference.scene(0, 12)[2])
    torch.testing.assert_close(picture.color[1, 2, 3], torch.tensor([0.75, 0.25, -0.25]).double())
    assert picture.depth.shape == picture.alpha.shape == (2, *SIZE)


@pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed")
def test_projection_and_harmonics_equal_the_published_torch_functions():
    published = pytest.importorskip("gsplat.cuda._torch_impl")
    from worldline.outputs.render import harmonics
    from worldline.outputs.render.projection import Lens, gaussians, project

    means, scales, rotations, opacities, _ = reference.scene(0, 300)
    lens = reference.cameras()
    inverse, matrix = torch.linalg.inv(lens["world_from_cam"]), lens["intrinsics"]
    shifted = matrix.clone()
    shifted[:, :2, 2] += 0.5
    splats = project(gaussians(means, scales, rotations, opacities), Lens(inverse, matrix, SIZE, 0.01, 1e10, 0.3))
    covariances, _ = published._quat_scale_to_covar_preci(rotations, scales, True, False)
    _, centers, depths, conics, _ = published._fully_fused_projection(
        means, covariances, inverse, shifted, SIZE[1], SIZE[0], 0.3, 0.01
    )
    p, q, r = splats.whiten
    torch.testing.assert_close(splats.mean.T, centers[0][splats.index] - 0.5)
    torch.testing.assert_close(splats.depth, depths[0][splats.index])
    torch.testing.assert_close(torch.stack([p * p + q * q, q * r, r * r], -1), conics[0][splats.index])
    directions, coefficients = torch.randn(50, 3).double(), torch.randn(50, 16, 3).double()
    for degree in range(4):
        theirs = (published._spherical_harmonics(degree, directions, coefficients) + 0.5).clamp_min(0)
        torch.testing.assert_close(harmonics.evaluate(coefficients, directions, degree), theirs)


@pytest.mark.skipif(
    importlib.util.find_spec("gsplat") is None or not torch.cuda.is_available(), reason="needs gsplat and CUDA"
)
def test_gsplat_renders_the_same_pictures():
    values = [value.float().cuda() for value in reference.scene(0, 500)]
    lens = {name: value.cuda() for name, value in reference.cameras(2, torch.float32, 100.0, (60.0, 40.0)).items()}
    ours, theirs = (rasterize(*values, **lens, size=(81, 121), backend=name) for name in ("torch", "gsplat"))
    for name in ("color", "depth", "alpha"):
        difference = (getattr(ours, name) - getattr(theirs, name)).abs()
        assert difference.median() < 1e-5
        assert difference.mean() < 2e-3  # gsplat cuts Gaussians off at three standard deviations
