"""Leads over opponents against a double loop over the students of both."""

import collections
import itertools
import math
import statistics

import pytest
import torch
from conftest_rows import NETWORKS, row, students, to_come
from scipy.stats import t

from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.comparison import (
    compare,
    describe_replicates,
    format_difference,
    leads_over_random,
    losing,
)
from moe_distill.results.question import Question, to_frame
from moe_distill.seeding import stream

AGAINST_ONE = Question(against={"noe": 1})
WORLDS = {
    "one seed": ({}, {}),
    "three seeds": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": (0, 1, 2)}),
    "three seeds against one": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": (1,)}),
    "three seeds against another": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": (7,)}),
    "three seeds against a set of none": ({"distill_seeds": (0, 1, 2)}, {"distill_seeds": ("",)}),
    "a set of none against three": ({"distill_seeds": ("",)}, {"distill_seeds": (0, 1, 2)}),
    "one seed of three": ({"distill_seeds": (1,)}, {"distill_seeds": (0, 1, 2)}),
    "other seeds": ({"distill_seeds": (5, 6)}, {"distill_seeds": (0, 1)}),
    "lost": ({"distill_seeds": (0, 1, 2), "lost": 0.35}, {"distill_seeds": (0, 1, 2), "lost": 0.35}),
    "diverged": ({"distill_seeds": (0, 1), "diverged": 0.3}, {"distill_seeds": (0, 1), "diverged": 0.3}),
    "few": ({"lost": 0.5}, {"diverged": 0.5}),
}


def compared(rows, question):
    return compare(to_frame(rows, question), question)


def world(name):
    own, other = WORLDS[name]
    return students(f"{name} own", ("dm5x2",), **own) + students(f"{name} other", ("dm10x1",), **other)


def pairs_of(own, other):
    """Return differences by architecture and distillation seed, found by a double loop."""
    counts = collections.Counter(
        (side, r["architecture"], r["seed"]) for side in (0, 1) for r in (own, other)[side]
    )
    several = max(counts.values()) > 1
    held = {}
    for a, b in itertools.product(own, other):
        one_seed = a["distill_seed"] == b["distill_seed"] or "" in (a["distill_seed"], b["distill_seed"])
        if a["architecture"] == b["architecture"] and a["seed"] == b["seed"] and (one_seed or not several):
            difference = float(a["accuracy_last"]) - float(b["accuracy_last"])
            if not math.isnan(difference):
                seed = a["distill_seed"] or b["distill_seed"]
                held.setdefault((a["architecture"], seed), []).append(difference)
    return held


def interval_of(held, networks):
    """Return mean, half-width, count and words by the definition."""
    seeds = sorted({d for _, d in held})
    seeds = [d for d in seeds if all((n, d) in held for n in networks)]
    if not seeds:
        return None, None, 0, "no pairs of students"
    if len(seeds) > 1:
        values = [statistics.mean(statistics.mean(held[n, d]) for n in networks) for d in seeds]
        half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        return statistics.mean(values), half, len(seeds), f"{len(seeds)} distillation seeds"
    (seed,) = seeds
    n = sum(len(held[network, seed]) for network in networks)
    over = f"{n} pair{'s' * (n != 1)} of students, one distillation seed"
    mean = sum(sum(held[network, seed]) / len(held[network, seed]) for network in networks) / len(networks)
    return mean, welch([held[network, seed] for network in networks]), n, over


def welch(samples):
    """Return half of the interval of the mean of means: variances of means add up, Welch's degrees of
    freedom."""
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
    found = [c for c in compared(rows, AGAINST_ONE).to_dicts() if c["kind"] == "noe=1"]
    own, other = ([r for r in rows if r["roster"] == roster] for roster in ("dm5x2", "dm10x1"))
    held = pairs_of(own, other)
    assert [(c["variant"], c["opponent"]) for c in found] == [("dm5x2", "dm10x1")] * 4
    assert {c["architecture"] for c in found} == {*NETWORKS, AVERAGE}
    for c in found:
        networks = NETWORKS if c["architecture"] == AVERAGE else (c["architecture"],)
        mean, half, n, over = interval_of(held, networks)
        assert (c["n"], c["over"]) == (n, over)
        assert c["difference"] == (None if mean is None else pytest.approx(mean, abs=1e-12))
        assert c["half"] == (None if half is None else pytest.approx(half, abs=1e-12))


def test_intervals_say_what_they_are_over():
    told = {}
    for name in WORLDS:
        found = compared(world(name), AGAINST_ONE).to_dicts()
        told[name] = next(c["over"] for c in found if c["architecture"] == AVERAGE)
    of_one = ("one seed", "one seed of three", "three seeds against one")
    assert {told[name] for name in of_one} == {"9 pairs of students, one distillation seed"}
    of_all = ("three seeds", "three seeds against a set of none", "a set of none against three")
    assert {told[name] for name in of_all} == {"3 distillation seeds"}
    assert told["other seeds"] == told["three seeds against another"] == "no pairs of students"


def test_a_lead_of_several_seeds_over_one_set_has_an_interval_that_covers():
    """Paired with the one set of the opponent, whose own luck was in no interval, it covered 83 % in place of
    95 %."""
    rng, runs, rows = stream(0, "coverage"), 400, []
    for run in range(runs):
        luck = {(v, d): torch.randn((), generator=rng).item() for v in ("dm5x2", "dm10x1") for d in "012"}
        noise = torch.randn(2, 3, 3, generator=rng).tolist()
        for i, v in enumerate(("dm5x2", "dm10x1")):
            about = {"dataset": f"run {run}", "architecture": "a"}
            for s, d in itertools.product(range(3), "012"):
                of_set = {"distill_seed": d, "set_fingerprint": f"{v} {d}"}
                accuracy = str(luck[v, d] + noise[i][s][int(d)])
                rows.append(row(v, **about, **of_set, seed=str(s), accuracy_last=accuracy))
    leads = compared(rows, AGAINST_ONE).filter(kind="noe=1", architecture=AVERAGE)
    assert len(leads) == runs
    assert 0.92 < (leads["difference"].abs() <= leads["half"]).mean() < 0.98
    against_one_set = [
        r for r in rows if (r["roster"], r["distill_seed"]) not in (("dm10x1", "1"), ("dm10x1", "2"))
    ]
    assert set(compared(against_one_set, AGAINST_ONE)["n"]) == {3}


def test_random_images_of_each_student_are_paired_by_student():
    """A score gives every student random images of its own, whose distillation seed is the student's
    number."""
    own = students("own", ("dm10x1",))
    other = [{**r, "distill_seed": r["seed"]} for r in students("other", ("random10x1",))]
    (lead,) = [c for c in compared(own + other, Question()).to_dicts() if c["architecture"] == AVERAGE]
    assert lead["n"] == 9


def test_two_sets_of_different_distillation_seeds_are_no_pair():
    """As on the page of a sweep that lacks one seed of one side and another one of the other, as yet."""
    own, other = students("own", ("dm5x2",)), students("own", ("dm10x1",), distill_seeds=(1,))
    (lead,) = [c for c in compared(own + other, AGAINST_ONE).to_dicts() if c["architecture"] == AVERAGE]
    assert (lead["n"], lead["over"]) == (0, "no pairs of students")


def test_an_average_weighs_architectures_alike():
    own = [r for r in students("weights", ("dm5x2",)) if r["architecture"] == "vgg11" or r["seed"] == "0"]
    other = students("weights", ("dm10x1",))
    found = {c["architecture"]: c for c in compared(own + other, AGAINST_ONE).to_dicts()}
    assert found[AVERAGE]["difference"] == pytest.approx(
        statistics.mean(found[n]["difference"] for n in NETWORKS)
    )
    assert found[AVERAGE]["n"] == 5 and found[AVERAGE]["half"] is None


def test_what_a_run_tells_of_random_images_is_what_the_table_tells():
    rows = students(
        "run", ("dm5x2", "dm10x1", "random10x1", "random_tiled10x1", "dm10x2"), networks=("a", "b")
    )
    leads = leads_over_random(rows)
    found = {(n, k): (o, v.difference, v.half) for n, by in leads.items() for k, (o, v) in by.items()}
    table = [c for c in compared(rows, Question()).to_dicts() if c["architecture"] == AVERAGE]
    assert found == {(c["variant"], c["kind"]): (c["opponent"], c["difference"], c["half"]) for c in table}
    assert {n: [*by] for n, by in leads.items()} == {
        "dm5x2": ["random", "random_tiled"],
        "dm10x1": ["random", "random_tiled"],
        "random_tiled10x1": ["random"],
    }


def test_tiled_random_images_are_an_opponent_of_what_decodes_as_many():
    """Known once both were trained; a set that tiles nothing has plain random images alone."""
    rows = students("decoded", ("dm10x1", "idm10x1", "random10x1", "random_tiled10x1"))
    decoded = {"dm10x1": "100", "idm10x1": "400", "random10x1": "100", "random_tiled10x1": "400"}
    rows = [{**r, "images_decoded": decoded[r["roster"]]} for r in rows]
    kinds = {n: [*by] for n, by in leads_over_random(rows).items()}
    assert kinds == {
        "dm10x1": ["random"],
        "idm10x1": ["random", "random_tiled"],
        "random_tiled10x1": ["random"],
    }


def test_losing_cells_are_those_behind_sorted_from_the_worst():
    rows = students("losing", ("dm5x2", "dm10x1", "random10x1", "idm5x2", "idm10x1"))
    found = losing(to_frame(rows, AGAINST_ONE), AGAINST_ONE).to_dicts()
    every = compared(rows, AGAINST_ONE).to_dicts()
    behind = [c for c in every if c["difference"] < 0 and c["architecture"] != AVERAGE]
    assert 0 < len(found) < len(every)
    assert found == sorted(behind, key=lambda c: c["difference"])


def test_an_average_lead_needs_pairs_on_every_architecture():
    rows = [r for r in world("one seed") if (r["roster"], r["architecture"]) != ("dm10x1", "vgg11")]
    found = {c["architecture"]: c for c in compared(rows, AGAINST_ONE).to_dicts()}
    assert (
        found["vgg11"]["difference"] is None is found[AVERAGE]["difference"] and found["convnet3"]["n"] == 3
    )


def test_leads_keep_the_names_of_cells_that_are_to_come():
    rows = world("one seed")
    found = compared([*rows, *to_come({**r, "recipe": "idc"} for r in rows)], AGAINST_ONE).to_dicts()
    given = compared(rows, AGAINST_ONE).to_dicts()
    assert [c["variant"] for c in found] == ["dm5x2 dsa"] * 4 + ["dm5x2 idc"] * 4
    assert [c["difference"] for c in found] == [c["difference"] for c in given] + [None] * 4


def test_a_lead_is_said_in_points():
    assert format_difference(0.0126, 0.0093) == "+1.3 ± 0.9"
    assert format_difference(-0.0126, None) == "-1.3"
    assert format_difference(None, None) == "–"


def test_spans_of_distillation_seeds_are_told_once():
    one = "9 pairs of students, one distillation seed"
    assert (
        describe_replicates(["3 distillation seeds"]) == "3 distillation seeds"
        and describe_replicates([]) == ""
    )
    several = ["3 distillation seeds", one, "2 distillation seeds", one]
    assert describe_replicates(several) == f"2 to 3 distillation seeds or {one}"
