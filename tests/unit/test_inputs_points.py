"""Points that a user names in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.inputs.points import read_points


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4.5,6,0\n",
        "x,y,frame\n1,2,3\n4.5,6\n",
        "frame;X;Y\n3;1;2\n\n0;4.5;6\n",
        "\ufeffx\ty\tt\n1\t2\t3\n4.5\t6\t0",
    ],
)
def test_with_or_without_header_in_any_order(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_points(path), [[1, 2, 3], [4.5, 6, 0]])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no points"),
        ("x,y\n", "holds no points"),
        ("1,2\n3\n", "Line 2"),
        ("1,2\n3,nan\n", "Line 2"),
        ("1,2,3,4\n", "Line 1"),
        ("a,b\n1,2\n", "The columns of"),
        ("x,frame\n1,2\n", "The columns of"),
    ],
)
def test_what_is_no_point_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_points(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="it is no text"):
        read_points(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "none.csv")
