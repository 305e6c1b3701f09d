"""Tables in folders of runs, which nothing seals: what the store, or a committed table, holds goes before
them."""

import json
import shutil
from dataclasses import asdict

import pytest
from conftest_rows import awaiting, trained

from moe_distill.errors import InputError
from moe_distill.pipelines.finish import write_page
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import KIND, FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.results.run_tables import merged, rows_in
from moe_distill.results.stages import Stages
from moe_distill.store.identity import key
from moe_distill.store.store import Store, write_json
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_sweep, sweep_report, sweep_rows

STAGES = Stages("run", (), (), {})
KEYS = {name: key(name) for name in ("made", "committed", "alone")}


@pytest.fixture
def results(tmp_path):
    """A row in the store and one in a committed table."""
    store, tables = Store(tmp_path / "store"), tmp_path / "tables" / "some"
    store.obtain(
        KIND, "made", lambda folder: write_json(folder / "row.json", numbers(trained("dm10x1", "", "0.25")))
    )
    tables.mkdir(parents=True)
    write_csv(tables / "results.csv", [trained("dm10x1", KEYS["committed"], "0.25", seed="1")], COLUMNS)
    return FinishedRows(store, tables.parent)


def numbers(row):
    return {c: json.loads(v) if v[:1].isdigit() and c != "ipc" else v for c, v in row.items()}


@pytest.fixture
def sweep(tmp_path):
    """A sweep whose only job left a table in which every accuracy was edited."""
    folder = tmp_path / "sweep"
    (folder / "job").mkdir(parents=True)
    edited = [
        trained("dm10x1", k, "0.9983", seed=str(i), experiment="own", lr="7.5")
        for i, k in enumerate(KEYS.values())
    ]
    write_csv(folder / "job" / "results.csv", edited, COLUMNS)
    write_json(folder / "job" / "stages.json", asdict(STAGES))
    Sweep("run -m", {}, (Cell("a", "job", "run", awaiting(*KEYS.values(), scale="small")),)).write(folder)
    return folder


READERS = {
    "a table": lambda sweep, results: texts_of(rows_in([sweep / "job" / "results.csv"], results)),
    "the sweep's table": lambda sweep, results: texts_of(merged(sweep, results=results)),
    "the sweep's page": lambda sweep, results: sweep_rows(sweep, results),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_edited_table_of_a_run_does_not_stand_for_rows_that_are_done(sweep, results, read):
    found = {row["config_hash"]: row for row in read(sweep, results)}
    reached = {name: (found[k]["accuracy_last"], found[k]["lr"]) for name, k in KEYS.items()}
    # What is nowhere else is taken as it stands.
    assert reached == {"made": ("0.25", "0.01"), "committed": ("0.25", "0.01"), "alone": ("0.9983", "7.5")}
    assert {row["experiment"] for row in found.values()} == {"own"}  # which is the run's own to tell


def test_the_pages_and_tables_of_a_sweep_show_what_is_done(sweep, results):
    report_sweep(sweep, results)
    assert (sweep / "results.csv").read_text().count(
        "0.9983"
    ) == 2  # both columns of the one that is nowhere else
    for page in (sweep / "table.md", write_page(sweep / "job", STAGES, results)):
        assert "49.9 ± " in page.read_text()  # of 25, 25 and 99.83


def test_a_row_tells_the_student_that_its_key_stands_for(sweep, results):
    """Whatever a table says of it: that of a run is put right, a committed one refused."""
    asked = awaiting(KEYS["alone"], seed=7, architecture="vgg11")
    Sweep("", {}, (Cell("a", "job", "run", asked),)).write(sweep)
    told = {row["config_hash"]: (row["seed"], row["architecture"]) for row in sweep_rows(sweep, results)}
    assert told[KEYS["alone"]] == ("7", "vgg11")
    assert results.row(KEYS["committed"], seed=1, architecture="convnet3")["seed"] == 1
    row = f"seed 0 in the row {KEYS['committed'][:8]}, as its key says; it has 1"
    said = f"^paths.tables={results.tables}: {row}$"
    with pytest.raises(InputError, match=said):
        results.row(KEYS["committed"], seed=0)
    shutil.rmtree(sweep / "job")
    Sweep("", {}, (Cell("a", "job", "run", awaiting(KEYS["committed"], seed=0)),)).write(sweep)
    with pytest.raises(InputError, match=said):
        sweep_report(sweep, results)
