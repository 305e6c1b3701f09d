"""Pages of committed rows, where neither the data nor any set is on the machine."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.store.store import Store
from moe_distill.sweeps.report import committed_sweep, report_sweep

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


@pytest.fixture
def committed():
    with (EXPERIMENTS / "table1" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_committed_row_is_of_one_cell_and_baselines_are_told_once(committed):
    table = EXPERIMENTS / "table1" / "results.csv"
    sweep = committed_sweep(table, "run", Question(against={"noe": 1}), "small")
    keys = [key for cell in sweep.cells for key in cell.keys]
    assert sorted(keys) == sorted(row["config_hash"] for row in committed)
    assert {cell.name for cell in sweep.cells} == {row["overrides"] for row in committed} - {""}
    assert committed_sweep(table, "run", Question(), "paper") is None
    assert committed_sweep(EXPERIMENTS / "none" / "results.csv", "run", Question(), "small") is None


def test_the_page_of_committed_rows_shows_all_of_them(committed, tmp_path):
    table = EXPERIMENTS / "table1" / "results.csv"
    committed_sweep(table, "run", Question(against={"noe": 1}), "small").write(tmp_path)
    report_sweep(tmp_path, FinishedRows(Store(tmp_path / "store"), EXPERIMENTS))
    page = (tmp_path / "report.html").read_text()
    cells = len({row["overrides"] for row in committed} - {""})
    assert f"<b>{cells} of {cells}</b><span>cells done" in page and page.count('class="badge done"') == cells
    assert {row["roster"] for row in committed} <= set(re.findall(r"</i>(\w+\d+x\d+)", page))
    links = re.findall(r'<a href="\./([^"]*)"', page)
    assert links == ["table.md", "table.tex", "table.html"] and all(
        (tmp_path / name).is_file() for name in links
    )


def test_the_command_line_shows_committed_rows_where_the_data_are_not_there(tmp_path):
    command = [
        sys.executable,
        "-m",
        "moe_distill.run",
        "-m",
        "+experiment=table1",
        "scale=small",
        "pipeline=report",
    ]
    env = {name: value for name, value in os.environ.items() if name != "MOE_DISTILL_HOME"}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "moe_distill" / "sweeps")))
    (tmp_path / "none").mkdir()
    command.append(f"data.root={tmp_path}/none")
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=True
    )
    assert f"the page is of the committed rows, as data.root={tmp_path}/none holds no data" in done.stdout
    page = (tmp_path / "runs" / "table1" / "report.html").read_text()
    assert "<b>396</b><span>students" in page and "(53.3)" in page  # the paper's too
