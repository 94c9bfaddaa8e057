"""``worldline bench render``."""

import json

import pytest

from worldline.cli import main
from worldline.errors import InputError
from worldline.eval import render_bench


def run(*arguments):
    return main(["bench", "render", *(str(argument) for argument in arguments)])


def test_table_and_json(tmp_path, capsys):
    out = tmp_path / "render.json"
    assert run("--gaussians", 400, 1600, "--sizes", "24x16", "--repeats", 1, "--no-memory", "-o", out) == 0
    records = json.loads(out.read_text())
    assert [record["Gaussians"] for record in records] == [400, 1600]
    assert all(record["pixels"] == "24x16" for record in records)
    assert all(record["forward s"] > 0 and record["forward + backward s"] > 0 for record in records)
    assert "| Gaussians | pixels |" in capsys.readouterr().out


@pytest.mark.slow
def test_peak_memory_is_measured_apart():
    (record,) = render_bench.measure_rendering([render_bench.Item(100, (8, 8))], repeats=1)
    assert record["forward + backward peak MiB"] >= 0


def test_the_room_fills_the_picture():
    values, pose, matrix = render_bench.room_of_gaussians(2500)
    assert [list(value.shape) for value in values] == [[2500, 3], [2500, 3], [2500, 4], [2500], [2500, 3]]
    from worldline.outputs.render import rasterize

    lens = matrix.clone() * 25
    lens[2, 2], lens[0, 2], lens[1, 2] = 1, 12, 12
    picture = rasterize(*values, world_from_cam=pose[None], intrinsics=lens[None], size=(25, 25))
    assert picture.alpha.mean() > 0.9


@pytest.mark.parametrize("text", ["960", "960x", "0x5", "ax5", "1x2x3"])
def test_sizes_are_width_by_height(text):
    assert render_bench.parse_size("960x540") == (540, 960)
    with pytest.raises(InputError, match="no size"):
        render_bench.parse_size(text)


def test_mistakes_end_with_code_2(capsys):
    assert run("--gaussians", 0) == 2
    assert run("--sizes", "big") == 2
