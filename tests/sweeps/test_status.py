"""How far a sweep is, as text."""

import contextlib
import json
import time

import pytest
from conftest_rows import awaiting
from omegaconf import OmegaConf

from moe_distill.results.attempts import FILE, attempt
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.status import format_status, last_lines, status_of_folder


@pytest.fixture
def results(tmp_path):
    """Nothing is done."""
    return FinishedRows(Store(tmp_path / "store"))


def test_a_running_cells_time_is_that_of_its_attempts_and_not_since_one_that_was_killed(tmp_path, results):
    sweep = Sweep("", {}, (Cell("x=1", "one", "", awaiting("other")),))
    with attempt(tmp_path / "one", ""):
        pass
    told = json.loads((tmp_path / "one" / FILE).read_text())
    killed = {**told[0], "began": time.time() - 36000, "ended": None, "outcome": None}
    with attempt(tmp_path / "one", ""):
        (now,) = json.loads((tmp_path / "one" / FILE).read_text())[1:]
        now["began"] -= 240
        (tmp_path / "one" / FILE).write_text(json.dumps([killed, now]))
        assert " 4 min" in format_status(sweep, tmp_path, results, "") and "1 running" in format_status(
            sweep, tmp_path, results, ""
        )


@pytest.mark.parametrize("said", ["[rank0]: no memory", "[/data/x] is gone", "[bold]a", "a\\"])
def test_what_a_job_is_called_and_said_is_no_markup(tmp_path, results, said):
    with pytest.raises(ValueError), attempt(tmp_path / "one", ""):
        raise ValueError(said)
    sweep = Sweep("", {}, (Cell("experts.ipcs=[7,3]", "one", "", awaiting("other")),))
    text = format_status(sweep, tmp_path, results, "")
    assert f" {said} " in text and "experts.ipcs=[7,3]" in text


def test_a_run_of_its_own_is_done_once_its_attempt_has_finished(tmp_path):
    paths = {"output": tmp_path / "one", "store": tmp_path / "store", "tables": None}
    cfg = OmegaConf.create({"name": "one", "paths": {k: v and str(v) for k, v in paths.items()}})
    for fails, said in ((True, "the sweep's own overrides"), (False, "nothing is left to do")):
        with contextlib.suppress(ValueError), attempt(tmp_path / "one", "run"):
            if fails:
                raise ValueError("no")
        assert status_of_folder(cfg).endswith(said)


def test_the_last_lines_of_a_log_show_a_bar_as_it_was_left(tmp_path):
    assert last_lines(tmp_path) == ""
    (tmp_path / "console.log").write_bytes(
        b"$ run\n" + b"x" * 99999 + b"\nsaid\nbar 1%\rbar 2%\rbar 3%\r  \n"
    )
    assert last_lines(tmp_path, most=2) == "said\nbar 3%"
