"""What the page of a sweep is made of while some of its jobs have not run here."""

import json

from conftest_rows import row

from moe_distill.pipelines.cells import Cell, Sweep
from moe_distill.pipelines.report import gathered
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.rows import COLUMNS
from moe_distill.records import Store, write_csv


def test_a_row_that_a_job_left_is_not_taken_from_elsewhere_too(tmp_path):
    """A neighbour that never ran here has the same random images; what the store holds of them is less."""
    sweep, tables = tmp_path / "sweep", tmp_path / "tables" / "some"
    shared, other = (row("random10x1", config_hash=h, recipe_key=k, seed=h) for h, k in (("1", "abc"), ("2", "abc")))
    for folder, rows in ((sweep / "ran", [shared]), (tables, [{**shared, "recipe_key": ""}, other])):
        folder.mkdir(parents=True)
        write_csv(folder / "results.csv", rows, COLUMNS)
    Sweep("", {}, (Cell("a", "ran", "", ("1",)), Cell("b", "idle", "", ("1", "2")))).write(sweep)
    rows = gathered(sweep, Results(Store(tmp_path / "store"), tables.parent)).rows
    assert [(r["config_hash"], r["recipe_key"]) for r in rows] == [("1", "abc"), ("2", "abc")]


def test_what_the_jobs_ran_on_is_told_of_all_of_them(tmp_path):
    facts = {"a": ("c1", "2026-01-02", "x86 CPU"), "b": ("c1", "2026-01-05", "H100"), "c": ("c2", "2026-01-03", "H100")}
    for name, (commit, date, device) in facts.items():
        (tmp_path / name).mkdir()
        told = {"costs": [], "sets": [], "facts": {"commit": commit, "date": date, "device": device}}
        (tmp_path / name / "stages.json").write_text(json.dumps(told))
    page = gathered(tmp_path, Results(Store(tmp_path / "store")))
    assert page.facts == {"commit": "c1; c2", "date": "2026-01-02 to 2026-01-05", "device": "H100; x86 CPU"}


def test_rows_of_another_scale_left_in_a_jobs_folder_do_not_stand_for_those_asked_for(tmp_path):
    sweep, tables = tmp_path / "sweep", tmp_path / "tables" / "some"
    earlier = row("dm10x1", config_hash="0", scale="smoke")
    alone = row("dm20x1", config_hash="3", scale="small")  # of a job that this sweep does not ask for
    asked = row("dm10x1", config_hash="1", scale="small")
    for folder, rows in ((sweep / "one", [earlier]), (sweep / "other", [alone]), (tables, [asked])):
        folder.mkdir(parents=True)
        write_csv(folder / "results.csv", rows, COLUMNS)
    results = Results(Store(tmp_path / "store"), tables.parent)
    Sweep("", {}, (Cell("a", "one", "", ("1",)),)).write(sweep)
    assert {r["config_hash"] for r in gathered(sweep, results).rows} == {"1", "3"}
    Sweep("", {}, (Cell("a", "one", "", ("2",)),)).write(sweep)  # whose rows are nowhere yet
    assert {r["config_hash"] for r in gathered(sweep, results).rows} == {"0", "3"}
