"""Leads over opponents against a double loop over the students of both."""

import itertools
import math
import statistics

import pytest
from conftest_rows import NETWORKS, beforehand, row, students
from scipy.stats import t

from moe_distill.pipelines.comparisons import comparisons, losing, said
from moe_distill.pipelines.question import Question
from moe_distill.pipelines.summary import AVERAGE

AGAINST_ONE = Question(against={"noe": 1})
WORLDS = {
    "one seed": ({}, {}),
    "three seeds": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": (0, 1, 2)}),
    "three seeds against one": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": (7,)}),
    "one seed of three": ({"distill_seeds": (1,)}, {"distill_seeds": (0, 1, 2)}),
    "other seeds": ({"distill_seeds": (5, 6)}, {"distill_seeds": (0, 1)}),
    "lost": ({"distill_seeds": (0, 1, 2), "lost": 0.35}, {"distill_seeds": (0, 1, 2), "lost": 0.35}),
    "diverged": ({"distill_seeds": (0, 1), "diverged": 0.3}, {"distill_seeds": (0, 1), "diverged": 0.3}),
    "few": ({"lost": 0.5}, {"diverged": 0.5}),
}


def world(name):
    own, other = WORLDS[name]
    return students(f"{name} own", ("dm5x2",), **own) + students(f"{name} other", ("dm10x1",), **other)


def pairs_of(own, other):
    """Return differences by architecture and distillation seed, found by a double loop."""
    several = len({r["distill_seed"] for r in other}) > 1
    held = {}
    for a, b in itertools.product(own, other):
        alike = ["architecture", "seed"] + ["distill_seed"] * several
        if all(a[c] == b[c] for c in alike):
            difference = float(a["accuracy_last"]) - float(b["accuracy_last"])
            if not math.isnan(difference):
                held.setdefault((a["architecture"], a["distill_seed"]), []).append(difference)
    return held, several


def interval_of(held, networks, several):
    """Return mean, half-width, count and words by the definition."""
    seeds = sorted({d for _, d in held})
    seeds = [d for d in seeds if all((n, d) in held for n in networks)]
    if len(seeds) > 1:
        values = [statistics.mean(statistics.mean(held[n, d]) for n in networks) for d in seeds]
        over = f"{len(seeds)} distillation seeds" + " against one" * (not several)
    else:
        values = [x for d in seeds for n in networks for x in held[n, d]]
        over = f"{len(values)} pair{'s' * (len(values) != 1)} of students, one distillation seed"
    if not values:
        return None, None, 0, "no pairs of students"
    half = None
    if len(values) > 1:
        half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half, len(values), over


@pytest.mark.parametrize("name", WORLDS)
def test_leads_are_those_of_a_double_loop(name):
    rows = world(name)
    found = [c for c in comparisons(rows, AGAINST_ONE).to_dicts() if c["kind"] == "against"]
    own, other = ([r for r in rows if r["roster"] == roster] for roster in ("dm5x2", "dm10x1"))
    held, several = pairs_of(own, other)
    assert [(c["variant"], c["opponent"]) for c in found] == [("dm5x2", "dm10x1")] * 4
    assert {c["architecture"] for c in found} == {*NETWORKS, AVERAGE}
    for c in found:
        networks = NETWORKS if c["architecture"] == AVERAGE else (c["architecture"],)
        mean, half, n, over = interval_of(held, networks, several)
        assert (c["n"], c["over"]) == (n, over)
        assert c["difference"] == (None if mean is None else pytest.approx(mean, abs=1e-12))
        assert c["half"] == (None if half is None else pytest.approx(half, abs=1e-12))


def test_intervals_say_what_they_are_over():
    told = {}
    for name in WORLDS:
        found = comparisons(world(name), AGAINST_ONE).to_dicts()
        told[name] = next(c["over"] for c in found if c["architecture"] == AVERAGE)
    assert told["one seed"] == told["one seed of three"] == "9 pairs of students, one distillation seed"
    assert told["three seeds"] == "3 distillation seeds"
    assert told["three seeds against one"] == "3 distillation seeds against one"
    assert told["other seeds"] == "no pairs of students"


def opposed(rows, **question):
    found = comparisons(rows, Question(**question)).to_dicts()
    return {(c["variant"], c["kind"]): c["opponent"] for c in found}


def made(*rosters, **more):
    return [row(r, architecture="a", accuracy_last="0.5", distill_seed="0", seed="0", **more) for r in rosters]


def test_opponents_are_of_the_same_data_recipe_budget_and_method():
    rows = made("dm5x2", "dm10x1", "dm20x1", "idm5x2", "idm10x1", "random10x1", "mtt5x2")
    rows += made("dm10x1", "random10x1", recipe="idc") + made("random10x1", dataset="others")
    first = ("dm5x2", "dm10x1 dsa", "idm5x2", "idm10x1", "mtt5x2")
    assert opposed(rows, against={"noe": 1}) == {
        ("dm5x2", "against"): "dm10x1 dsa",
        ("idm5x2", "against"): "idm10x1",
        **dict.fromkeys(((v, "random") for v in first), "random10x1 dsa"),
        ("dm10x1 idc", "random"): "random10x1 idc",
    }
    assert {kind for _, kind in opposed(rows)} == {"random"}


def test_a_method_may_be_the_opponent_of_all_others():
    rows = made("dm10x2", "rded20x1", "random20x1", "rded10x1")
    found = opposed(rows, against={"method": "rded"})
    assert found == {
        ("dm10x2", "against"): "rded20x1",
        **dict.fromkeys([("dm10x2", "random"), ("rded20x1", "random")], "random20x1"),
    }
    assert opposed(rows, against={"method": "random"})["rded20x1", "against"] == "random20x1"
    assert ("rded20x1", "random") not in opposed(rows, against={"method": "random"})


@pytest.mark.parametrize("turned", [1, -1])
def test_of_several_opponents_the_one_most_alike_is_taken(turned):
    whole = made("dm5x2", fusion="cross_expert-alpha0.2")
    plain = made("dm5x2", diversity="none", fusion="none")
    single = made("dm10x1", fusion="none")
    found = opposed((whole + plain + single)[::turned], against={"diversity": "none", "fusion": "none"})
    assert found == {("dm5x2 paper", "against"): "dm5x2 none"}


def test_losing_cells_are_those_behind_sorted_from_the_worst():
    rows = students("losing", ("dm5x2", "dm10x1", "random10x1", "idm5x2", "idm10x1"))
    found = losing(rows, AGAINST_ONE).to_dicts()
    every = comparisons(rows, AGAINST_ONE).to_dicts()
    behind = [c for c in every if c["difference"] < 0 and c["architecture"] != AVERAGE]
    assert 0 < len(found) < len(every)
    assert found == sorted(behind, key=lambda c: c["difference"])


def test_an_average_lead_needs_pairs_on_every_architecture():
    rows = [r for r in world("one seed") if (r["roster"], r["architecture"]) != ("dm10x1", "vgg11")]
    found = {c["architecture"]: c for c in comparisons(rows, AGAINST_ONE).to_dicts()}
    assert found["vgg11"]["difference"] is None is found[AVERAGE]["difference"] and found["convnet3"]["n"] == 3


def test_leads_keep_the_names_of_cells_that_are_to_come():
    rows = world("one seed")
    expected = beforehand(rows)
    expected += [{**e, "recipe": "idc"} for e in expected]
    found = comparisons(rows, AGAINST_ONE, expected).to_dicts()
    given = comparisons(rows, AGAINST_ONE).to_dicts()
    assert [c["variant"] for c in found] == ["dm5x2 dsa"] * 4 + ["dm5x2 idc"] * 4
    assert [c["difference"] for c in found] == [c["difference"] for c in given] + [None] * 4


def test_a_lead_is_said_in_points():
    assert said({"difference": 0.0126, "half": 0.0093}) == "+1.3 ± 0.9"
    assert said({"difference": -0.0126, "half": None}) == "-1.3"
    assert said({"difference": None, "half": None}) == "–"
