"""JSON files in folders of runs that are not what was written: named in one line, set aside, and as good as
missing."""

import json
import os
import platform
import time
from types import SimpleNamespace

import pytest
from conftest_rows import trained
from omegaconf import OmegaConf

from moe_distill.errors import InputError
from moe_distill.results.attempts import FILE as ATTEMPTS
from moe_distill.results.attempts import attempt, attempts_of, state_of
from moe_distill.results.known_rows import KIND, FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.results.stages import FILE, StageCost, Stages, stages_of
from moe_distill.store.identity import key
from moe_distill.store.store import Store, write_json
from moe_distill.sweeps.jobs import FILE as SWEEP
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_folder, sweep_report
from moe_distill.sweeps.status import status_of_folder

SPENT = {
    "stage": "evaluate",
    "what": "x",
    "found": False,
    "seconds": 1.5,
    "peak_memory_mb": 9,
    "steps": 3,
    "images": 4,
}
TOLD = {
    "command": "run",
    "costs": [SPENT],
    "sets": [["x", "/gone"]],
    "facts": {"commit": "c"},
    "scale": "smoke",
}
NO_JSON = ("", "{", "[]", "null", "7", "\x00" * 9, "[" * 100_000)
NO_STAGES = (
    *(
        json.dumps({k: v for k, v in TOLD.items() if k != left})
        for left in ("command", "costs", "sets", "facts")
    ),
    *(
        json.dumps(TOLD | {"costs": [SPENT | more]})
        for more in ({"seconds": "long"}, {"steps": -1}, {"found": "yes"})
    ),
    *(
        json.dumps(TOLD | more)
        for more in ({"sets": [["x"]]}, {"facts": {"date": 7}}, {"scale": 1}, {"costs": {}})
    ),
    json.dumps(TOLD | {"costs": [SPENT | {"seconds": float("nan")}]}),
)
CELL = {
    "name": "x=1",
    "folder": "job",
    "command": "run x=1",
    "expected_rows": [{"config_hash": key("x")}],
    "work": "w",
}
ASKED = {"command": "run -m", "question": {}, "cells": [CELL], "scales": ["smoke"]}
NO_SWEEP = (
    *(json.dumps({k: v for k, v in ASKED.items() if k != left}) for left in ("command", "question", "cells")),
    *(
        json.dumps(ASKED | {"cells": [CELL | more]})
        for more in ({"name": 1}, {"expected_rows": [{}]}, {"idle": "no"})
    ),
    json.dumps(ASKED | {"cells": ["x=1"]}),
)


def as_damaged(capsys, folder, name, text):
    """Look that a file was set aside, and that a line said so."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged: ")]
    assert line.startswith(f"damaged: {folder / name}: ") and line.endswith(
        f"; set aside as {name}.damaged-1"
    )
    assert not (folder / name).exists() and (folder / f"{name}.damaged-1").read_text() == text


@pytest.fixture
def sweep(tmp_path):
    """A sweep whose only job is done."""
    store, folder = Store(tmp_path / "store"), tmp_path / "sweep"
    store.obtain(KIND, "x", lambda made: write_json(made / "row.json", {"accuracy_last": 0.5}))
    with attempt(folder / "job", "run x=1") as tried:
        tried.work = "w"
    (folder / "multirun.yaml").touch()
    write_json(folder / SWEEP, ASKED)
    write_json(folder / "job" / FILE, TOLD)
    write_csv(folder / "job" / "results.csv", [trained("dm10x1", key("x"))], COLUMNS)
    cfg = OmegaConf.create(
        {"name": "x", "paths": {"output": str(folder), "store": str(store.root), "tables": None}}
    )
    return SimpleNamespace(output=folder, results=FinishedRows(store), cfg=cfg)


def test_what_was_written_is_read(sweep):
    assert stages_of(sweep.output / "job") == Stages(
        "run", (StageCost(**SPENT),), (("x", "/gone"),), {"commit": "c"}, "smoke"
    )
    assert str(stages_of(sweep.output / "job").costs[0].steps) == "3"  # a page built again is the same
    read = Sweep.read(sweep.output)
    assert read == Sweep(
        "run -m", {}, (Cell(**CELL | {"expected_rows": tuple(CELL["expected_rows"])}),), ("smoke",)
    )
    assert stages_of(sweep.output) is None and Sweep.read(sweep.output / "job") is None


@pytest.mark.parametrize("text", (*NO_JSON, *NO_STAGES))
def test_damaged_stages_are_missing_ones(sweep, capsys, text):
    (sweep.output / "job" / FILE).write_text(text)
    assert stages_of(sweep.output / "job") is None
    as_damaged(capsys, sweep.output / "job", FILE, text)


@pytest.mark.parametrize("text", (*NO_JSON, *NO_SWEEP))
def test_a_damaged_sweep_was_never_begun(sweep, capsys, text):
    (sweep.output / SWEEP).write_text(text)
    with pytest.raises(InputError, match="an experiment run before"):
        status_of_folder(sweep.cfg)
    as_damaged(capsys, sweep.output, SWEEP, text)


def test_a_job_whose_stages_are_damaged_is_run_again(sweep, capsys):
    (cell,) = Sweep.read(sweep.output).cells
    assert cell.is_complete(sweep.output, sweep.results)
    (sweep.output / "job" / FILE).write_text("[]")
    assert not cell.is_complete(sweep.output, sweep.results)
    as_damaged(capsys, sweep.output / "job", FILE, "[]")


def test_a_sweeps_page_leaves_out_what_is_damaged(sweep, capsys):
    (sweep.output / "job" / FILE).write_text("[]")
    assert sweep_report(sweep.output, sweep.results).costs == []
    as_damaged(capsys, sweep.output / "job", FILE, "[]")


def test_no_report_is_made_of_damaged_stages_alone(sweep, capsys):
    (sweep.output / "job" / FILE).write_text('{"command": "ru')
    with pytest.raises(InputError, match=f"holds no {FILE}"):
        report_folder(sweep.cfg)
    as_damaged(capsys, sweep.output / "job", FILE, '{"command": "ru')


@pytest.mark.parametrize("host", [["x"], {}, 7, None])
def test_an_attempt_on_no_machine_is_none(sweep, host):
    listed = json.loads((sweep.output / "job" / ATTEMPTS).read_text())
    (sweep.output / "job" / ATTEMPTS).write_text(json.dumps([listed[0] | {"host": host}]))
    assert attempts_of(sweep.output / "job") == [] and state_of(sweep.output / "job") == "missing"


@pytest.mark.parametrize(("ahead", "state"), [(5, "running"), (100_000, "killed")])
def test_a_record_from_the_future_is_no_sign_of_life(sweep, ahead, state):
    """But for the seconds by which the clocks of two machines differ."""
    file = sweep.output / "job" / ATTEMPTS
    other = {"host": platform.node() + "-other", "outcome": None, "ended": None}
    file.write_text(json.dumps([json.loads(file.read_text())[0] | other]))
    os.utime(file, (time.time() + ahead,) * 2)
    assert state_of(sweep.output / "job") == state


@pytest.mark.parametrize("put", [os.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_no_file_is_damage_and_nobody_waits_for_it(tmp_path, capsys, put):
    for name in (FILE, ATTEMPTS):
        put(tmp_path / name)
    assert stages_of(tmp_path) is None and attempts_of(tmp_path) == []
    assert f"damaged: {tmp_path / FILE}: " in capsys.readouterr().out and not (tmp_path / FILE).exists()
