"""Pair graphs: the same ordered pairs as the published ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from worldline.errors import InputError
from worldline.scene.align import make_pairs

CASES = json.loads((Path(__file__).parent / "data" / "pair_graph" / "pairs.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_equals_published(case: str) -> None:
    match = re.fullmatch(r"(\d+)/(.+)/sym=(True|False)/prefilter=(.+)", case)
    assert match is not None
    count, graph, symmetrize, prefilter = int(match[1]), match[2], match[3] == "True", match[4]
    pairs = make_pairs(
        count, graph, symmetrize=symmetrize, prefilter=None if prefilter == "None" else prefilter, self_pairs=True
    ).tolist()
    if "win" in graph:
        assert {tuple(p) for p in pairs} == {tuple(p) for p in CASES[case]}
        assert len(pairs) == len(CASES[case])
    else:
        assert pairs == CASES[case]


def test_self_pairs_are_left_out_by_default() -> None:
    pairs = make_pairs(3, "swin-3")
    assert len(pairs) and (pairs[:, 0] != pairs[:, 1]).all()


@pytest.mark.parametrize("arguments", [("everything",), ("swin-x",), ("oneref-7",)])
def test_unknown_graph_is_one_sentence(arguments: tuple[str]) -> None:
    with pytest.raises(InputError, match=r"Choose"):
        make_pairs(4, *arguments)
    with pytest.raises(InputError, match=r"seqT"):
        make_pairs(4, prefilter="near3")
