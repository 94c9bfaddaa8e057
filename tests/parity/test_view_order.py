"""The order in which views are fed equals the published demo's and the published evaluation's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.inputs import inverse_order, reference_order

TABLES = json.loads((Path(__file__).parent / "data" / "view_order" / "orders.json").read_text())


@pytest.mark.parametrize("count", TABLES["demo"])
def test_demo(count):
    assert reference_order(int(count), "demo").tolist() == TABLES["demo"][count]


@pytest.mark.parametrize("setting", TABLES["evaluation"])
def test_evaluation(setting):
    total, rendered = map(int, setting.split("_"))
    inputs = total - rendered
    names = [f"in{i}" for i in range(inputs)] + [f"render{i}" for i in range(rendered)]
    order = reference_order(inputs, "evaluation", total=total)
    assert [names[index] for index in order] == TABLES["evaluation"][setting]


@pytest.mark.parametrize("scheme", ["demo", "evaluation", "spread", "input"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 12, 25])
def test_every_order_is_a_permutation_that_can_be_undone(scheme, count):
    order = reference_order(count, scheme)
    assert sorted(order) == list(range(count))
    views = np.arange(count) * 10
    assert np.array_equal(views[order][inverse_order(order)], views)


@pytest.mark.parametrize("scheme", ["demo", "evaluation", "spread", "input"])
def test_any_view_can_be_the_first(scheme):
    usual = reference_order(9, scheme)
    for view in range(9):
        order = reference_order(9, scheme, first=view)
        assert order[0] == view
        assert sorted(order) == list(range(9))
        assert np.sum(order != usual) in (0, 2)


def test_spread_puts_references_at_even_distances():
    assert reference_order(20, "spread", 4)[:4].tolist() == [0, 5, 10, 15]
    assert reference_order(3, "spread", 4).tolist() == [0, 1, 2]
    assert reference_order(6, "input").tolist() == [0, 1, 2, 3, 4, 5]


def test_unknown_scheme_and_bad_numbers():
    with pytest.raises(InputError, match="Choose one of: demo, evaluation, spread, input"):
        reference_order(4, "random")
    with pytest.raises(InputError, match="Choose an index from 0 to 3"):
        reference_order(4, first=4)
    with pytest.raises(InputError):
        reference_order(0)
