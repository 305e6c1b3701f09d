"""What a sweep asks of Slurm, seen without one."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest_sweeping import SBATCH

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers import slurm as launcher

pytestmark = pytest.mark.slow

REFUSED = (
    "#!/bin/sh\n"
    'echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2; exit 1\n'
)
# Runs one attempt, as submitit does; the command says when it is up.
ATTEMPT = """
import signal, sys
from pathlib import Path
from moe_distill.sweeps.launchers import slurm
slurm.SIGNAL_SECONDS, slurm.KILL_SECONDS = 0.3, float(sys.argv[2])
def requeue(number, frame):
    print("requeued", flush=True)
    raise SystemExit(9)
signal.signal(signal.SIGUSR2, requeue)
print(slurm.SlurmAttempt("j", Path(sys.argv[1]), [sys.executable, "-c", sys.argv[3]])(), flush=True)
"""
SLEEPS = "import os, time; print('up', os.getpid(), flush=True); time.sleep(60)"


def test_a_sweep_of_an_experiment_asks_for_one_task_with_all_its_ranks(sweeping, tmp_path, recwarn):
    config, _ = sweeping("+experiment=table1", "hydra/launcher=submitit_slurm")
    options = config.hydra.launcher
    assert options._target_ == "hydra_plugins.moe_distill_slurm.SlurmLauncher"
    assert (options.name, options.submitit_folder) == ("table1", f"{tmp_path}/table1/.submitit/%j")
    assert (options.nodes, options.tasks_per_node, options.cpus_per_task, options.gpus_per_node) == (
        1,
        1,
        4,
        None,
    )
    assert options.max_num_timeout > 0 and options.signal_delay_s > config.checkpoint_seconds
    ranks = ("trainer=expert_parallel", "trainer.devices=3", "trainer.accelerator=gpu")
    options = sweeping("+experiment=table1", "hydra/launcher=submitit_slurm", *ranks)[0].hydra.launcher
    assert (options.tasks_per_node, options.cpus_per_task, options.gpus_per_node) == (1, 12, 3)
    assert [str(w.message) for w in recwarn] == []


def test_the_jobs_are_those_of_the_process_launcher(sweeping, monkeypatch, plugin, slurm_plugin):
    seen = []

    def note(jobs, *_):
        seen.append(jobs)
        return [None] * len(jobs)

    monkeypatch.setattr(plugin, "run_jobs", note)
    monkeypatch.setattr(slurm_plugin, "run_in_slurm", note)
    monkeypatch.setattr(slurm_plugin, "executor", lambda *_: None)
    for name in ("process", "submitit_slurm"):
        warm = ("hydra.launcher.warm=false",) if name == "process" else ()
        sweeping(f"hydra/launcher={name}", *warm, "trainer=expert_parallel")[1]("split=5x2", "split=10x1")
    local, remote = seen
    assert [job.folder for job in local] == [job.folder for job in remote]
    assert [job.name for job in local] == [job.name for job in remote]
    local[1].command.remove("hydra.launcher.warm=false")
    swapped = [
        "hydra/launcher=submitit_slurm" if a == "hydra/launcher=process" else a for a in local[1].command
    ]
    assert remote[1].command == swapped


def test_what_slurm_is_told(sweeping, cluster, tmp_path, monkeypatch):
    cluster(SBATCH)
    monkeypatch.setattr(launcher, "_ended", lambda handles: range(len(handles)))
    asked = ("hydra.launcher.partition=short", "hydra.launcher.setup=[module load it]", "name=cells")
    more = (
        "trainer=expert_parallel",
        "trainer.accelerator=gpu",
        "+hydra.launcher.additional_parameters.nice=7",
    )
    _, launch = sweeping("hydra/launcher=submitit_slurm", *asked, *more)
    launch("seed=0", "seed=1")
    lines = (tmp_path / "script").read_text().splitlines()
    folder = tmp_path / "cells" / ".submitit"
    told = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert told >= {
        *("requeue", "job-name=cells", "time=240", "signal=USR2@120", "array=0-1%2", "open-mode=append"),
        *("nodes=1", "ntasks-per-node=1", "cpus-per-task=8", "gpus-per-node=2", "partition=short", "nice=7"),
        f"output={folder}/%A_%a/%A_%a_0_log.out",
    }
    assert "module load it" in lines
    (run,) = [line for line in lines if line.startswith("srun ")]
    assert " --cpus-per-task=8 " in run and run.endswith(f" -u -m submitit.core._submit {folder}/%j")


def test_parameters_that_are_left_to_the_cluster_are_none(cluster, tmp_path):
    cluster(SBATCH)
    options = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": None, "additional_parameters": None}
    given = launcher.executor(str(tmp_path), 1, options)._executor.parameters
    assert given["additional_parameters"] == {"requeue": True}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["hydra.launcher.tasks_per_node=2"],
            r"hydra\.launcher\.tasks_per_node=2: 1: a job starts its ranks itself",
        ),
        (["hydra.launcher.nodes=2"], r"hydra\.launcher\.nodes=2: 1: "),
        ([], r"hydra/launcher=submitit_slurm: .*Invalid partition name specified"),
    ],
)
def test_what_slurm_cannot_run_is_refused_in_one_line(sweeping, cluster, overrides, line):
    cluster(REFUSED)
    _, launch = sweeping("hydra/launcher=submitit_slurm", *overrides)
    with pytest.raises(InputError, match=line) as refused:
        launch("seed=0", "seed=1")
    assert "\n" not in str(refused.value)


def test_jobs_of_an_array_are_alike(sweeping, cluster, tmp_path):
    cluster(SBATCH)
    _, launch = sweeping("hydra/launcher=submitit_slurm", "trainer=expert_parallel")
    with pytest.raises(InputError, match=r"hydra\.launcher\.cpus_per_task=16: 8, as the sweep"):
        launch("trainer.devices=2", "trainer.devices=4")
    assert not (tmp_path / "script").exists()


def test_without_slurm_and_without_the_extra(sweeping, monkeypatch, tmp_path):
    _, launch = sweeping("hydra/launcher=submitit_slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"^hydra/launcher=submitit_slurm: Could not detect \"srun\""):
        launch("seed=0")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        InputError, match=r"^hydra/launcher=submitit_slurm: needs pip install 'moe_distill\[slurm\]'$"
    ):
        launch("seed=0")


@pytest.mark.parametrize(
    ("results", "queues", "ended"),
    [
        ([(0, 1)], [], [0, 1]),  # both left a result
        ([(1,), (1, 0)], [{"7_0"}], [1, 0]),
        ([()], [{"7_1"}, {"7_1"}, set(), set()], [0, 1]),  # neither did, and they left the queue one by one
        ([()], [set(), None, {"7_0"}, set(), set()], [1, 0]),  # back in the queue: it had been requeued
    ],
)
def test_a_job_ends_with_its_result_or_out_of_the_queue(tmp_path, monkeypatch, results, queues, ended):
    handles = [type("Handle", (), {"job_id": f"7_{i}", "paths": type("P", (), {})}) for i in range(2)]
    for i, handle in enumerate(handles):
        handle.paths.result_pickle = tmp_path / str(i)
    results, queues = list(results), list(queues)

    def sleep(_):
        for number in results.pop(0) if results else ():
            (tmp_path / str(number)).touch()

    monkeypatch.setattr(launcher, "QUEUE_SECONDS", -1)
    monkeypatch.setattr(launcher.time, "sleep", sleep)
    monkeypatch.setattr(launcher, "_queue", lambda: queues.pop(0) if queues else {"7_0", "7_1"})
    assert list(launcher._ended(handles)) == ended


def attempt(folder, code, kill_seconds=60.0):
    """Start an attempt in a session of its own."""
    command = [sys.executable, "-c", ATTEMPT, str(folder), str(kill_seconds), code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def up(folder):
    """Wait for the command of an attempt; return its process id."""
    console, end = folder / "console.log", time.monotonic() + 60
    while not (console.exists() and (said := re.findall(r"^up (\d+)$", console.read_text(), re.MULTILINE))):
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(said[0])


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_an_attempt_says_how_its_command_ended(tmp_path):
    assert attempt(tmp_path / "a", "print(1)").communicate(timeout=60)[0] == "None\n"
    said = attempt(tmp_path / "b", "raise ValueError('x is 1')").communicate(timeout=60)[0]
    assert said == f"j: exit code 1, {tmp_path}/b/console.log: ValueError: x is 1\n"


def test_the_notice_of_a_preemption_passes_the_command_by_and_the_end_of_the_attempt_takes_it_along(tmp_path):
    tried = attempt(tmp_path, SLEEPS)
    pid = up(tmp_path)
    os.kill(pid, signal.SIGUSR2)  # as Slurm sends it to all
    time.sleep(0.3)
    assert alive(pid) and tried.poll() is None
    os.kill(tried.pid, signal.SIGUSR2)
    assert tried.communicate(timeout=60)[0] == "requeued\n" and tried.returncode == 9
    time.sleep(0.1)
    assert not alive(pid)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_command_that_slurm_ends_has_no_outcome(tmp_path, order):
    tried = attempt(tmp_path, SLEEPS)
    pids = [up(tmp_path), tried.pid]
    for which in order:
        os.kill(pids[which], signal.SIGTERM)
    time.sleep(0.8)
    assert tried.poll() is None and tried.stdout is not None
    tried.kill()
    assert tried.communicate(timeout=60)[0] == ""


def test_an_attempt_goes_on_from_the_same_command(tmp_path):
    again = launcher.SlurmAttempt("j", tmp_path, ["true"]).checkpoint()
    assert again.function == launcher.SlurmAttempt("j", tmp_path, ["true"]) and again.args == ()
