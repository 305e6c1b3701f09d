"""Whole sweeps of every experiment at smoke scale: exactly their cells; every swept value changes what it
should.

One of each shape runs every day; the others, which differ in what they sweep, are slow.
"""

import collections
import csv
import functools
import itertools
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import to_frame
from moe_distill.results.rows import COLUMNS
from moe_distill.results.settings import parse_settings
from moe_distill.run import run
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_sweep, sweep_rows

EXPERIMENTS = sorted(p.stem for p in (Path(conf_dir()) / "experiment").glob("*.yaml"))
# A single run; a roster of two methods; a regulariser; other data; real data alone. Other scores and other
# measures have tests of their own pipelines.
SHAPES = ("quickstart", "table2", "clom", "transfer_probe", "full_data")
FOUR = ("convnet3", "vgg11", "resnet18", "alexnet")
# What changes how a set is judged and not the set; everything else that is swept changes the set.
JUDGING = {"fusion", "mixup_alpha", "students", "recipe", "recipe.stages", "pipeline", "data@pipeline.onto"}
# Tables of pipelines that leave no results.csv.
TABLES = {"probe": "probe.csv", "score": "scores.csv", "measure": "measures.csv"}
ONE_STUDENT = ["seeds=1", "students=convnet3", "recipe.epochs=1"]
# Long enough for a term that is applied every 10 iterations, from the second time on.
ACTING = [*ONE_STUDENT, "shorten.dm.iterations=12", "shorten.idm.iterations=12", "method.real_batch=16"]
SHORT = {
    "table1": [],
    "quickstart": [
        "width=0.0625",
        "seeds=1",
        "shorten.idm.iterations=3",
        "recipe.epochs=2",
        "features.recipe.epochs=1",
    ],
    "repro_dm_crossarch": ["seeds=1", "recipe.epochs=1"],
    "modern": ["seeds=1", "recipe.epochs=1", "sweep.method=dm"],
    # The fourth iteration is the first that a balance changes: the second turn of VGG11.
    "model_pool": [*ONE_STUDENT, "shorten.tgdd.iterations=4"],
    # An epoch for each of the two stages.
    "sequence": ["seeds=1", "students=convnet3", "recipe.epochs=2"],
    "ablate_dcor": [*ONE_STUDENT, "shorten.dm.iterations=32", "method.real_batch=16"],
    **dict.fromkeys(("diversity", "dcor_vs_transfer", "dcor_across_archs", "metric_agreement"), ACTING),
    "ddranking": [*ONE_STUDENT, "method=dm", "pipeline.lrs=[0.01]"],
}
ROSTERS = {
    "table2": {"idm10+rded10", "rded20x1"},
    "clom": {"dm10x1", "random10x1"},
    "table1": {"idm5x2", "idm10x1", "dm5x2", "dm10x1", "random10x1"},
    "quickstart": {"idm5x2", "idm10x1", "random10x1"},
    "budget": {"dm5x2", "dm6+dm4", "dm7+dm3", "dm8+dm2", "dm9+dm1", "random10x1"},
    "noe": {"dm12x1", "dm6x2", "dm4x3", "dm3x4", "dm2x6", "dm1x12", "random12x1"},
    "model_pool": {
        *("tgdd10x1", "tgdd5-convnet+tgdd5-vgg11", "random10x1"),
        *("tgdd10-pool-norm-convnet-vgg11x1", "tgdd10-pool-none-convnet-vgg11x1"),
        "tgdd5-pool-norm-convnet-vgg11x2",
    },
    "coresets": {
        *("dm5x2", "random10x1", "herding10x1", "kcenter10x1", "kmeans10x1"),
        *("el2n10x1", "forgetting10x1", "aum10x1", "ccs10x1"),
    },
    "hetero_method": {
        *("idc5+idm5", "idc5x2", "idm5+mtt5", "idm5x2", "mtt5x2"),
        *(
            "random10x1",
            "random_tiled10x1",
            "random_tiled5+random5",
        ),  # of two IDC experts, and of IDC beside IDM
    },
}


@pytest.fixture(scope="module")
def sweeps(shared_suite):
    """Gives an experiment's sweep by its name, run once."""
    return functools.cache(functools.partial(run_sweep, shared_suite))


@pytest.fixture
def swept(request, sweeps):
    """One experiment's sweep: the suite, the sweep's folder, configurations and headlines of its jobs."""
    return sweeps(request.param)


def run_sweep(suite, name):
    """Run an experiment's sweep, job by job in this process."""
    given = [f"+experiment={name}", *SHORT.get(name, ONE_STUDENT)]
    sweep = suite.home / name
    sweep.mkdir()
    (sweep / "multirun.yaml").touch()
    cells = suite.cells(*given)
    jobs = [
        suite.compose(*given, f"paths.output={sweep}/job{i}", *cell, told(cell))
        for i, cell in enumerate(cells)
    ]
    return suite, sweep, jobs, [run(cfg) for cfg in jobs]


def table_of(name):
    """Return the table that the jobs of an experiment leave."""
    yaml = (Path(conf_dir()) / "experiment" / f"{name}.yaml").read_text()
    pipeline = re.search(r"override /pipeline: (\w+)", yaml)
    return TABLES.get(pipeline[1], "results.csv") if pipeline else "results.csv"


def over(*names):
    """Run a test over the sweeps of experiments."""
    cases = [name if name in SHAPES else pytest.param(name, marks=pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("swept", cases, indirect=True)


def told(cell):
    """Return the override that tells a job its own overrides, as Hydra does outside tests."""
    text = ",".join(sorted(cell)).replace("'", "")
    return f"runtime.overrides='{text}'"


def variant(plan):
    """Return what results call a plan's roster and its regulariser."""
    roster, term = (instantiate(plan.get(name), _convert_="all") for name in ("roster", "regulariser"))
    return str(roster), "none" if term is None else term.title


def is_full(cfg):
    return cfg.pipeline._target_.endswith(".Full")


def expected(jobs):
    """Return the cells that the jobs ask for: (roster, regulariser, recipe, architecture, seed)."""
    cells = set()
    for cfg in jobs:
        plans = [cfg.plan, *cfg.baselines.values()] if is_full(cfg) else []
        names = {variant(plan) for plan in plans} or {("full_dataset", "none")}
        recipe = "-".join(filter(None, (cfg.recipe.name, cfg.recipe.get("stages"))))
        cells |= {(*n, recipe, a, str(s)) for n in names for a in cfg.students for s in range(cfg.seeds)}
    return cells


def snapshot(folder):
    """Return the content of every artifact and the table, by path."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock"}


@over(*(name for name in EXPERIMENTS if table_of(name) != "results.csv"))
def test_each_job_of_another_pipeline_leaves_its_table(swept):
    _, sweep, jobs, _ = swept
    assert all((sweep / f"job{i}" / table_of(sweep.name)).is_file() for i in range(len(jobs)))


@over(*(name for name in EXPERIMENTS if table_of(name) == "results.csv"))
def test_the_merged_table_holds_exactly_the_experiments_cells(swept):
    suite, sweep, jobs, headlines = swept
    with (sweep / "results.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    rows = suite.rows(sweep)
    cells = [(r["roster"], r["regulariser"], r["recipe"], r["architecture"], r["seed"]) for r in rows]
    assert set(cells) == expected(jobs) and len({r["config_hash"] for r in rows}) == len(rows)
    if sweep.name in ROSTERS:
        assert {r["roster"] for r in rows} == ROSTERS[sweep.name]
    if sweep.name == "table1":
        assert {r["architecture"] for r in rows} == set(FOUR)
    assert {r["experiment"] for r in rows} == {sweep.name} and {r["dataset"] for r in rows} == {"digits"}
    assert all(0 <= float(r[c]) <= 1 for r in rows for c in ("accuracy_last", "accuracy_best"))
    assert all(0 <= h <= 1 for h in headlines)


@over(*EXPERIMENTS)
def test_every_swept_value_changes_the_set_or_how_it_is_judged(swept):
    suite, sweep, jobs, headlines = swept
    full = [i for i, cfg in enumerate(jobs) if is_full(cfg)]
    asked = {i: [r for r in suite.rows(sweep / f"job{i}") if r["overrides"]] for i in full}
    own = {i: rows for i, rows in asked.items() if rows}
    if not own:
        pytest.skip("a single run sets nothing apart, and other pipelines judge no set by students")
    swept_ = {i: parse_settings(rows[0]["overrides"]) for i, rows in own.items()}
    for i, rows in own.items():
        assert headlines[i] == pytest.approx(
            sum(float(r["accuracy_last"]) for r in rows) / len(rows), abs=1e-12
        )
    for a, b in itertools.combinations(swept_, 2):
        apart = {k for k in {*swept_[a], *swept_[b]} if swept_[a].get(k) != swept_[b].get(k)}
        sets = [{r["set_fingerprint"] for r in own[i]} for i in (a, b)]
        assert len(sets[0]) == len(sets[1]) == 1
        assert (sets[0] == sets[1]) == (apart <= JUDGING), (swept_[a], swept_[b])
        judged = [{r["config_hash"] for r in own[i]} for i in (a, b)]
        assert judged[0] != judged[1] and ("students" in apart or not judged[0] & judged[1]), (
            swept_[a],
            swept_[b],
        )


@over(
    *(name for name in EXPERIMENTS if name != "ddranking")
)  # which trains its students on other sets as well
def test_each_variant_has_one_set_of_its_own(swept):
    suite, sweep, _, _ = swept
    if not (sweep / "results.csv").is_file():
        pytest.skip("no job trains students")
    prints = collections.defaultdict(set)
    for row in suite.rows(sweep):
        asked = tuple(sorted((k, v) for k, v in parse_settings(row["overrides"]).items() if k not in JUDGING))
        prints[row["roster"], row["regulariser"], asked].add(row["set_fingerprint"])
    assert all(len(p) == 1 for p in prints.values()) and len(set.union(*prints.values())) == len(prints)


@over(*EXPERIMENTS)
def test_the_pages_need_nothing_beside_them(swept):
    suite, sweep, jobs, _ = swept
    question = instantiate(jobs[0].question, _convert_="all")
    Sweep("python", vars(question), tuple(cell_of(i, cfg, suite) for i, cfg in enumerate(jobs))).write(sweep)
    report_sweep(sweep, FinishedRows(Store(suite.store)))
    page = (sweep / "report.html").read_text()
    assert question.claim.split("'")[0] in page and page.count('class="badge done"') == len(jobs)
    for file in [sweep / "report.html", *sweep.glob("job*/report.html")]:
        text = file.read_text()
        needed = re.findall(
            r"""src\s*=\s*["'](?!data:)|url\((?!data:|#)|@import|<script[^>]+src|<link(?![^>]+data:)""", text
        )
        assert needed == []
        links = re.findall(r"""href\s*=\s*["'](?!#|data:)([^"']*)""", text)
        assert [link for link in links if not (file.parent / unquote(link)).is_file()] == []
    assert ("Do measures put the sets in one order?" in page) == (table_of(sweep.name) == "measures.csv")
    assert ("<h2>Scores</h2>" in page) == (sweep.name == "ddranking")
    assert ("<h2>Accuracy of a linear probe</h2>" in page) == (sweep.name == "transfer_probe")
    assert "<h2>Cost</h2>" in page
    assert ("data:image/png;base64," in page) == (sweep.name != "full_data")
    if sweep.name == "table1":
        assert "data:image/png;base64," in page and "(53.3)" not in page  # the paper has no digits


@over(*EXPERIMENTS)
def test_students_to_come_stand_where_they_will_when_they_are_trained(swept):
    """Whatever is known of a row beforehand, it is what the row says: no line stands twice, and none is left
    out."""
    suite, sweep, jobs, _ = swept
    question = instantiate(jobs[0].question, _convert_="all")
    cells = tuple(cell_of(i, cfg, suite) for i, cfg in enumerate(jobs))
    Sweep("python", vars(question), cells).write(sweep)
    rows = sweep_rows(sweep, FinishedRows(Store(suite.store)))
    assert all(r["accuracy_last"] for r in rows)
    asked = {row["config_hash"] for cell in cells for row in cell.expected_rows}
    if not asked:
        pytest.skip("no job trains students")
    assert asked <= {r["config_hash"] for r in suite.rows(sweep)}
    every = to_frame(rows, question)
    for kept in ([], rows[::2], rows[: len(rows) // 2]):
        left = [
            r if r in kept else {c: r[c] if c in cells[0].expected_rows[0] else None for c in r} for r in rows
        ]
        frame = to_frame(left, question)
        assert frame["accuracy"].null_count() == len(frame) - len(kept)
        assert len(frame) == len(every) and frame["variant"].n_unique() == every["variant"].n_unique()


def cell_of(number, cfg, suite):
    """Return a job as a cell of its sweep."""
    pipeline = instantiate(cfg.pipeline, _convert_="all")
    rows = pipeline.expected_rows(FinishedRows(Store(suite.store)), cfg.scale_name, cfg.runtime.overrides)
    return Cell(f"job{number}", f"job{number}", "python", tuple(rows))


@over("quickstart", "table1", "table2")
def test_a_second_run_finds_every_stage_finished_and_changes_nothing(swept):
    suite, sweep, jobs, headlines = swept
    before, table = snapshot(suite.store), (sweep / "results.csv").read_bytes()
    assert [run(cfg) for cfg in jobs] == headlines
    after = snapshot(suite.store)
    assert len(before) > 20 and after == before
    assert (sweep / "results.csv").read_bytes() == table
    assert suite.artifacts("set") and not list(suite.store.glob("work/*/*"))
