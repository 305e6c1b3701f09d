"""Cells of a sweep: which rows they ask for, how far they are, and rows of committed tables in their
place."""

import json
import math
import shutil
from dataclasses import asdict

import pytest
from conftest_rows import awaiting, trained
from hydra.utils import instantiate

from moe_distill.config.schema import register
from moe_distill.results.attempts import attempt
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.results.stages import Stages
from moe_distill.store.identity import key
from moe_distill.store.store import Store, write_json
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.status import format_status

pytestmark = pytest.mark.slow

ONE = ("students=convnet3", "recipe.epochs=1", "method=dm", "baselines=random", "fusion=none")


def rows_to_come(suite, *given):
    cfg = suite.compose(*ONE, *given)
    pipeline = instantiate(cfg.pipeline, _convert_="all")
    return pipeline.expected_rows(FinishedRows(Store(suite.store)), cfg.scale_name, "")


def test_the_rows_that_a_cell_awaits_are_those_it_leaves(suite):
    coming = rows_to_come(suite, "seeds=2")
    suite(*ONE, "seeds=2")
    rows = suite.rows()
    assert len(coming) == len(rows) == 4
    for known, row in zip(coming, rows, strict=True):
        assert {c: str(v) for c, v in known.items()} == {c: row[c] for c in known}
    assert set(COLUMNS) - set(coming[0]) == {
        *(
            "experiment",
            "iterations",
            "dcor2_unbiased",
            "accuracy_last",
            "accuracy_best",
            "lr",
            "epochs",
            "steps",
        ),
        *("images_decoded", "distill_seconds", "teacher_seconds", "train_seconds"),
        *("peak_memory_mb", "device"),
        *("hardware", "set_fingerprint", "commit"),
    }
    one, two = ({r["config_hash"] for r in rows_to_come(suite, f"seeds={n}")} for n in (1, 2))
    assert one < two == {r["config_hash"] for r in rows}


@pytest.mark.parametrize("pipeline", ["evaluate", "upper_bound"])
def test_the_rows_that_judging_alone_leaves_are_awaited_too(suite, pipeline):
    suite(*ONE, "diversity=none", "pipeline=distill")
    given = (*ONE, "diversity=none", "seeds=2", f"pipeline={pipeline}")
    coming = rows_to_come(suite, *given[len(ONE) :])
    suite(*given)
    rows = suite.rows()
    assert len(coming) == len(rows) == 2
    for known, row in zip(coming, rows, strict=True):
        assert {c: str(v) for c, v in known.items()} == {c: row[c] for c in known}


def test_committed_rows_count_as_done_and_a_sweep_grows_seed_by_seed(suite):
    suite(*ONE, "seeds=1")
    before = suite.rows()
    tables = suite.home / "experiments" / "some"
    tables.mkdir(parents=True)
    shutil.copy(suite.out / "results.csv", tables)
    shutil.rmtree(suite.store)
    given = (f"paths.tables={tables.parent}", *ONE)
    headline = suite(*given, "seeds=1", "name=later")
    assert suite.artifacts() == []  # nothing was distilled or trained
    again = suite.rows()
    assert [{**r, "experiment": ""} for r in again] == [{**r, "experiment": ""} for r in before]
    assert {r["experiment"] for r in again} == {"later"}
    own = [float(r["accuracy_last"]) for r in again if r["method"] == "dm"]
    assert headline == pytest.approx(sum(own) / len(own), abs=1e-12)

    suite(*given, "seeds=2")
    grown = suite.rows()
    assert len(grown) == 4 and len(suite.artifacts("result")) == 2  # the second student of each alone
    kept = {r["config_hash"]: r["accuracy_last"] for r in before}
    assert kept.items() <= {r["config_hash"]: r["accuracy_last"] for r in grown}.items()
    suite("paths.tables=null", *ONE, "seeds=1")
    assert len(suite.artifacts("result")) == 4


def test_what_is_mirrored_of_committed_rows_is_what_was_when_they_were_made(suite, monkeypatch):
    told = {}

    def keep(_, values):
        told.update({**values, **told})  # the job's own set comes first; this also tracks the others

    monkeypatch.setattr("moe_distill.tracking.wandb_tracker.NoTracker.summary", keep)
    suite(*ONE, "seeds=1")
    made = {
        name: value for name, value in told.items() if not name.startswith("cost/")
    }  # nothing is spent again
    tables = suite.home / "experiments" / "some"
    tables.mkdir(parents=True)
    shutil.copy(suite.out / "results.csv", tables)
    shutil.rmtree(suite.store)
    told.clear()
    suite(f"paths.tables={tables.parent}", *ONE, "seeds=1")
    assert {name: told[name] for name in made} == pytest.approx(made)
    assert math.isfinite(told["dcor2_unbiased"]) and {"accuracy", "accuracy/convnet3"} < {*made}


@pytest.fixture
def results(tmp_path):
    """Nothing in the store; a table with the row ``done``."""
    (tmp_path / "tables" / "some").mkdir(parents=True)
    write_csv(tmp_path / "tables" / "some" / "results.csv", [trained("dm10x1", "done")], COLUMNS)
    return FinishedRows(Store(tmp_path / "store"), tmp_path / "tables")


def test_a_cell_is_done_when_its_rows_are_else_what_became_of_its_last_attempt(tmp_path, results):
    def state(*wanted):
        return Cell("a", "a", "", awaiting(*wanted)).state(tmp_path, results)

    assert [state("done"), state("done", "other"), state()] == ["done", "missing", "missing"]
    with pytest.raises(ValueError), attempt(tmp_path / "a", ""):
        raise ValueError("no")
    assert [state("done"), state("other"), state()] == ["done", "failed", "failed"]
    with attempt(tmp_path / "a", ""):
        assert [state("other"), state()] == ["running"] * 2
    # finished, but with other settings: its rows are not those asked for now
    assert [state("other"), state()] == ["missing", "done"]


def test_a_cell_costs_no_process_only_where_its_rows_and_its_page_are_there(tmp_path, results):
    committed, made = (
        Cell("a", "a", "", awaiting("done"), "w"),
        Cell("a", "a", "", awaiting(key("made")), "w"),
    )
    assert committed.is_complete(tmp_path, results) and not made.is_complete(tmp_path, results)
    results.store.obtain(
        "result", "made", lambda folder: write_json(folder / "row.json", {"accuracy_last": 0.5})
    )
    assert made.state(tmp_path, results) == "done" and not made.is_complete(tmp_path, results)  # no page
    with attempt(tmp_path / "a", "") as tried:
        tried.work = "w"
    assert not made.is_complete(tmp_path, results)
    write_json(tmp_path / "a" / "stages.json", asdict(Stages("", (), (), {})))
    assert not made.is_complete(tmp_path, results)  # no table
    for text, whole in (("<<<<<<<", False), (None, True)):
        write_csv(tmp_path / "a" / "results.csv", [trained("dm10x1", key("made"))], COLUMNS)
        if text is not None:
            (tmp_path / "a" / "results.csv").write_text(text)
        assert made.is_complete(tmp_path, results) is whole
    of_no_rows = (Cell("a", "a", "", (), *more) for more in (("w", True), ("w", False), ("v", True)))
    assert [cell.is_complete(tmp_path, results) for cell in of_no_rows] == [True, False, False]
    with attempt(tmp_path / "a", "") as tried:
        tried.work = "another scale"
    assert not made.is_complete(tmp_path, results)


def test_a_cell_without_rows_is_done_by_an_attempt_at_its_own_work(tmp_path, results):
    def states(*works):
        return [Cell("a", "a", "", (), work).state(tmp_path, results) for work in works]

    with attempt(tmp_path / "a", ""):
        pass
    assert states("x", None) == ["done", "done"]  # recorded before attempts told their work
    with attempt(tmp_path / "a", "") as tried:
        tried.work = "x"
    assert states("x", None, "y") == ["done", "done", "missing"]
    with pytest.raises(ValueError), attempt(tmp_path / "a", "") as tried:  # such as at another scale
        tried.work = "y"
        raise ValueError("no")
    assert states("x", None, "y") == ["done", "failed", "failed"]
    other, own = (Cell("a", "a", "", awaiting("other"), work) for work in ("x", "y"))
    assert [len(cell.attempts(tmp_path)) for cell in (other, own)] == [1, 1]
    assert [cell.state(tmp_path, results) for cell in (other, own)] == ["missing", "failed"]


def test_a_sweep_is_kept_in_its_folder_and_shown_with_what_went_wrong(tmp_path, results):
    other = Cell("x=2", "two", "run x=2", awaiting("other", overrides="", seed=0), work="abc")
    cells = (Cell("x=1", "one", "run x=1", awaiting("done")), other)
    sweep = Sweep("run -m x=1,2", {"claim": "x helps"}, cells)
    sweep.write(tmp_path / "sweep")
    assert Sweep.read(tmp_path / "sweep") == sweep and Sweep.read(tmp_path) is None
    with pytest.raises(ValueError), attempt(tmp_path / "sweep" / "two", "run x=2"):
        raise ValueError("the disk is full")
    text = format_status(sweep, tmp_path / "sweep", results, "about 5 min of work")
    assert "the disk is full" in text and "1 done, 1 failed" in text and text.endswith("about 5 min of work")
    (tmp_path / "sweep" / "three").mkdir()
    (tmp_path / "sweep" / "three" / "console.log").write_text("$ run x=3\nImportError: no torch\n")
    dead = Sweep("", {}, (Cell("x=3", "three", "run x=3", awaiting("other")),))
    text = format_status(dead, tmp_path / "sweep", results, "")
    assert "ImportError: no torch" in text and "1 failed" in text


def test_a_sweep_that_an_earlier_version_began_is_read_too(tmp_path, results):
    cell = {"name": "x=1", "folder": "one", "command": "run", "keys": ["done"], "work": "w", "shared": []}
    (tmp_path / "sweep.json").write_text(json.dumps({"command": "run -m", "question": {}, "cells": [cell]}))
    assert "1 missing" in format_status(Sweep.read(tmp_path), tmp_path, results, "")


@pytest.fixture
def tables(suite, monkeypatch):
    """The folder of the experiments, empty but for a folder."""
    place = suite.home / "experiments"
    (place / "some").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("moe_distill.config.schema.experiments_dir", lambda: str(place))
        register()
        yield place
    register()


def test_costs_images_and_dependence_are_asked_for_though_the_row_stands_in_a_table(suite, tables):
    """A row has none of them, so that a job whose rows stand there left nothing for the page of these
    experiments."""
    same = (*ONE, "seeds=1", "split=5x2", "model=convnet3", "diversity=paper", "regulariser=none")
    suite("+experiment=table4", *same)
    shutil.copy(suite.out / "results.csv", tables / "some")
    shutil.rmtree(suite.store)

    def state(experiment):
        paths = suite.compose(f"+experiment={experiment}", *same).paths
        coming = tuple(rows_to_come(suite, f"+experiment={experiment}", *same))
        return Cell("a", "a", "", coming).state(suite.home, FinishedRows(Store(paths.store), paths.tables))

    asked = ("table4", "cost", "cost_teachers", "viz_highres", "dcor_vs_transfer")
    assert [state(name) for name in asked] == ["done", *["missing"] * 4]
    spent = {}
    for name in asked[:2]:
        suite(f"+experiment={name}", *same)
        spent[name] = {c["stage"] for c in json.loads((suite.out / "stages.json").read_text())["costs"]}
    assert spent == {"table4": {"evaluate"}, "cost": {"pretrain", "distill", "evaluate"}}
