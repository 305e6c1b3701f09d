"""Leads over opponents against a double loop over the students of both."""

import itertools
import math
import statistics

import pytest
from conftest_rows import NETWORKS, beforehand, row, students
from scipy.stats import t

from moe_distill.pipelines.comparisons import comparisons, leads_over_random, losing, said
from moe_distill.pipelines.question import Question
from moe_distill.pipelines.summary import AVERAGE

AGAINST_ONE = Question(against={"noe": 1})
ONE = {"architecture": "a", "accuracy_last": "0.5", "distill_seed": "0", "seed": "0"}
LADDER = (("none", "none"), ("paper", "none"), ("paper", "cross_expert"))
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
    if not seeds:
        return None, None, 0, "no pairs of students"
    if len(seeds) > 1:
        values = [statistics.mean(statistics.mean(held[n, d]) for n in networks) for d in seeds]
        half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        over = f"{len(seeds)} distillation seeds" + " against one" * (not several)
        return statistics.mean(values), half, len(seeds), over
    (seed,) = seeds
    n = sum(len(held[network, seed]) for network in networks)
    over = f"{n} pair{'s' * (n != 1)} of students, one distillation seed"
    mean = sum(sum(held[network, seed]) / len(held[network, seed]) for network in networks) / len(networks)
    return mean, welch([held[network, seed] for network in networks]), n, over


def welch(samples):
    """Return half of the interval of the mean of means: variances of means add up, Welch's degrees of freedom."""
    if min(map(len, samples)) < 2:
        return None
    variance, below = 0.0, 0.0
    for x in samples:
        mean = sum(x) / len(x)
        own = sum((v - mean) ** 2 for v in x) / (len(x) - 1) / len(x)
        variance += own
        below += own**2 / (len(x) - 1)
    return t.ppf(0.975, variance**2 / below) * variance**0.5 / len(samples)


@pytest.mark.parametrize("name", WORLDS)
def test_leads_are_those_of_a_double_loop(name):
    rows = world(name)
    found = [c for c in comparisons(rows, AGAINST_ONE).to_dicts() if c["kind"] == "noe=1"]
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
    return [row(r, **ONE, **more) for r in rosters]


def test_opponents_are_of_the_same_data_recipe_budget_and_method():
    rows = made("dm5x2", "dm10x1", "dm20x1", "idm5x2", "idm10x1", "random10x1", "mtt5x2")
    rows += made("dm10x1", "random10x1", recipe="idc") + made("random10x1", dataset="others")
    first = ("dm5x2", "dm10x1 dsa", "idm5x2", "idm10x1", "mtt5x2")
    assert opposed(rows, against={"noe": 1}) == {
        ("dm5x2", "noe=1"): "dm10x1 dsa",
        ("idm5x2", "noe=1"): "idm10x1",
        **dict.fromkeys(((v, "random") for v in first), "random10x1 dsa"),
        ("dm10x1 idc", "random"): "random10x1 idc",
    }
    assert {kind for _, kind in opposed(rows)} == {"random"}


def test_a_method_may_be_the_opponent_of_all_others():
    rows = made("dm10x2", "rded20x1", "random20x1", "rded10x1")
    found = opposed(rows, against={"method": "rded"})
    assert found == {
        ("dm10x2", "rded"): "rded20x1",
        **dict.fromkeys([("dm10x2", "random"), ("rded20x1", "random")], "random20x1"),
    }
    named = comparisons(rows, Question(against={"method": "random"})).to_dicts()
    assert [c["opponent"] for c in named if c["variant"] == "rded20x1"] == ["random20x1"] * 2


def test_variants_climb_a_ladder_of_opponents():
    """As Table 4 asks: the term over none, and both over each of these."""
    rows = [row(r, diversity=d, fusion=f, **ONE) for r, d, f in (("dm5x2", *step) for step in LADDER)]
    against = [{"diversity": "none", "fusion": "none"}, {"diversity": "paper", "fusion": "none"}]
    first, second = "diversity=none, fusion=none", "diversity=paper, fusion=none"
    assert opposed(rows, against=against) == {
        ("dm5x2 paper none", first): "dm5x2 none none",
        ("dm5x2 paper cross_expert", first): "dm5x2 none none",
        ("dm5x2 paper cross_expert", second): "dm5x2 paper none",
    }


@pytest.mark.parametrize("turned", [1, -1])
def test_of_opponents_that_no_column_tells_apart_the_one_of_equal_settings_is_taken(turned):
    """Two networks distil; each one's two experts are held against its own one."""
    made = [(r, m) for r in ("dm5x2", "dm10x1") for m in ("convnet3", "vgg11")]
    rows = [row(r, overrides=f"model={m},split={r}", set_fingerprint=f"{r}{m}", **ONE) for r, m in made]
    found = opposed(rows[::turned], against={"noe": 1})
    assert len(found) == 2
    assert all(("vgg11" in variant) == ("vgg11" in opponent) for (variant, _), opponent in found.items())


@pytest.mark.parametrize("turned", [1, -1])
def test_random_images_are_mixed_as_the_variant_is_or_not_at_all(turned):
    rows = [row("dm5x2", fusion=f, **ONE) for f in ("none", "vanilla", "cross_expert")]
    rows += [row("random10x1", fusion=f, **ONE) for f in ("vanilla", "none")]
    found = opposed(rows[::turned], against={"fusion": "none"})
    assert {v: o for (v, kind), o in found.items() if kind == "random"} == {
        "dm5x2 none": "random10x1 none",
        "dm5x2 vanilla": "random10x1 vanilla",
        "dm5x2 cross_expert": "random10x1 none",
    }


def test_random_images_of_each_student_are_paired_by_student():
    """A score gives every student random images of its own, whose distillation seed is the student's number."""
    own = students("own", ("dm10x1",))
    other = [{**r, "distill_seed": r["seed"]} for r in students("other", ("random10x1",))]
    (lead,) = [c for c in comparisons(own + other, Question()).to_dicts() if c["architecture"] == AVERAGE]
    assert lead["n"] == 9


def test_an_average_weighs_architectures_alike():
    own = [r for r in students("weights", ("dm5x2",)) if r["architecture"] == "vgg11" or r["seed"] == "0"]
    other = students("weights", ("dm10x1",))
    found = {c["architecture"]: c for c in comparisons(own + other, AGAINST_ONE).to_dicts()}
    assert found[AVERAGE]["difference"] == pytest.approx(statistics.mean(found[n]["difference"] for n in NETWORKS))
    assert found[AVERAGE]["n"] == 5 and found[AVERAGE]["half"] is None


def test_what_a_run_tells_of_random_images_is_what_the_table_tells():
    rows = students("run", ("dm5x2", "dm10x1", "random10x1", "dm10x2"), networks=("a", "b"))
    found = {n: (o, v.difference, v.half) for n, (o, v) in leads_over_random(rows).items()}
    table = [c for c in comparisons(rows, Question()).to_dicts() if c["architecture"] == AVERAGE]
    assert found == {c["variant"]: (c["opponent"], c["difference"], c["half"]) for c in table}
    assert set(found) == {"dm5x2", "dm10x1"}


@pytest.mark.parametrize("turned", [1, -1])
def test_of_several_opponents_the_one_most_alike_is_taken(turned):
    whole = made("dm5x2", fusion="cross_expert-alpha0.2")
    plain = made("dm5x2", diversity="none", fusion="none")
    single = made("dm10x1", fusion="none")
    found = opposed((whole + plain + single)[::turned], against={"diversity": "none", "fusion": "none"})
    assert found == {("dm5x2 paper", "diversity=none, fusion=none"): "dm5x2 none"}


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
