"""The attempts at a run, recorded in the run's folder: when each began, and how it ended.

A kill, a full disk or a restarted machine leaves an attempt without an end. Readers of the record then decide
by the process, the machine's boot and the age of the record whether that attempt still works.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import psutil

from moe_distill.stopping import Stopped, signal_of
from moe_distill.store.damage import require_readable
from moe_distill.store.store import commit, write_json
from moe_distill.validation.values import NotNegative, Whole, checked

FILE = "attempts.json"
LOG = "console.log"
STARTING: Final = "starting"
_BEAT_SECONDS = 30.0
_SILENT_SECONDS = 300.0


@checked
@dataclass
class Attempt:
    """One attempt at a run.

    Attributes:
        began: When it began, in seconds since 1970.
        command: The command line that repeats it.
        commit: The commit of the code.
        host: The machine's name.
        boot: An identifier of the machine's current boot.
        process: The process's number.
        process_began: How many seconds after the boot the process started, which setting the clock does not
            change.
        ended: When it ended, in seconds since 1970; None while it works, and after a kill.
        outcome: ``finished``, ``failed`` or ``stopped`` (by a signal that asks for it); ``starting`` from
            when its launcher starts its process until that process, after seconds of imports, takes over the
            record; None while it works, and after a kill.
        error: The last line of an error.
        work: What identifies its work (see ``identity`` of :mod:`~moe_distill.sweeps.jobs`), once it is
            known.
        headline: The number that the run returned; None where it has none, or did not finish.
    """

    began: NotNegative
    command: str
    commit: str
    host: str
    boot: str
    process: Whole
    process_began: float
    ended: NotNegative | None = None
    outcome: Literal["finished", "failed", "stopped", "starting"] | None = None
    error: str | None = None
    work: str | None = None
    headline: float | None = None

    def state(self, touched: float) -> str:
        """Return the state of the attempt.

        One of ``finished``, ``failed``, ``stopped``, ``running``, ``killed`` and ``restarted`` (the machine
        was).

        Args:
            touched: When its record was last written, in seconds since 1970. It decides about an attempt on
                another machine, whose processes cannot be looked up.
        """
        if self.outcome not in (None, STARTING):
            return self.outcome
        if self.host != platform.node():
            # A living attempt touches its record every half a minute. The clocks of two machines differ, so
            # a time slightly ahead is a sign of life too, but one far ahead is not.
            return "running" if abs(time.time() - touched) < _SILENT_SECONDS else "killed"
        if _boot() != self.boot:
            return "restarted"
        # By its start too, as the system gives a number again to a later process.
        try:
            alive = abs(_uptime_at_start(self.process) - self.process_began) < 1
        except psutil.Error:
            # The process has ended, or belongs to another user.
            alive = False
        return "running" if alive else "killed"


def attempts_of(folder: Path) -> list[Attempt]:
    """Return the attempts at the run of a folder, in order; none where their record cannot be read."""
    try:
        require_readable(folder / FILE)
        return [Attempt(**fields) for fields in json.loads((folder / FILE).read_text())]
    except (OSError, ValueError, TypeError, RecursionError):
        # A damaged record must not keep a run from starting.
        return []


def state_of(folder: Path) -> str:
    """Return the state of the last attempt at the run of a folder; ``missing`` where there is none."""
    if attempts := attempts_of(folder):
        return last_state(folder, attempts)
    # A log without an attempt is left by a process that ended before it could record one.
    return "failed" if (folder / LOG).is_file() else "missing"


def last_state(folder: Path, attempts: Sequence[Attempt]) -> str:
    """Return the state of the last of these attempts at the run of a folder."""
    return attempts[-1].state((folder / FILE).stat().st_mtime)


def headline_of(folder: Path) -> float | None:
    """Return the number that the run of a folder returned when it last finished; None where it has none."""
    finished = [attempt for attempt in attempts_of(folder) if attempt.outcome == "finished"]
    return finished[-1].headline if finished else None


def is_running_here(folder: Path) -> bool:
    """Return True if a living process of this machine works at the run of a folder."""
    here = [attempt for attempt in attempts_of(folder) if attempt.host == platform.node()]
    return any(attempt.state(0) == "running" for attempt in here)


@contextlib.contextmanager
def attempt(folder: Path, command: str) -> Iterator[Attempt]:
    """Record the block as an attempt at the run of a folder, and how it ended.

    The block may set ``work`` and ``headline`` of the attempt.

    Args:
        folder: The run's; created if it is missing.
        command: The command line that repeats the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = _attempt_of(os.getpid(), command)
    if (started := _starting(folder, now.process, now.process_began)) is not None:
        now.began = started.began  # so that this attempt replaces the launcher's record of it
    _write(folder, now)
    with _beating(folder / FILE):
        try:
            yield now
        except BaseException as error:  # also what a signal raises
            stopped = isinstance(error, KeyboardInterrupt | Stopped)
            now.outcome = "stopped" if stopped else "failed"
            lines = str(error).strip().splitlines() or [""]
            now.error = lines[-1] or type(error).__name__
            raise
        else:
            now.outcome = "finished"
        finally:
            now.ended = time.time()
            with contextlib.suppress(OSError):  # a full disk must not hide the error that says so
                _write(folder, now)


def record_start(folder: Path, process: int, command: str) -> None:
    """Record that a process was started for the run of a folder.

    The process records its own attempt seconds later; until then readers can see whether it lives.

    Args:
        folder: The run's, which exists.
        process: The process's number; it may have ended, but must not have been waited for.
        command: The command line that was started.
    """
    with contextlib.suppress(OSError, psutil.Error):  # the process works whether or not this can be written
        started = _attempt_of(process, command)
        started.outcome = STARTING
        here = [attempt for attempt in attempts_of(folder) if attempt.host == started.host]
        # A fast process may have recorded itself already, and this would hide its state.
        if not any(_is_of(attempt, process, started.process_began) for attempt in here):
            _write(folder, started)


def record_end(folder: Path, process: int, code: int, error: str) -> None:
    """Record how a process ended that did not live to record itself; do nothing where it did.

    Args:
        folder: The run's, which exists.
        process: The process's number.
        code: Its exit code.
        error: The last line that it printed.
    """
    if (started := _starting(folder, process)) is None:
        return
    if code == 0:
        started.outcome = "finished"
    else:
        started.outcome = "stopped" if signal_of(code) else "failed"
        started.error = error
    started.ended = time.time()
    # On a full disk the error that ended the run is what must be seen.
    with contextlib.suppress(OSError):
        _write(folder, started)


def _attempt_of(process: int, command: str) -> Attempt:
    return Attempt(
        time.time(), command, commit(), platform.node(), _boot(), process, _uptime_at_start(process)
    )


def _is_of(attempt: Attempt, process: int, began: float) -> bool:
    """Return True if an attempt of this machine is of the process that began so long after the boot."""
    return attempt.process == process and abs(attempt.process_began - began) < 1


def _starting(folder: Path, process: int, began: float | None = None) -> Attempt | None:
    """Return the last attempt of a process of this machine that is recorded as starting; None without one."""
    for attempt in reversed(attempts_of(folder)):
        same = (attempt.host, attempt.process, attempt.outcome) == (platform.node(), process, STARTING)
        if same and (began is None or _is_of(attempt, process, began)):
            return attempt
    return None


def _boot() -> str:
    """Return an identifier of the machine's current boot."""
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    return boot_id.read_text().strip() if boot_id.is_file() else f"{psutil.boot_time():.0f}"


def _uptime_at_start(process: int) -> float:
    """Return how many seconds the machine had been up when a process began.

    Raises:
        psutil.Error: There is no such process.
    """
    booted = psutil.boot_time()  # first: psutil computes the process's start from this clock
    return psutil.Process(process).create_time() - booted


def _write(folder: Path, attempt: Attempt) -> None:
    """Write an attempt into the record, in its place, next to what others have written meanwhile."""
    # Read again each time: a second process may have recorded an attempt at the same run.
    attempts = {(other.host, other.process, other.began): other for other in attempts_of(folder)}
    attempts[attempt.host, attempt.process, attempt.began] = attempt
    write_json(folder / FILE, [asdict(other) for other in attempts.values()])


@contextlib.contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touch a file every half a minute while the block runs."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            # A folder that was deleted meanwhile is no reason to stop a run.
            with contextlib.suppress(OSError):
                os.utime(path)

    # A daemon, so that it never keeps a process alive whose main thread ended.
    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
