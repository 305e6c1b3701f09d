"""Jobs and functions in forks of one process that has imported everything, which takes seconds, once.

Only where no GPU is in use: a device that was initialised is of no use after a fork. The process is Python's
own fork server. It imports :mod:`~moe_distill.sweeps.launchers.preloaded`, and ends with the sweep.
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
NOTE = "MOE_DISTILL_PRELOADED"  # names the file that the module leaves once it has imported everything
_POLL_SECONDS = 0.02
_IMPORT_SECONDS = 300.0
Result = TypeVar("Result")


class WarmProcess:
    """A fork, with the part of ``subprocess.Popen`` that launchers use.

    Args:
        process: Started, and the leader of a session.
    """

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid: int = process.pid or 0

    def poll(self) -> int | None:
        """Return the exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        self._process.join()
        return self._process.exitcode or 0


def can_fork() -> bool:
    """Say whether this platform has a fork server."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def start_warm(command: Sequence[str], environment: dict[str, str], console: Path) -> WarmProcess:
    """Start ``python -m module ...`` in a fork; what it prints goes to a file.

    Args:
        command: The program, ``-m``, the module and its arguments.
        environment: All of the job's.
        console: The file, which is there.

    Raises:
        OSError: The system did not let it.
    """
    _wait_for_server(environment)
    ready, tell_ready = multiprocessing.Pipe(duplex=False)
    process = _process(_run_module, tell_ready, command[2:], environment, console)
    try:
        _start(process)
    finally:
        tell_ready.close()
    with ready, contextlib.suppress(EOFError):  # it has ended already
        ready.recv()
    return WarmProcess(process)


def call_warm(function: Callable[..., Result], *arguments: object) -> Result:
    """Return what a function returns in a fork: what it loads does not stay in the memory of this process.

    Args:
        function: Of a module, so that the fork can import it.
        arguments: Of the function; they can be pickled, as can what it returns or raises.

    Raises:
        OSError: The process could not be started, or was ended from outside.
        Exception: What the function raises.
    """
    _wait_for_server(dict(os.environ))
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = _process(_answer, sender, function, arguments)
    try:
        _start(process)
        sender.close()
        answer, error = receiver.recv()
    except EOFError as lost:
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
    """Start the server unless it runs, and return once it has imported everything; a signal ends the
    waiting.
    """
    note = Path(get_temp_dir(), "preloaded")
    forkserver.set_forkserver_preload([_PRELOADED])
    resource_tracker.ensure_running()  # which the server would start, and unblock signals as it does so
    with _signals_held_back(), _environment({**environment, NOTE: str(note)}):
        forkserver.ensure_running()
    end = time.monotonic() + _IMPORT_SECONDS
    while not note.exists() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _start(process: BaseProcess) -> None:
    """Start a process; a signal that comes meanwhile is heeded once its number is known.

    Raises:
        OSError: The system did not let it.
    """
    try:
        with _signals_held_back():
            process.start()
    except EOFError as error:
        raise OSError("the process that starts jobs has ended") from error


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Block what asks a run to end.

    The server, and each fork until it is ready, inherit that: a terminal sends Ctrl-C to all of its
    processes, and a server that ended by it would take the exit codes of its jobs along.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(environment: dict[str, str]) -> Iterator[None]:
    """Work in another environment, of which libraries read parts when they are imported."""
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
    """Run a function in the fork, in a session and folder as those of a fresh process."""
    os.setsid()
    os.chdir(folder)
    function(*arguments)


def _answer(sender: Connection, function: Callable[..., object], arguments: Sequence[object]) -> None:
    """Send what a function returns and what it raises, one of them None."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        sender.send((function(*arguments), None))
    except Exception as error:
        sender.send((None, error))


def _run_module(
    ready: Connection, command: Sequence[str], environment: dict[str, str], console: Path
) -> None:
    """Become, in the fork, what ``python -m`` would be.

    Args:
        ready: Is told when signals reach the process.
        command: The module and its arguments.
        environment: As for :func:`start_warm`, as is ``console``.
        console: See ``environment``.
    """
    log = os.open(console, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # Unbuffered, as PYTHONUNBUFFERED has it, which Python reads only at its start.
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
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out
