"""Run commands as Slurm jobs, which are requeued after a preemption or at their time limit."""

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
_SUBMITTED = "_submitted.pkl"  # suffix of the file that submitit writes for each job
# Options that submitit has for every cluster; all others need the prefix slurm_.
COMMON = (
    *("name", "timeout_min", "stderr_to_stdout"),
    *("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb"),
)


@dataclass(frozen=True)
class SlurmAttempt:
    """The function that a Slurm job runs, also when it is requeued: the command resumes by itself.

    Args:
        name: The job's name in messages.
        folder: The folder of its ``console.log``.
        command: The program and its arguments.
    """

    name: str
    folder: Path
    command: list[str]

    def __call__(self) -> str | None:
        """Run the command; return what went wrong in one line, or None."""
        from submitit import JobEnvironment

        received: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
        job = Job(self.name, self.folder, self.command)
        # Slurm sends this signal to every process of the job. Here submitit requeues the job at it; the
        # command, which it would end, inherits it blocked.
        notice = {signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]}
        signal.pthread_sigmask(signal.SIG_BLOCK, notice)
        job.start(None)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, notice)
            if job.process.wait():
                time.sleep(SIGNAL_SECONDS)  # the signal that ended the command may reach this process later
            if received:  # Slurm is about to kill the job: returning now would record this as its outcome
                time.sleep(KILL_SECONDS)
        finally:
            job.send(signal.SIGKILL)
        job.over()
        return job.failure()

    def checkpoint(self) -> Any:
        """Return what the requeued job runs; submitit calls this when Slurm is about to end the job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def executor(folder: str, max_num_timeout: int, options: Mapping[str, Any]) -> Any:
    """Return submitit's executor for jobs of one task each.

    Args:
        folder: The folder of the jobs' scripts and logs; ``%j`` stands for a job's number.
        max_num_timeout: How often a job may reach its time limit and be requeued; preemptions do not count.
        options: Options by submitit's names; null leaves the choice to the cluster.

    Raises:
        InputError: Submitit or Slurm is missing, or submitit refuses an option.
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
    parameters = {name if name in COMMON else f"slurm_{name}": value for name, value in options.items()}
    parameters |= {
        "slurm_additional_parameters": {"requeue": True, **(options.get("additional_parameters") or {})},
        # srun has not taken this from sbatch since Slurm 22.05, and would bind the task to one core
        "slurm_srun_args": [f"--cpus-per-task={cores}"] if cores else None,
    }
    try:
        slurm = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=max_num_timeout)
        slurm.update_parameters(**parameters)
    except (RuntimeError, AssertionError, NameError) as error:
        # What submitit raises without Slurm, for a bad parameter, and for an unknown one.
        raise InputError("hydra/launcher", "submitit_slurm", str(error).splitlines()[0]) from error
    return slurm


def check_queue(folder: str) -> None:
    """Refuse to submit a sweep while Slurm still has jobs that were submitted from its folder before.

    Args:
        folder: As for :func:`executor`.

    Raises:
        InputError: There are such jobs.
    """
    root = Path(f"{folder.partition('%j')[0]}_").parent  # the folder above those of single jobs
    unfinished: set[str] = set()
    for path in root.rglob(f"*{_SUBMITTED}"):
        number = path.name.removesuffix(_SUBMITTED)
        if not path.with_name(f"{number}_0_result.pkl").exists():
            unfinished.add(number)
    # The queue is asked only if needed: a job that was cancelled leaves no result either.
    queued = sorted(unfinished & (_queue() or set())) if unfinished else []
    if queued:
        arrays = " ".join(dict.fromkeys(number.partition("_")[0] for number in queued))
        there_are = f"a sweep that Slurm has no jobs of; it has {', '.join(queued)}"
        raise InputError(
            "hydra/launcher", "submitit_slurm", f"{there_are}: wait for them, or scancel {arrays}"
        )


def run_in_slurm(jobs: Sequence[Job], submit: Any) -> list[str | None]:
    """Submit every job and wait for all of them; the jobs continue if this process ends.

    Args:
        jobs: Jobs that are not started yet.
        submit: The result of :func:`executor`.

    Returns:
        For each job what went wrong in one line, or None.

    Raises:
        InputError: Slurm refused them.
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
        failure = _outcome(handles[number], jobs[number])
        outcomes[number] = failure
        log.info("[%d/%d] %s  %s", ended, len(jobs), outcome_of(failure), failure or jobs[number].name)
    return outcomes


def _ended(handles: Sequence[Any]) -> Iterator[int]:
    """Yield the number of each job once it has ended: it left its result, or twice was not in the queue."""
    # Submitit asks Slurm's accounting, which not every cluster keeps. Twice, as a requeued job is out of the
    # queue for a moment, and a result may appear in a shared folder later than the job leaves the queue.
    waiting: dict[int, Any] = dict(enumerate(handles))
    lost: set[int] = set()
    looked = time.monotonic()
    while waiting:
        ended = {number for number, handle in waiting.items() if handle.paths.result_pickle.exists()}
        if time.monotonic() - looked > QUEUE_SECONDS:
            looked, queue = time.monotonic(), _queue()
            gone: set[int] = set()
            if queue is not None:
                gone = {number for number, handle in waiting.items() if handle.job_id not in queue}
            ended |= gone & lost
            lost = gone
        for number in sorted(ended):
            del waiting[number]
            yield number
        time.sleep(POLL_SECONDS)


def _queue() -> set[str] | None:
    """Return the numbers of this user's jobs that wait or run; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if answer.returncode else set(answer.stdout.split())


def _outcome(handle: Any, job: Job) -> str | None:
    """Return what went wrong with an ended job in one line: its own result, or the end of Slurm's log."""
    if handle.paths.result_pickle.exists() and handle.exception() is None:
        return handle.result()
    lines = (handle.stderr() or "").strip().splitlines()
    return f"{job.name}: ended by Slurm, {job.console}, {handle.paths.stderr}: {[*lines, ''][-1]}"
