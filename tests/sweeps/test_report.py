"""What the page of a sweep is made of while some of its jobs have not run here."""

import json

from conftest_rows import awaiting, row, trained

from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import sweep_report, sweep_rows

SPENT = {"what": "", "found": True, "seconds": 1.0, "peak_memory_mb": 1.0, "steps": 1, "images": 1}


def test_a_row_that_a_job_left_is_not_taken_from_elsewhere_too(tmp_path):
    """A neighbour that never ran here has the same random images; what the store holds of them is less."""
    sweep, tables = tmp_path / "sweep", tmp_path / "tables" / "some"
    shared, other = (trained("random10x1", h, recipe_key=k, seed=h) for h, k in (("1", "abc"), ("2", "abc")))
    for folder, rows in ((sweep / "ran", [shared]), (tables, [{**shared, "recipe_key": ""}, other])):
        folder.mkdir(parents=True)
        write_csv(folder / "results.csv", rows, COLUMNS)
    cells = (Cell("a", "ran", "", awaiting("1", scale="small")), Cell("b", "idle", "", awaiting("1", "2")))
    Sweep("", {}, cells).write(sweep)
    rows = sweep_rows(sweep, FinishedRows(Store(tmp_path / "store"), tables.parent))
    assert [(r["config_hash"], r["recipe_key"]) for r in rows] == [("1", "abc"), ("2", "abc")]


def test_what_the_jobs_ran_on_is_told_of_all_of_them(tmp_path):
    facts = {
        "a": ("c1", "2026-01-02", "x86 CPU"),
        "b": ("c1", "2026-01-05", "H100"),
        "c": ("c2", "2026-01-03", "H100"),
    }
    for name, (commit, date, device) in facts.items():
        (tmp_path / name).mkdir()
        told = {
            "command": "",
            "costs": [],
            "sets": [],
            "facts": {"commit": commit, "date": date, "device": device},
        }
        (tmp_path / name / "stages.json").write_text(json.dumps(told))
    page = sweep_report(tmp_path, FinishedRows(Store(tmp_path / "store")))
    assert page.facts == {"commit": "c1; c2", "date": "2026-01-02 to 2026-01-05", "device": "H100; x86 CPU"}


def test_rows_of_another_scale_left_in_a_jobs_folder_do_not_stand_for_those_asked_for(tmp_path):
    sweep, tables = tmp_path / "sweep", tmp_path / "tables" / "some"
    earlier = trained("dm10x1", "0", scale="smoke")
    # Of a job that this sweep does not ask for.
    alone = trained("dm20x1", "3")
    asked = trained("dm10x1", "1")
    for folder, rows in ((sweep / "one", [earlier]), (sweep / "other", [alone]), (tables, [asked])):
        folder.mkdir(parents=True)
        write_csv(folder / "results.csv", rows, COLUMNS)
    results = FinishedRows(Store(tmp_path / "store"), tables.parent)
    Sweep("", {}, (Cell("a", "one", "", awaiting("1", scale="small")),)).write(sweep)
    assert {r["config_hash"] for r in sweep_rows(sweep, results)} == {"1", "3"}
    coming = {**row("dm5x2"), "config_hash": "2", "scale": "small", "accuracy_last": None}
    Sweep("", {}, (Cell("a", "one", "", (coming,)),)).write(sweep)  # whose row is nowhere yet
    is_trained = {r["config_hash"]: bool(r["accuracy_last"]) for r in sweep_rows(sweep, results)}
    assert is_trained == {"2": False, "3": True}


def test_jobs_of_another_scale_left_in_the_folder_have_no_part_in_the_page(tmp_path):
    """Neither in its costs nor in its tables; one that an earlier version ran did not tell its scale."""
    for name, scale in (("a", {"scale": "smoke"}), ("b", {"scale": "small"}), ("c", {})):
        (tmp_path / name).mkdir()
        told = {
            "command": "",
            "costs": [{**SPENT, "stage": name}],
            "sets": [],
            "facts": {"commit": name},
            **scale,
        }
        (tmp_path / name / "stages.json").write_text(json.dumps(told))
        (tmp_path / name / "measures.csv").write_text(f"measure,value,config_hash\n{name},1,{name}\n")
    for scales, kept in ((("small",), ["b", "c"]), ((), ["a", "b", "c"])):
        Sweep("", {}, (), scales).write(tmp_path)
        page = sweep_report(tmp_path, FinishedRows(Store(tmp_path / "store")))
        assert [cost.stage for cost in page.costs] == kept and page.facts == {"commit": "; ".join(kept)}
        assert [line["measure"] for line in page.tables["measures.csv"]] == kept


def test_a_row_made_elsewhere_is_told_as_the_cell_that_asks_for_it_would(tmp_path):
    (tmp_path / "tables" / "some").mkdir(parents=True)
    rows = [trained("dm5x2", k, overrides="x=1", scale="gpu") for k in ("own", "other")]
    write_csv(tmp_path / "tables" / "some" / "results.csv", rows, COLUMNS)
    asked = [{"overrides": o, "recipe_key": "abc", "scale": "small"} for o in ("split=5x2", "")]
    awaited = (*awaiting("own", **asked[0]), *awaiting("other", **asked[1]))
    Sweep("", {}, (Cell("split=5x2", "a", "", awaited),)).write(tmp_path / "sweep")
    found = sweep_rows(tmp_path / "sweep", FinishedRows(Store(tmp_path / "store"), tmp_path / "tables"))
    assert [{c: r[c] for c in asked[0]} for r in found] == asked
    assert [r["accuracy_last"] for r in found] == ["0.5", "0.5"]
