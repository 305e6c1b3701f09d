"""Sweeps and jobs on a real Slurm: preempted, requeued, cancelled, failing."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import moe_distill
from moe_distill.sweeps.launchers import slurm as launcher
from moe_distill.sweeps.launchers.processes import Job
from moe_distill.synthetic.synthetic_set import SyntheticSet

pytestmark = pytest.mark.slow

ROOT = Path(moe_distill.__file__).parents[1]
ITERATIONS = 60
CELL = [
    *(
        "scale=smoke",
        "logger=none",
        "threads=1",
        "method=dm",
        "noe=2",
        "students=convnet3",
        "seeds=1",
        "width=0.25",
    ),
    *("checkpoint_seconds=0", f"shorten.dm.iterations={ITERATIONS}"),
]
RANKS = ["trainer=expert_parallel", "trainer.devices=2", "trainer.accelerator=cpu"]
OPTIONS = {"name": "few", "timeout_min": 60, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 2}
# Waits at its first attempt, ends at its second.
TWICE = """
import os, pathlib, sys, time
began = pathlib.Path(sys.argv[1])
if not began.exists():
    began.touch(); time.sleep(300)
print(len(os.sched_getaffinity(0)))
"""


def until(condition, told, seconds=600):
    """Wait for a condition and return what it returned; ``told`` says what there is to know where it does not
    come."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, told()
        time.sleep(0.05)
    return found


def restart(slurm, job):
    """Let a requeued job start at once; Slurm holds it back for the life of a credential, two minutes."""
    until(lambda: "BeginTime" in slurm("squeue", "-h", "-j", job, "-o", "%r"), lambda: slurm("squeue"))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")


class Sweep:
    """The process that submits a sweep and waits for it."""

    def __init__(self, slurm, folder, *arguments):
        self.log, self.folder = folder / "sweep.log", folder
        env = slurm.env | {"PYTHONPATH": f"{ROOT}:{ROOT / 'moe_distill' / 'sweeps'}"}
        env.pop("MOE_DISTILL_HOME", None)
        if not Path(
            torch.__cached__
        ).exists():  # a process imports for seconds; each that has to compile, for tens
            env |= {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-m", "moe_distill.run", "-m", "hydra/launcher=submitit_slurm", *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def told(self):
        """Return all that was printed anywhere."""
        logs = [
            self.log,
            *self.folder.glob("runs/*/*/console.log"),
            *self.folder.glob("runs/*/.submitit/*/*.err"),
        ]
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)

    def until(self, condition):
        """Wait for a condition while the sweep goes on."""
        return until(lambda: condition() or self.process.poll() is not None, self.told)


@pytest.fixture
def sweep(slurm, tmp_path):
    """Starts sweeps, and ends those that a failure left."""
    started = []

    def start(*arguments):
        started.append(Sweep(slurm, tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def reached(folder):
    """Return the iteration of the last checkpoint of a distillation under way; 0 before there is one."""
    checkpoints = [*folder.glob("store/work/set-*/last.ckpt")]
    return torch.load(checkpoints[0], weights_only=True)["iteration"] if checkpoints else 0


def the_set(folder):
    """Return the folder of a store's only distilled set."""
    (manifest,) = folder.glob("store/set/*/manifest.json")
    return manifest.parent


def test_a_preempted_job_is_requeued_and_ends_in_the_bits_of_a_local_run(slurm, sweep, suite, tmp_path):
    runs = tmp_path / "runs"
    either = "logger.mode=disabled,online"  # there is no key, which shows when the job starts
    shown = [*(given for given in CELL if given != "logger=none"), "logger=wandb", either]
    running = sweep(*shown, *RANKS, "ipc=5", "name=cells", "hydra.launcher.cpus_per_task=2")
    running.until(lambda: reached(runs))
    (array,) = re.findall(r"submitted as Slurm job (\d+)", running.log.read_text())
    slurm("scancel", "--signal=USR2", f"{array}_0")
    restart(slurm, f"{array}_0")
    kept = reached(runs)
    assert 0 < kept < ITERATIONS, running.told()
    suite(*CELL, "ipc=5")  # in this process, while the job begins again
    until(lambda: running.process.poll() is not None, running.told)
    assert running.process.returncode == 2, running.told()

    (good,) = [table.parent for table in runs.glob("cells/*/results.csv")]
    assert (
        f": {kept} of {ITERATIONS}, " in (good / "console.log").read_text()
    )  # where the bar of the second attempt began
    manifest = json.loads((the_set(runs) / "manifest.json").read_text())
    assert (manifest["processes"], manifest["iterations"]) == (2, ITERATIONS)
    rows = suite.rows(runs / "cells")
    assert len(rows) == 1 and rows == suite.rows(good)
    assert (
        SyntheticSet.load(the_set(runs)).fingerprint() == SyntheticSet.load(the_set(suite.home)).fingerprint()
    )

    (bad,) = [log.parent for log in runs.glob("cells/*/console.log") if log.parent != good]
    line = f"exit code 2, {bad}/console.log: error: logger.mode=online: "
    said = running.log.read_text()
    assert "1 of 2 jobs failed:\n" in said and line in said
    assert "Traceback" not in said and "Warning" not in said
    assert re.search(r"\[2/2\] done  .*logger\.mode=disabled", said)


def test_jobs_that_slurm_requeues_or_cancels_by_itself(slurm, tmp_path, monkeypatch, caplog):
    """Without the notice before, and without accounting."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(launcher, "QUEUE_SECONDS", 0.5)
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.env[name])
    began = [tmp_path / f"began{i}" for i in range(2)]
    jobs = [Job(f"j{i}", tmp_path / f"j{i}", [sys.executable, "-c", TWICE, str(began[i])]) for i in range(2)]
    failed = []

    def interfere():
        try:
            until(began[0].exists, lambda: slurm("squeue"))
            (array,) = re.findall(r"submitted as Slurm job (\d+)", caplog.text)
            slurm("scontrol", "requeue", f"{array}_0")
            until(began[1].exists, lambda: slurm("squeue"))
            slurm("scancel", f"{array}_1")
            restart(slurm, f"{array}_0")
        except BaseException as error:
            failed.append(error)
            slurm("scancel", "--user=root")

    thread = threading.Thread(target=interfere)
    thread.start()
    submit = launcher.executor(str(tmp_path / "%j"), 1, OPTIONS)
    outcomes = launcher.run_in_slurm(jobs, submit)
    thread.join()
    assert not failed and outcomes[0] is None
    assert outcomes[1].startswith(f"j1: ended by Slurm, {jobs[1].console}, {tmp_path}/")
    assert int(jobs[0].console.read_text().split()[-1]) >= min(2, os.cpu_count())  # not bound to one
