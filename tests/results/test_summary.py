"""Cells, averages and accuracies along an axis against plain loops over the rows."""

import math
import statistics

import pytest
from conftest_rows import NETWORKS, students, to_come
from scipy.stats import t

from moe_distill.errors import InputError
from moe_distill.reports.spent import Spent, spent
from moe_distill.results.aggregate import AVERAGE, accuracy_curve, aggregate
from moe_distill.results.question import Question, to_frame

WORLDS = {
    "whole": {},
    "several distillation seeds": {"distill_seeds": (0, 1, 4)},
    "lost students": {"lost": 0.4, "distill_seeds": (0, 1)},
    "diverged students": {"diverged": 0.4, "distill_seeds": (0, 1)},
    "both": {"lost": 0.2, "diverged": 0.2},
}


def aggregated(rows, question):
    return aggregate(to_frame(rows, question), question)


def curve(rows, question, by):
    return accuracy_curve(to_frame(rows, question), question, by)


def world(name):
    rosters = ("dm5x2", "dm10x1", "idm5x2", "random10x1")
    return students(name, rosters, **WORLDS[name]) + students(
        f"{name} more", rosters[:2], ("vgg11",), dataset="others"
    )


def held(rows, dataset, roster, network):
    own = [r for r in rows if (r["dataset"], r["roster"], r["architecture"]) == (dataset, roster, network)]
    return [float(r["accuracy_last"]) for r in own], {r["distill_seed"] for r in own}


@pytest.mark.parametrize("name", WORLDS)
def test_cells_are_what_a_loop_over_the_rows_counts(name):
    rows = world(name)
    found = aggregated(rows, Question()).to_dicts()
    for cell in (c for c in found if c["architecture"] != AVERAGE):
        values, seeds = held(rows, cell["dataset"], cell["variant"], cell["architecture"])
        finite = [v for v in values if not math.isnan(v)]
        assert (cell["students"], cell["diverged"]) == (len(values), len(values) - len(finite))
        assert cell["distillations"] == len(seeds) and cell["values"] == finite and cell["paper"] is None
        assert cell["mean"] == (pytest.approx(statistics.mean(finite), abs=1e-12) if finite else None)
        assert cell["sd"] == (pytest.approx(statistics.stdev(finite), abs=1e-12) if len(finite) > 1 else None)
    places = {(r["dataset"], r["roster"]) for r in rows}
    networks = {d: {r["architecture"] for r in rows if r["dataset"] == d} for d in ("toys", "others")}
    wanted = {(d, v, n) for d, v in places for n in (*networks[d], AVERAGE)}
    assert len(found) == len(wanted)
    assert {(c["dataset"], c["variant"], c["architecture"]) for c in found} == wanted


@pytest.mark.parametrize("name", WORLDS)
def test_averages_are_of_the_means_of_all_architectures_or_missing(name):
    rows = world(name)
    found = aggregated(rows, Question()).to_dicts()
    averages = [c for c in found if c["architecture"] == AVERAGE]
    seen = []
    for average in averages:
        networks = list(NETWORKS) if average["dataset"] == "toys" else ["vgg11"]
        values = [
            [v for v in held(rows, average["dataset"], average["variant"], n)[0] if v == v] for n in networks
        ]
        complete = all(values)
        seen.append(complete)
        wanted = statistics.mean(map(statistics.mean, values)) if complete else None
        assert average["mean"] == (pytest.approx(wanted, abs=1e-12) if complete else None)
        assert average["sd"] is None
    assert len(averages) == 6 and any(seen) and (name != "both" or not all(seen))


def test_cells_without_rows_stand_as_missing():
    rows = students("few", ("dm5x2",), ("convnet3",))
    asked = students("few", ("dm5x2", "dm10x1"), ("convnet3", "vgg11"), distill_seeds=(0, 1))
    there = {(r["roster"], r["architecture"], r["distill_seed"], r["seed"]) for r in rows}
    rows += to_come(
        r for r in asked if (r["roster"], r["architecture"], r["distill_seed"], r["seed"]) not in there
    )
    paper = [{"dataset": "toys", "ipc": "10", "architecture": "vgg11", "accuracy": "40"}]
    found = aggregated(rows, Question(paper=paper)).to_dicts()
    assert {c["planned"] for c in found} == {2} and max(c["distillations"] for c in found) == 1
    told = {(c["variant"], c["architecture"]): (c["students"], c["mean"] is None, c["paper"]) for c in found}
    assert told == {
        ("dm5x2", "convnet3"): (3, False, None),
        ("dm5x2", "vgg11"): (0, True, None),
        ("dm5x2", AVERAGE): (3, True, None),
        ("dm10x1", "convnet3"): (0, True, None),
        ("dm10x1", "vgg11"): (0, True, 0.4),
        ("dm10x1", AVERAGE): (0, True, None),
    }


def test_the_papers_number_stands_by_cells_whose_rows_all_meet_its_conditions():
    rows = students("mixed", ("dm5x2",), ("convnet3",), fusion="none")
    rows += students("unmixed", ("dm5x2",), ("convnet3",), fusion="vanilla", seeds=range(3, 6))
    paper = [{"fusion": "none", "architecture": "convnet3", "accuracy": "40"}]
    apart = aggregated(rows, Question(paper=paper)).to_dicts()
    told = {c["variant"]: c["paper"] for c in apart if c["architecture"] == AVERAGE}
    assert told == {"dm5x2 none": 0.4, "dm5x2 vanilla": None}
    together = aggregated(rows, Question(paper=paper, lines=["method"])).to_dicts()
    assert {c["paper"] for c in together} == {None}


def test_nothing_is_summed_up_to_nothing():
    assert aggregated([], Question()).is_empty()


def line_of(rows, x, networks, seeds):
    """Return what a loop finds: the replicates of one point."""
    own = {
        (r["architecture"], r["distill_seed"], r["seed"]): float(r["accuracy_last"])
        for r in rows
        if r["noe"] == x
    }
    own = {k: v for k, v in own.items() if v == v}
    means = []
    for d in seeds:
        by = [[v for (a, e, _), v in own.items() if (a, e) == (n, d)] for n in networks]
        if all(by):
            means.append((d, statistics.mean(map(statistics.mean, by))))
    if len(means) > 1:
        return [m for _, m in means], f"{len(means)} distillation seeds"
    values = []
    for d, _ in means:
        for s in "012":
            by = [own.get((n, d, s)) for n in networks]
            if None not in by:
                values.append(statistics.mean(by))
    return values, f"{len(values)} student{'s' * (len(values) != 1)}, one distillation seed"


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("by", ["variant", "architecture"])
def test_points_along_an_axis_are_means_of_seeds_or_students(name, by):
    rows = students(f"axis {name}", ("dm12x1", "dm6x2", "dm4x3"), **WORLDS[name])
    found = curve(rows, Question(axis="noe"), by).to_dicts()
    lines = {"dm": NETWORKS} if by == "variant" else {n: (n,) for n in NETWORKS}
    seen = 0
    for line, networks in lines.items():
        for x in "123":
            values, over = line_of(rows, x, networks, sorted({r["distill_seed"] for r in rows}))
            point = [p for p in found if (p["line"], p["x"]) == (line, float(x))]
            assert len(point) == bool(values)
            seen += bool(values)
            for p in point:
                assert (p["n"], p["over"]) == (len(values), over)
                assert p["mean"] == pytest.approx(statistics.mean(values), abs=1e-12)
                if len(values) > 1:
                    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
                    assert p["half"] == pytest.approx(half, abs=1e-12)
                else:
                    assert p["half"] is None
    assert len(found) == seen > 0
    assert [p["x"] for p in found if p["line"] == found[0]["line"]] == sorted(
        p["x"] for p in found if p["line"] == found[0]["line"]
    )


def test_sets_of_one_method_lie_on_one_line_along_what_they_cost():
    worlds = [("dm10x1", "0.5", 10.0, 0.0), ("dm10x1", "1", 20.0, 0.0), ("idm10x1", "1", 30.0, 5.0)]
    rows = []
    for roster, length, made, taught in worlds:
        for d in "01":
            costs = {"distill_seconds": str(made + int(d)), "teacher_seconds": str(taught)}
            where = {
                "peak_memory_mb": "9.5",
                "hardware": "CPU, AVX2, 2 threads",
                "overrides": f"length={length}",
                **costs,
            }
            rows += students(f"{roster} {length} {d}", (roster,), ("vgg11",), (d,), range(2), **where)
    question = Question(axis="core_seconds", lines=["method", "length"])
    points = curve(rows, question, "variant").to_dicts()
    # Two threads; the mean of both seeds' sets.
    assert [(p["line"], p["x"]) for p in points] == [("dm", 21.0), ("dm", 41.0), ("idm", 71.0)]
    assert all(p["over"] == "2 distillation seeds" for p in points)
    frame = to_frame(rows, question)
    first = [float(r["accuracy_last"]) for r in rows[:4]]
    assert spent(frame)[0] == Spent("dm 0.5", pytest.approx(statistics.mean(first)), 10.5, 0.0, 21.0, 9.5)
    unknown = to_frame([{**r, "teacher_seconds": ""} for r in rows], question)
    assert unknown["core_seconds"].null_count() == len(rows) and spent(unknown) == []
    on_gpu = to_frame([{**r, "hardware": "NVIDIA H200, sm_90"} for r in rows[:2]], question)
    assert on_gpu["core_seconds"].to_list() == [10.0, 10.0]


def test_lines_along_an_axis_are_named_by_what_the_question_names():
    rows = students("lines", ("dm12x1", "dm6x2", "random12x1"), ("vgg11",))
    rows += students("idc", ("dm12x1",), ("vgg11",), recipe="idc")
    named = curve(rows, Question(axis="noe"), "variant")["line"].unique(maintain_order=True).to_list()
    assert named == ["dm dsa", "random dsa", "dm idc"]
    by = curve(rows, Question(axis="noe", lines=["recipe", "noe", "method"]), "variant")
    assert by["line"].unique(maintain_order=True).to_list() == ["dsa dm", "dsa random", "idc dm"]
    several = curve(rows + students("ten", ("dm10x1", "dm5x2"), ("vgg11",)), Question(axis="noe"), "variant")
    assert several["line"].unique(maintain_order=True).to_list() == [
        f"{line} budget {n}"
        for line, n in (("dm dsa", 12), ("random dsa", 12), ("dm idc", 12), ("dm dsa", 10))
    ]
    budgets = curve(rows, Question(axis="budget", lines=["roster", "recipe"]), "variant")
    assert budgets["x"].unique().to_list() == [12.0]
    with pytest.raises(InputError, match=r"question\.lines"):
        curve(
            rows + students("w", ("dm12x1",), ("vgg11",), fusion="vanilla"), Question(axis="noe"), "variant"
        )
    for axis in (None, "recipe"):
        with pytest.raises(InputError, match="a column of numbers"):
            curve(rows, Question(axis=axis), "variant")
