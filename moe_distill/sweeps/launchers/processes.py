"""Run commands as processes of their own, some at a time, and leave none behind."""

import logging
import os
import re
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from moe_distill.results.attempts import note_end, note_start
from moe_distill.stopping import GOES_ON, signal_of
from moe_distill.stopping import SIGNALS as STOP_SIGNALS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0
RANK_VARIABLE = re.compile(r"(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|(MASTER|TORCHELASTIC)_\w+")
ERROR_LINE = re.compile(r"[\w.]*(error|exception)(:.*)?", re.IGNORECASE)
HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR"
LOG_TAIL_BYTES = 1 << 16
_STOPPED = ": stopped by "


def child_environment(environ: Mapping[str, str], slot: str | None) -> dict[str, str]:
    """Return ``environ`` without what describes another process group, confined to the GPUs of ``slot``."""
    # Unbuffered, so that console.log can be followed and keeps the last words of a killed job.
    added = {"PYTHONUNBUFFERED": "1"} | ({} if slot is None else {"CUDA_VISIBLE_DEVICES": slot})
    return {name: value for name, value in environ.items() if not RANK_VARIABLE.fullmatch(name)} | added


def error_line(console: Path) -> str:
    """Return the last line of a log that names an exception, else its last line of all."""
    with console.open("rb") as file:
        file.seek(max(0, console.stat().st_size - LOG_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(("$ ", HYDRA_HINT))]
    errors = [line for line in said if ERROR_LINE.fullmatch(line)]
    return (errors or said or ["(it printed nothing)"])[-1]


class Process(Protocol):
    """What of a started process a job needs, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int:
        """Its number, which is that of its session too."""

    def poll(self) -> int | None:
        """Return the exit code, negative where a signal ended it; None while it runs."""

    def wait(self) -> int:
        """Return the exit code once it has ended."""


# Starts a command in a session and an environment, and sends what it prints to the end of a file.
Starter = Callable[[Sequence[str], dict[str, str], Path], Process]


def start_fresh(command: Sequence[str], environment: dict[str, str], console: Path) -> Process:
    """Start a command as a plain process, which imports all it needs.

    Args:
        command: The program and its arguments.
        environment: All of the process's.
        console: The file that takes what it prints, after what is there.

    Raises:
        OSError: The system did not let it.
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
        name: What its messages call it.
        folder: Where its ``console.log`` goes; no other job may use it.
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
        """Start the process in a session of its own, confined to ``slot``; all it prints goes to
        ``console.log``.

        Raises:
            OSError: The system did not let it, such as on a full disk.
        """
        self.slot, self.began = slot, time.monotonic()
        prefix = "" if slot is None else f"CUDA_VISIBLE_DEVICES={slot} "
        self.folder.mkdir(parents=True, exist_ok=True)
        self.console.write_text(f"$ {prefix}{shlex.join(self.command)}\n")
        self.process = starter(self.command, child_environment(os.environ, slot), self.console)
        note_start(self.folder, self.process.pid, shlex.join(self.command))

    def tried(self, slot: str | None, starter: Starter) -> bool:
        """Start it and say whether the system let it; if not, that is how it has failed."""
        try:
            self.start(slot, starter)
        except OSError as error:
            self.refused = error
        return self.refused is None

    def send(self, number: int) -> None:
        """Send a signal to the process and to all it started; nobody left is no error."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def over(self) -> None:
        """End what the ended process left behind, which would share its slot, and record its end if it could
        not.
        """
        self.send(signal.SIGKILL)
        note_end(self.folder, self.process.pid, self.process.wait(), error_line(self.console))

    def failure(self) -> str | None:
        """Return None after exit code 0, else one line: job, exit code, log, last error line; or why none was
        run.
        """
        if self.refused is not None:
            return f"{self.name}: not started: {self.refused}"
        code = self.process.wait()
        if code == 0:
            return None
        if asked := signal_of(code):
            return f"{self.name}{_STOPPED}{asked.name} (exit code {code}), {self.console}; {GOES_ON}"
        return f"{self.name}: exit code {code}, {self.console}: {error_line(self.console)}"

    def summary(self) -> str:
        """Return one line on how it ended, after how long, and which job it was."""
        failure = self.failure()
        return f"{outcome_of(failure)} in {time.monotonic() - self.began:.0f} s  {failure or self.name}"


def was_stopped(failure: str) -> bool:
    """Say whether a job's line of failure (see :meth:`Job.failure`) tells of a signal that asked it to
    end.
    """
    return _STOPPED in failure


def outcome_of(failure: str | None) -> str:
    """Return in a word how a job ended, read from its line of failure."""
    return "done" if failure is None else "STOPPED" if was_stopped(failure) else "FAILED"


def stop(jobs: Sequence[Job]) -> None:
    """End ``jobs`` and all they started: SIGTERM first, SIGKILL to what remains when they are gone or out of
    grace.
    """
    for job in jobs:
        job.send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(job.process.poll() is None for job in jobs) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for job in jobs:
        job.send(signal.SIGKILL)
        job.process.wait()
        note_end(job.folder, job.process.pid, -signal.SIGTERM, "stopped with its sweep")


def run_jobs(
    jobs: Sequence[Job], slots: Sequence[str | None], starter: Starter = start_fresh
) -> list[str | None]:
    """Run every job, one on each slot at a time, in order; return when the last one has ended, well or not.

    Args:
        jobs: None of them started.
        slots: The GPUs of each job that may run at a time; None leaves them alone.
        starter: How a process starts.

    Returns:
        What went wrong with each job in one line, None where nothing did.

    Raises:
        SystemExit: After SIGINT, SIGTERM or SIGHUP, with 128 + its number, when every child is gone.
    """
    # Handlers only take note: an exception out of a handler could strike between a start and its entry in
    # `running`.
    received: list[int] = []
    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda got, _: received.append(got)) for number in heeded}
    waiting, free, ended = deque(jobs), deque(slots), 0
    running: list[Job] = []
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
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if received:
        name = signal.Signals(received[0]).name
        log.error("stopped by %s: %d of %d jobs ended; %s", name, ended, len(jobs), GOES_ON)
        raise SystemExit(128 + received[0])
    return [job.failure() for job in jobs]
