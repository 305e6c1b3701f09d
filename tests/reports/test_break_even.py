"""After how many trainings distilling pays."""

import itertools
import math

import polars as pl
import pytest

from moe_distill.reports.break_even import BreakEven, break_even
from moe_distill.reports.sections import break_even_section
from moe_distill.results.frames import frame_of


@pytest.mark.parametrize("costs", [(100.0, 1.0, 11.0), (95.0, 1.0, 11.0), (0.0, 1.0, 2.0), (7.0, 0.5, 0.75)])
def test_it_pays_from_the_first_number_of_trainings_that_costs_no_more(costs):
    made, training, full = costs
    counted = next(n for n in itertools.count(0) if made + n * training <= n * full)
    assert BreakEven("", "", *costs).after == counted


def test_it_never_pays_where_a_training_saves_nothing():
    assert math.isinf(BreakEven("", "", 10.0, 2.0, 2.0).after) and math.isinf(
        BreakEven("", "", 10.0, 3.0, 2.0).after
    )


def row(method, network, seconds, made="", dataset="d", **more):
    told = {"method": method, "architecture": network, "train_seconds": seconds, "distill_seconds": made}
    return {**told, "dataset": dataset, "set_fingerprint": "p", "accuracy_last": 0.5, **more}


def named(rows, names):
    """Return rows as a frame, with the names of their variants."""
    return frame_of(rows).with_columns(pl.Series("variant", names))


def test_sets_are_held_against_all_data_of_their_own_set_and_network():
    rows = [
        *(row("full_dataset", "a", s) for s in (90, 110)),
        row("full_dataset", "b", 50, dataset="other"),
        *(row("dm", "a", s, made=30) for s in ("2", "4")),
        row("dm", "b", 2, made=30),
    ]
    variants = ["full_dataset"] * 3 + ["dm5x2"] * 3
    (found,) = break_even(named(rows, variants), {"p": 70.0})
    assert break_even(named(rows, variants), {}) == []  # what its teachers cost is not known
    assert found == BreakEven("dm5x2", "a", 100.0, 3.0, 100.0) and found.after == 2
    assert break_even(named(rows, variants), {"q": 0, "p": 70.0}) == [found]  # q's set had no teachers
    ((_, sheet),) = break_even_section([found]).tables
    (line,) = sheet.groups[""]
    assert (line.name, line.entries[-1].text) == ("dm5x2", "2") and break_even_section([]) is None


def test_images_of_one_size_are_held_against_those_of_that_size():
    sizes = {"64": (10, 100), "128": (40, 500)}
    rows = [
        {**row(method, "a", seconds, made), "data_variant": "folder", "data.size": size}
        for size, (own, whole) in sizes.items()
        for method, seconds, made in (("full_dataset", whole, ""), ("dm", own, 30))
    ]
    found = break_even(named(rows, [f"{r['method']} {r['data.size']}" for r in rows]), {"p": 0.0})
    assert [(b.variant, b.training, b.full) for b in found] == [("dm 64", 10, 100), ("dm 128", 40, 500)]
    same_name = break_even(named(rows, [str(r["method"]) for r in rows]), {"p": 0.0})
    assert [b.full for b in same_name] == [100, 500]


def test_students_to_come_cost_nothing_yet():
    rows = [
        row("full_dataset", "a", 100),
        row("full_dataset", "a", None, accuracy_last=None),
        row("dm", "a", 2, made=30),
        row("dm", "a", None, accuracy_last=None),
    ]
    (found,) = break_even(named(rows, ["full_dataset"] * 2 + ["dm5x2"] * 2), {"p": 0.0})
    assert (found.training, found.full) == (2, 100)
    assert break_even(named(rows[1:], ["full_dataset", "dm5x2", "dm5x2"]), {"p": 0.0}) == []
