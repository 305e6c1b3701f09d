"""Whole sweeps of every experiment at smoke scale: their tables, pages, and a second run that does nothing."""

import collections
import csv
import re
from pathlib import Path

import pytest
from hydra.utils import instantiate

from moe_distill.config import conf_dir
from moe_distill.pipelines.rows import COLUMNS

EXPERIMENTS = sorted(p.stem for p in (Path(conf_dir()) / "experiment").glob("*.yaml"))
FOUR = ("convnet3", "vgg11", "resnet18", "alexnet")

# Quickstart brings sizes of its own, which the scale leaves alone.
SHORT = {
    "quickstart": [
        "width=0.0625",
        "seeds=1",
        "shorten.idm.iterations=3",
        "recipe.epochs=2",
        "features.recipe.epochs=1",
    ],
    "budget": ["seeds=1"],
    "table2": ["seeds=1"],
    "noe": ["seeds=1"],
}
ROSTERS = {
    "table2": {"idm10+rded10", "rded20x1"},
    "clom": {"dm10x1", "random10x1"},
    "table1": {"idm5x2", "idm10x1", "dm5x2", "dm10x1", "random10x1"},
    "quickstart": {"idm5x2", "idm10x1", "random10x1"},
    "budget": {"dm5x2", "dm6+dm4", "dm7+dm3", "dm8+dm2", "dm9+dm1", "random10x1"},
    "noe": {"dm12x1", "dm6x2", "dm4x3", "dm3x4", "dm2x6", "dm1x12", "random12x1"},
}


@pytest.fixture(scope="module", params=EXPERIMENTS)
def swept(request, shared_suite):
    """One experiment's sweep, run job by job in this process: the suite, the sweep's folder and its jobs."""
    name = request.param
    given = [f"+experiment={name}", *SHORT.get(name, [])]
    sweep = shared_suite.home / name
    sweep.mkdir()
    (sweep / "multirun.yaml").touch()
    jobs = [[*given, f"paths.output={sweep}/job{i}", *cell] for i, cell in enumerate(shared_suite.cells(*given))]
    headlines = [shared_suite(*job) for job in jobs]
    return shared_suite, sweep, jobs, headlines


def variant(plan):
    """Return what results call a plan's roster and its regulariser."""
    roster, term = (instantiate(plan.get(name), _convert_="all") for name in ("roster", "regulariser"))
    return str(roster), "none" if term is None else term.title


def expected(suite, jobs):
    """Return the cells that the jobs ask for: (roster, regulariser, recipe, architecture, seed)."""
    cells = set()
    for job in jobs:
        cfg = suite.compose(*job)
        names = {variant(plan) for plan in (cfg.plan, *cfg.baselines.values())}
        cells |= {(*n, cfg.recipe.name, a, str(s)) for n in names for a in cfg.students for s in range(cfg.seeds)}
    return cells


def snapshot(folder):
    """Return the content of every artifact and the table, by path."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock"}


def test_the_merged_table_holds_exactly_the_experiments_cells(swept):
    suite, sweep, jobs, headlines = swept
    with (sweep / "results.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    rows = suite.rows(sweep)
    cells = [(r["roster"], r["regulariser"], r["recipe"], r["architecture"], r["seed"]) for r in rows]
    assert len(cells) == len(set(cells)) and set(cells) == expected(suite, jobs)
    if sweep.name in ROSTERS:
        assert {r["roster"] for r in rows} == ROSTERS[sweep.name]
        assert {r["architecture"] for r in rows} == set(FOUR)
    assert {r["experiment"] for r in rows} == {sweep.name} and {r["dataset"] for r in rows} == {"digits"}
    assert all(0 <= float(r[c]) <= 1 for r in rows for c in ("accuracy_last", "accuracy_best"))
    assert all(0 <= h <= 1 for h in headlines)


def test_the_headline_is_the_mean_over_the_students_of_the_cell_itself(swept):
    suite, sweep, jobs, headlines = swept
    for i, (job, headline) in enumerate(zip(jobs, headlines, strict=True)):
        asked = str(instantiate(suite.compose(*job).plan.roster, _convert_="all"))
        own = [float(r["accuracy_last"]) for r in suite.rows(sweep / f"job{i}") if r["roster"] == asked]
        assert headline == pytest.approx(sum(own) / len(own), abs=1e-12)


def test_each_roster_has_one_set_of_its_own(swept):
    suite, sweep, _, _ = swept
    prints = collections.defaultdict(set)
    for row in suite.rows(sweep):
        prints[row["roster"], row["regulariser"]].add(row["set_fingerprint"])
    assert all(len(p) == 1 for p in prints.values()) and len(set.union(*prints.values())) == len(prints)


def test_the_page_needs_nothing_beside_it(swept):
    _, sweep, jobs, _ = swept
    for i in range(len(jobs)):
        page = (sweep / f"job{i}" / "report.html").read_text()
        assert "data:image/png;base64," in page
        outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)|url\((?!data:|#)|@import|<script[^>]+src""", page)
        assert outside == []


def test_a_second_run_finds_every_stage_finished_and_changes_nothing(swept):
    suite, sweep, jobs, headlines = swept
    before, table = snapshot(suite.store), (sweep / "results.csv").read_bytes()
    assert [suite(*job) for job in jobs] == headlines
    after = snapshot(suite.store)
    assert len(before) > 20 and after == before
    assert (sweep / "results.csv").read_bytes() == table
    assert suite.artifacts("set") and not list(suite.store.glob("work/*/*"))
