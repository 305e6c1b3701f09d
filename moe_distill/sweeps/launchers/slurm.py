"""Run commands as Slurm jobs, each requeued after a preemption or at its time limit until it ends by
itself.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.processes import Job, outcome_of

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
QUEUE_SECONDS = 15.0
SIGNAL_SECONDS = 1.0
KILL_SECONDS = 3600.0
_SUBMITTED = "_submitted.pkl"  # what submitit calls its own file of a job
# What submitit calls alike on every cluster; its other options bear the name of one.
COMMON = (
    *("name", "timeout_min", "stderr_to_stdout"),
    *("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb"),
)


@dataclass(frozen=True)
class SlurmAttempt:
    """What a Slurm job runs, from the start or once more: a command, which goes on from what it left on disk.

    Args:
        name: What messages call it.
        folder: Where its ``console.log`` goes.
        command: The program and its arguments.
    """

    name: str
    folder: Path
    command: list[str]

    def __call__(self) -> str | None:
        """Run the command; return what went wrong in one line, or None."""
        from submitit import JobEnvironment

        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        job = Job(self.name, self.folder, self.command)
        # Slurm sends it to every process of the job, where it would end the command; submitit, here, requeues
        # the job.
        notice = {signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]}
        signal.pthread_sigmask(signal.SIG_BLOCK, notice)
        job.start(None)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, notice)
            if job.process.wait():
                time.sleep(SIGNAL_SECONDS)  # the signal that ended it may be on its way to us
            if heard:  # Slurm is about to kill all of it, to requeue it or for good: this is no outcome
                time.sleep(KILL_SECONDS)
        finally:
            job.send(signal.SIGKILL)
        job.over()
        return job.failure()

    def checkpoint(self) -> Any:
        """Return what the requeued job runs; called by submitit when Slurm is about to end this one."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def executor(folder: str, max_num_timeout: int, options: Mapping[str, Any]) -> Any:
    """Return what submits jobs of one task each.

    Args:
        folder: Of scripts and logs of the jobs; ``%j`` stands for a job's number.
        max_num_timeout: How often a job may reach its time limit and be requeued; preemptions do not count.
        options: Named as those of submitit, null where the cluster decides.

    Raises:
        InputError: Without submitit, without Slurm, or options that submitit does not take.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "hydra/launcher", "submitit_slurm", "needs pip install 'moe_distill[slurm]'"
        ) from error
    for name in ("nodes", "tasks_per_node"):
        if options[name] != 1:
            raise InputError(
                f"hydra.launcher.{name}", options[name], "1: a job starts its ranks itself, on one node"
            )
    cores = options["cpus_per_task"]
    given = {name if name in COMMON else f"slurm_{name}": value for name, value in options.items()}
    given |= {
        "slurm_additional_parameters": {"requeue": True, **(options.get("additional_parameters") or {})},
        # srun has not taken this from sbatch since Slurm 22.05, and would bind the task to one core
        "slurm_srun_args": [f"--cpus-per-task={cores}"] if cores else None,
    }
    try:
        made = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=max_num_timeout)
        made.update_parameters(**given)
    except (RuntimeError, AssertionError, NameError) as error:
        raise InputError("hydra/launcher", "submitit_slurm", str(error).splitlines()[0]) from error
    return made


def check_queue(folder: str) -> None:
    """Check that Slurm has no job left of what was submitted from a folder before.

    Args:
        folder: As for :func:`executor`.

    Raises:
        InputError: It has.
    """
    below = Path(f"{folder.partition('%j')[0]}_").parent  # whatever a job's own folder is called
    open_ones = {
        path.name.removesuffix(_SUBMITTED)
        for path in below.rglob(f"*{_SUBMITTED}")
        if not path.with_name(f"{path.name.removesuffix(_SUBMITTED)}_0_result.pkl").exists()
    }
    queued = sorted(open_ones & (_queue() or set())) if open_ones else []
    if queued:
        arrays = " ".join(dict.fromkeys(number.partition("_")[0] for number in queued))
        allowed = f"a sweep that Slurm has no jobs of; it has {', '.join(queued)}: wait for them, or scancel {arrays}"
        raise InputError("hydra/launcher", "submitit_slurm", allowed)


def run_in_slurm(jobs: Sequence[Job], submit: Any) -> list[str | None]:
    """Submit every job and return when the last one has ended, well or not; the jobs go on when this process
    ends.

    Returns:
        What went wrong with each job in one line, None where nothing did.

    Raises:
        InputError: Slurm does not take them.
    """
    from submitit.core.utils import FailedJobError

    try:
        handles = submit.submit_array([SlurmAttempt(job.name, job.folder, job.command) for job in jobs])
    except FailedJobError as error:
        raise InputError("hydra/launcher", "submitit_slurm", str(error).strip().splitlines()[-1]) from error
    array = handles[0].job_id.partition("_")[0]
    log.info(
        "submitted as Slurm job %s; it goes on without this process, and ends by: scancel %s", array, array
    )
    outcomes: list[str | None] = [None] * len(jobs)
    for ended, number in enumerate(_ended(handles), 1):
        outcomes[number] = failure = _outcome(handles[number], jobs[number])
        log.info("[%d/%d] %s  %s", ended, len(jobs), outcome_of(failure), failure or jobs[number].name)
    return outcomes


def _ended(handles: Sequence[Any]) -> Iterator[int]:
    """Yield the number of each job once it has left its result or, twice looked for, is not in the queue.

    Slurm's accounting, which submitit asks, is not kept on every cluster.
    """
    waiting, lost, looked = dict(enumerate(handles)), set[int](), time.monotonic()
    while waiting:
        ended = {number for number, handle in waiting.items() if handle.paths.result_pickle.exists()}
        if time.monotonic() - looked > QUEUE_SECONDS:
            looked, queue = time.monotonic(), _queue()
            gone = (
                set() if queue is None else {n for n, handle in waiting.items() if handle.job_id not in queue}
            )
            ended, lost = ended | gone & lost, gone
        for number in sorted(ended):
            del waiting[number]
            yield number
        time.sleep(POLL_SECONDS)


def _queue() -> set[str] | None:
    """Return the numbers of this user's jobs that wait or run; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if answer.returncode else set(answer.stdout.split())


def _outcome(handle: Any, job: Job) -> str | None:
    """Return what went wrong with a job that has ended: said by itself, or the last words of what Slurm
    ended.
    """
    if handle.paths.result_pickle.exists() and handle.exception() is None:
        return handle.result()
    said = (handle.stderr() or "").strip().splitlines()
    return f"{job.name}: ended by Slurm, {job.console}, {handle.paths.stderr}: {[*said, ''][-1]}"
