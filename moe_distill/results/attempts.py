"""What became of a run: each attempt at it, written into the run's folder as it begins and as it ends.

A kill, a full disk or a restarted machine cannot write its own end. Whoever reads the record later tells from
the process, the machine's start and the record's age whether an attempt without an end still works.
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
        began: When, in seconds since 1970, as is ``ended``; None while it works, and after a kill.
        command: What repeats it.
        host: The machine, with what tells its start from its other ones (``boot``), the process, and how many
            seconds after that start this one was started. Neither changes where the machine's clock is set.
        outcome: ``finished``, ``failed`` or ``stopped`` (by a signal that asks for it); ``starting`` from the
            moment its launcher starts its process until that, having imported for seconds, takes the record
            over; None while it works, and after a kill.
        error: The last line of an error.
        work: What tells it from other work (see ``identity`` of :mod:`~moe_distill.sweeps.jobs`), once it is
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
        """Say what became of it.

        One of ``finished``, ``failed``, ``stopped``, ``running``, ``killed`` and ``restarted`` (the machine
        was).

        Args:
            touched: When its record was last written, which a living attempt does every half a minute; what
                is left of an attempt on another machine. A time to come is no sign of life, but for what
                clocks differ by.
        """
        if self.outcome not in (None, STARTING):
            return self.outcome
        if self.host != platform.node():
            return "running" if abs(time.time() - touched) < _SILENT_SECONDS else "killed"
        if _boot() != self.boot:
            return "restarted"
        try:
            alive = abs(_uptime_at_start(self.process) - self.process_began) < 1
        except psutil.Error:
            alive = False
        return "running" if alive else "killed"


def attempts_of(folder: Path) -> list[Attempt]:
    """Return the attempts at the run of a folder, the first one first; none where their record cannot be
    read.
    """
    try:
        require_readable(folder / FILE)
        return [Attempt(**told) for told in json.loads((folder / FILE).read_text())]
    except (OSError, ValueError, TypeError, RecursionError):
        return []


def state_of(folder: Path) -> str:
    """Return the state of the last attempt at the run of a folder; ``missing`` where there is none.

    A log without an attempt is of a process that ended before it could record one.
    """
    if tried := attempts_of(folder):
        return last_state(folder, tried)
    return "failed" if (folder / LOG).is_file() else "missing"


def last_state(folder: Path, tried: Sequence[Attempt]) -> str:
    """Return the state of the last one of some attempts at the run of a folder."""
    return tried[-1].state((folder / FILE).stat().st_mtime)


def headline_of(folder: Path) -> float | None:
    """Return the number that the run of a folder returned when it finished last; None where it has none."""
    return next((one.headline for one in reversed(attempts_of(folder)) if one.outcome == "finished"), None)


def works_here(folder: Path) -> bool:
    """Say whether a living process of this machine works at the run of a folder."""
    return any(one.host == platform.node() and one.state(0) == "running" for one in attempts_of(folder))


@contextlib.contextmanager
def attempt(folder: Path, command: str) -> Iterator[Attempt]:
    """Record the block as an attempt at the run of a folder, and how it ended; the block may say what its
    work is.

    Args:
        folder: The run's; made where it is missing.
        command: What repeats the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = _attempt_of(os.getpid(), command)
    if (started := _starting(folder, now.process, now.process_began)) is not None:
        now.began = started.began
    _write(folder, now)
    with _beating(folder / FILE):
        try:
            yield now
        except BaseException as error:
            asked = isinstance(error, KeyboardInterrupt | Stopped)
            now.outcome = "stopped" if asked else "failed"
            now.error = (str(error).strip().splitlines() or [""])[-1] or type(error).__name__
            raise
        else:
            now.outcome = "finished"
        finally:
            now.ended = time.time()
            with contextlib.suppress(OSError):  # a full disk must not hide the error that says so
                _write(folder, now)


def note_start(folder: Path, process: int, command: str) -> None:
    """Record that a process was started to work at the run of a folder, which it will itself record later.

    Whoever looks meanwhile can then tell whether it lives.

    Args:
        folder: The run's, which is there.
        process: The process's number; it may have ended, but nobody waited for it yet.
        command: What was started.
    """
    with contextlib.suppress(OSError, psutil.Error):  # the process works whether or not this can be written
        started = _attempt_of(process, command)
        started.outcome = STARTING
        recorded = (
            (one.process, one.process_began) for one in attempts_of(folder) if one.host == started.host
        )
        if not any(pid == process and abs(began - started.process_began) < 1 for pid, began in recorded):
            _write(folder, started)


def note_end(folder: Path, process: int, code: int, error: str) -> None:
    """Record how a process ended that did not live to record itself; nothing where it did.

    Args:
        folder: As for :func:`note_start`, as is ``process``.
        process: See ``folder``.
        code: Its exit code.
        error: What it said last.
    """
    if (started := _starting(folder, process)) is None:
        return
    started.outcome = "finished" if code == 0 else "stopped" if signal_of(code) else "failed"
    started.ended, started.error = time.time(), error if code else None
    with contextlib.suppress(OSError):
        _write(folder, started)


def _attempt_of(process: int, command: str) -> Attempt:
    return Attempt(
        time.time(), command, commit(), platform.node(), _boot(), process, _uptime_at_start(process)
    )


def _starting(folder: Path, process: int, began: float | None = None) -> Attempt | None:
    """Return the last attempt of a process of this machine that has only been started; None where there is
    none.
    """
    return next(
        (
            one
            for one in reversed(attempts_of(folder))
            if (one.host, one.process, one.outcome) == (platform.node(), process, STARTING)
            and (began is None or abs(one.process_began - began) < 1)
        ),
        None,
    )


def _boot() -> str:
    """Return what tells this start of the machine from its other ones."""
    named = Path("/proc/sys/kernel/random/boot_id")
    return named.read_text().strip() if named.is_file() else f"{psutil.boot_time():.0f}"


def _uptime_at_start(process: int) -> float:
    """Return how many seconds the machine had been up when a process began.

    Raises:
        psutil.Error: There is no such process.
    """
    booted = psutil.boot_time()  # first: the process's own start is told on this clock
    return psutil.Process(process).create_time() - booted


def _write(folder: Path, own: Attempt) -> None:
    """Write an attempt into the record, in its place, beside what others have written meanwhile."""
    tried = {(one.host, one.process, one.began): one for one in attempts_of(folder)}
    tried[own.host, own.process, own.began] = own
    write_json(folder / FILE, [asdict(one) for one in tried.values()])


@contextlib.contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touch a file every half a minute meanwhile."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
