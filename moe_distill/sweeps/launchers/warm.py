"""Run jobs and functions in forks of one process that has imported everything, which takes seconds.

Only without a GPU: CUDA cannot be used after a fork. The process is Python's own fork server; it imports
:mod:`~moe_distill.sweeps.launchers.preloaded`, and ends with the sweep.
"""

import atexit
import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import TypeVar

from moe_distill.stopping import SIGNALS

_PRELOADED = "moe_distill.sweeps.launchers.preloaded"
NOTE = "MOE_DISTILL_PRELOADED"  # variable with the file that the module creates after its imports
_POLL_SECONDS = 0.02
_IMPORT_SECONDS = 300.0
Result = TypeVar("Result")


class WarmProcess:
    """A fork with the interface of ``subprocess.Popen`` that launchers use.

    Args:
        process: A started process that leads its session.
    """

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid: int = process.pid or 0

    def poll(self) -> int | None:
        """Return the exit code, negative if a signal ended the process; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for the process to end and return the exit code."""
        self._process.join()
        return self._process.exitcode or 0


def can_fork() -> bool:
    """Return True if this platform has a fork server."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def start_warm(command: Sequence[str], environment: dict[str, str], console: Path) -> WarmProcess:
    """Start ``python -m module ...`` in a fork and append its output to a file.

    Args:
        command: The program, ``-m``, the module and its arguments.
        environment: All environment variables of the job.
        console: The file, which must exist.

    Raises:
        OSError: The system refused.
    """
    _wait_for_server(environment)
    ready, tell_ready = multiprocessing.Pipe(duplex=False)
    process = _process(_run_module, tell_ready, command[2:], environment, console)
    try:
        _start(process)
    finally:
        tell_ready.close()
    # Only once the fork leads its session and receives signals can a launcher stop it.
    with ready, contextlib.suppress(EOFError):  # EOFError: it has ended already
        ready.recv()
    return WarmProcess(process)


def call_warm(function: Callable[..., Result], *arguments: object) -> Result:
    """Return the result of a function that runs in a fork, so that this process need not load its data.

    Args:
        function: A function of a module, which the fork imports.
        arguments: Its arguments; they must be picklable, as must its result and exceptions.

    Raises:
        OSError: The process could not be started, or was ended from outside.
        Exception: Whatever the function raises.
    """
    _wait_for_server(dict(os.environ))
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = _process(_answer, sender, function, arguments)
    try:
        _start(process)
        sender.close()
        answer, error = receiver.recv()
    except EOFError as lost:
        # It closed the pipe without an answer: it was killed, or crashed in C code.
        process.join()
        raise OSError(f"the process of {function.__name__} ended with exit code {process.exitcode}") from lost
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
    if error is not None:
        raise error
    return answer


def _process(function: Callable[..., None], *arguments: object) -> BaseProcess:
    return multiprocessing.get_context("forkserver").Process(
        target=_enter, args=(str(Path.cwd()), function, arguments)
    )


def _wait_for_server(environment: dict[str, str]) -> None:
    """Start the fork server unless it runs, and wait until it has imported everything."""
    note = Path(get_temp_dir(), "preloaded")
    forkserver.set_forkserver_preload([_PRELOADED])
    resource_tracker.ensure_running()  # otherwise the server starts it, which unblocks signals
    with _signals_held_back(), _environment({**environment, NOTE: str(note)}):
        forkserver.ensure_running()
    end = time.monotonic() + _IMPORT_SECONDS
    while not note.exists() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _start(process: BaseProcess) -> None:
    """Start a process.

    Raises:
        OSError: The system refused.
    """
    # A signal in the middle would leave a process behind whose id is not known yet.
    try:
        with _signals_held_back():
            process.start()
    except EOFError as error:
        raise OSError("the process that starts jobs has ended") from error


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Block the stop signals during the block, and in processes that are started in it.

    The server, and each fork until it is ready, inherit that: a terminal sends Ctrl-C to all processes, and
    the exit codes of the jobs would be lost with the server.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(environment: dict[str, str]) -> Iterator[None]:
    """Replace the environment variables during the block; libraries read some when they are imported."""
    before = dict(os.environ)
    _set_environment(environment)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _enter(folder: str, function: Callable[..., None], arguments: Sequence[object]) -> None:
    """Run a function in the fork, with a session and working directory as in a new process."""
    os.setsid()
    os.chdir(folder)
    function(*arguments)


def _answer(sender: Connection, function: Callable[..., object], arguments: Sequence[object]) -> None:
    """Send a pair of a function's result and its exception, one of which is None."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        sender.send((function(*arguments), None))
    except Exception as error:
        # Raised again by the caller, who knows what was asked.
        sender.send((None, error))


def _run_module(
    ready: Connection, command: Sequence[str], environment: dict[str, str], console: Path
) -> None:
    """Run a module in the fork as ``python -m`` would.

    Args:
        ready: Receives None once signals reach the process.
        command: The module and its arguments.
        environment: As for :func:`start_warm`.
        console: As for :func:`start_warm`.
    """
    log = os.open(console, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # Unbuffered by hand, as Python reads PYTHONUNBUFFERED only at its start.
    sys.stdout = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False), encoding=sys.stdout.encoding, write_through=True
    )
    _set_environment(environment)
    sys.argv = list(command)
    sys.path.insert(0, str(Path.cwd()))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    ready.send(None)
    ready.close()
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except Exception:
        # As Python ends a program of its own; the fork would print a traceback of multiprocessing.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without calling them
