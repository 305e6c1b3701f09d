"""Run commands as separate processes, several at a time, and leave none behind."""

import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from moe_distill.results.attempts import record_end, record_start
from moe_distill.stopping import GOES_ON, signal_of
from moe_distill.stopping import SIGNALS as STOP_SIGNALS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0
# What torchrun and Lightning set for the processes of one group.
RANK_VARIABLE = re.compile(r"(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|(MASTER|TORCHELASTIC)_\w+")
ERROR_LINE = re.compile(r"[\w.]*(error|exception)(:.*)?", re.IGNORECASE)
HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR"
LOG_TAIL_BYTES = 1 << 16
_STOPPED = ": stopped by "


def child_environment(environ: Mapping[str, str], slot: str | None) -> dict[str, str]:
    """Return the environment of a job.

    Args:
        environ: The environment of this process; variables of a distributed process group are removed.
        slot: The job's ``CUDA_VISIBLE_DEVICES``; None keeps it unchanged.

    Example:
        >>> child_environment({"RANK": "1", "HOME": "/root"}, "0")
        {'HOME': '/root', 'PYTHONUNBUFFERED': '1', 'CUDA_VISIBLE_DEVICES': '0'}
    """
    # Unbuffered, so that console.log can be followed and has the last output of a killed job.
    added = {"PYTHONUNBUFFERED": "1"} | ({} if slot is None else {"CUDA_VISIBLE_DEVICES": slot})
    return {name: value for name, value in environ.items() if not RANK_VARIABLE.fullmatch(name)} | added


def error_line(console: Path) -> str:
    """Return the last line of a log that names an exception, or else its last line."""
    with console.open("rb") as file:
        # Logs with progress bars can be large.
        file.seek(max(0, console.stat().st_size - LOG_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    output = [line for line in lines if line and not line.startswith(("$ ", HYDRA_HINT))]
    errors = [line for line in output if ERROR_LINE.fullmatch(line)]
    return (errors or output or ["(it printed nothing)"])[-1]


class Process(Protocol):
    """The part of ``subprocess.Popen`` that a job needs."""

    @property
    def pid(self) -> int:
        """The process's id, which is also that of its session."""

    def poll(self) -> int | None:
        """Return the exit code, negative if a signal ended the process; None while it runs."""

    def wait(self) -> int:
        """Wait for the process to end and return the exit code."""


# Starts a command in a new session with an environment, and appends its output to a file.
Starter = Callable[[Sequence[str], dict[str, str], Path], Process]


def start_fresh(command: Sequence[str], environment: dict[str, str], console: Path) -> Process:
    """Start a command as an ordinary process in a new session.

    Args:
        command: The program and its arguments.
        environment: All environment variables of the process.
        console: The file to which its output is appended.

    Raises:
        OSError: The system refused.
    """
    with console.open("ab", buffering=0) as file:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Job:
    """One command and, once started, its process.

    Args:
        name: The job's name in messages.
        folder: The folder of its ``console.log``; no other job may use it.
        command: The program and its arguments.
    """

    process: Process
    slot: str | None
    began: float
    refused: OSError | None = None

    def __init__(self, name: str, folder: Path, command: list[str]) -> None:
        self.name, self.folder, self.command = name, folder, command
        self.console = folder / "console.log"

    def start(self, slot: str | None, starter: Starter = start_fresh) -> None:
        """Start the process; its output goes to ``console.log``.

        Args:
            slot: Its ``CUDA_VISIBLE_DEVICES``; None keeps it unchanged.
            starter: Starts the process.

        Raises:
            OSError: The system refused, as on a full disk.
        """
        self.slot, self.began = slot, time.monotonic()
        prefix = "" if slot is None else f"CUDA_VISIBLE_DEVICES={slot} "
        self.folder.mkdir(parents=True, exist_ok=True)
        self.console.write_text(f"$ {prefix}{shlex.join(self.command)}\n")
        self.process = starter(self.command, child_environment(os.environ, slot), self.console)
        record_start(self.folder, self.process.pid, shlex.join(self.command))

    def tried(self, slot: str | None, starter: Starter) -> bool:
        """Start it and return True if the system allowed it; a refusal becomes the job's failure."""
        try:
            self.start(slot, starter)
        except OSError as error:
            self.refused = error
        return self.refused is None

    def send(self, number: int) -> None:
        """Send a signal to the process and to all that it started, if any of them still run."""
        try:  # each job leads its session, so that its group holds all that it started
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def over(self) -> None:
        """Clean up after the process has ended: end its children, and record its end if it could not."""
        self.send(signal.SIGKILL)  # orphans would share the GPUs with the next job
        record_end(self.folder, self.process.pid, self.process.wait(), error_line(self.console))

    def failure(self) -> str | None:
        """Return what went wrong in one line, or None after exit code 0.

        The line has the job, the exit code, the log and its last error, or why the process did not start.
        """
        if self.refused is not None:
            return f"{self.name}: not started: {self.refused}"
        code = self.process.wait()
        if code == 0:
            return None
        if stop_signal := signal_of(code):
            return f"{self.name}{_STOPPED}{stop_signal.name} (exit code {code}), {self.console}; {GOES_ON}"
        return f"{self.name}: exit code {code}, {self.console}: {error_line(self.console)}"

    def summary(self) -> str:
        """Return one line with the outcome, the time it took, and the job's name or failure."""
        failure = self.failure()
        return f"{outcome_of(failure)} in {time.monotonic() - self.began:.0f} s  {failure or self.name}"


def was_stopped(failure: str) -> bool:
    """Return True if a line of :meth:`Job.failure` is about a job that a stop signal ended."""
    return _STOPPED in failure


def outcome_of(failure: str | None) -> str:
    """Return a job's outcome in one word.

    Args:
        failure: The result of :meth:`Job.failure`.

    Example:
        >>> outcome_of(None), outcome_of("seed=1: exit code 1")
        ('done', 'FAILED')
    """
    if failure is None:
        return "done"
    return "STOPPED" if was_stopped(failure) else "FAILED"


def stop(jobs: Sequence[Job]) -> None:
    """End jobs and all that they started: by SIGTERM, and after a grace period by SIGKILL."""
    for job in jobs:
        job.send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(job.process.poll() is None for job in jobs) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for job in jobs:  # also those that ended by themselves: their children may still run
        job.send(signal.SIGKILL)
        job.process.wait()
        record_end(job.folder, job.process.pid, -signal.SIGTERM, "stopped with its sweep")


def run_jobs(
    jobs: Sequence[Job], slots: Sequence[str | None], starter: Starter = start_fresh
) -> list[str | None]:
    """Run every job in order, one on each slot at a time, and wait for all of them.

    Args:
        jobs: Jobs that are not started yet.
        slots: ``CUDA_VISIBLE_DEVICES`` of each job that may run at a time; None keeps it unchanged.
        starter: Starts a process.

    Returns:
        For each job what went wrong in one line, or None.

    Raises:
        SystemExit: After SIGINT, SIGTERM or SIGHUP, with 128 plus its number, once all children are gone.
    """
    waiting, free, ended = deque(jobs), deque(slots), 0
    running: list[Job] = []
    with _recorded_signals() as received:
        try:
            while (waiting or running) and not received:
                over: list[Job] = []
                while waiting and free:
                    job = waiting.popleft()
                    (running if job.tried(free.popleft(), starter) else over).append(job)
                time.sleep(POLL_SECONDS)
                for job in [job for job in running if job.process.poll() is not None]:
                    job.over()
                    running.remove(job)
                    over.append(job)
                for job in over:
                    free.append(job.slot)
                    ended += 1
                    log.info("[%d/%d] %s", ended, len(jobs), job.summary())
        finally:
            stop(running)
    if received:
        name = signal.Signals(received[0]).name
        log.error("stopped by %s: %d of %d jobs ended; %s", name, ended, len(jobs), GOES_ON)
        raise SystemExit(128 + received[0])
    return [job.failure() for job in jobs]


@contextlib.contextmanager
def _recorded_signals() -> Iterator[list[int]]:
    """Yield a list to which the stop signals that arrive during the block are appended."""
    # The handlers raise nothing: an exception could strike between the start of a job and its entry in
    # `running`, and the job would be left behind.
    received: list[int] = []
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda got, _: received.append(got)) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
