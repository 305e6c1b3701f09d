"""A sweep that goes wrong and is finished by the same command, run the way a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import moe_distill
from moe_distill.results.attempts import FILE, attempts_of
from moe_distill.sweeps.jobs import Sweep

pytestmark = pytest.mark.slow

ROOT = Path(moe_distill.__file__).parents[1]
# The suite, but its second cell fails and its third is killed until someone mends it.
APP = """
import os, signal, sys
import moe_distill.pipelines.distill as module
from moe_distill.run import main
inner = module.distill

def distill(plan, runtime):
    if not os.path.exists(os.environ["MENDED"]) and "diversity=paper" in sys.argv:
        if "fusion=none" in sys.argv:
            raise RuntimeError("a planted failure")
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(plan, runtime)

module.distill = distill
if __name__ == "__main__":
    main()
"""
TINY = (
    "scale=smoke",
    "students=convnet3",
    "seeds=1",
    "recipe.epochs=1",
    "logger=none",
    "threads=1",
    "method=dm",
)


def sweep(home, *given):
    path = os.pathsep.join([str(home), str(ROOT), str(ROOT / "moe_distill" / "sweeps")])
    env = {k: v for k, v in os.environ.items() if k != "MOE_DISTILL_HOME"}
    env |= {"PYTHONPATH": path, "MENDED": str(home / "mended"), "COLUMNS": "200"}
    arguments = [sys.executable, "-m", "app", "+experiment=table4", *TINY, *given]
    return subprocess.run(arguments, cwd=home, env=env, capture_output=True, text=True, timeout=900)


def artifacts(home):
    return {p: p.stat().st_mtime_ns for p in (home / "runs" / "store").glob("*/*/manifest.json")}


def test_the_same_command_finishes_a_sweep_of_which_jobs_failed_and_were_killed(tmp_path):
    """Also, as if the machine had been restarted; nothing is repeated, and the page says what happened."""
    (tmp_path / "app.py").write_text(APP)
    broken = sweep(tmp_path)
    assert broken.returncode == 2 and "2 of 3 jobs failed" in broken.stdout, broken.stdout + broken.stderr
    folder, made = tmp_path / "runs" / "table4", artifacts(tmp_path)
    cells = Sweep.read(folder).cells
    assert [len(attempts_of(folder / c.folder)) for c in cells] == [1, 1, 1] and len(made) > 3
    page = (folder / "report.html").read_text()
    assert "RuntimeError: a planted failure" in page and "1 of 3" in page
    assert [page.count(f'class="badge {state}"') for state in ("done", "failed", "killed")] == [1, 1, 1]

    killed = folder / cells[2].folder / FILE
    told = json.loads(killed.read_text())
    told[-1]["boot"] = "another start"
    killed.write_text(json.dumps(told))
    status = sweep(tmp_path, "pipeline=status")
    assert "1 done, 1 failed, 1 restarted" in status.stdout and artifacts(tmp_path) == made

    (tmp_path / "mended").touch()
    mended = sweep(tmp_path)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert made.items() <= artifacts(tmp_path).items()
    outcomes = [[a.outcome for a in attempts_of(folder / c.folder)] for c in cells]
    assert outcomes == [
        ["finished"],
        ["failed", "finished"],
        [None, "finished"],
    ]  # what was done cost no process
    assert "found: 1 of 3 jobs are done already" in mended.stdout and "[2/2] done" in mended.stdout
    page = (folder / "report.html").read_text()
    assert page.count('class="badge done"') == 3 and "a planted failure" in page and "lost: killed" in page
    rows = (folder / "results.csv").read_text().splitlines()[1:]
    assert len(rows) == 5  # three cells; random images unmixed and mixed
    assert (folder / "table.md").is_file() and (folder / "table.tex").is_file()
    assert "nothing is left to do" in sweep(tmp_path, "pipeline=status").stdout
