"""Stop a run by a signal: it ends with one line and an exit code that names the signal.

By default Python ends at SIGTERM without a message, and libraries catch Ctrl-C (Lightning swallows both). So
each stop signal raises one exception here that no library catches.
"""

import atexit
import contextlib
import signal
import threading
from collections.abc import Iterator

from moe_distill.terminal import write_error

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GOES_ON = "the same command goes on"
# Python drops an exception that a signal raises inside a destructor: it is raised again after this time.
_RAISE_AGAIN_SECONDS = 10.0
# The signal that was received but not yet reported; a list, as handlers cannot return anything.
_pending: list["Stopped"] = []


class Stopped(SystemExit):
    """A signal asked the run to end; its exit code is 128 plus the signal's number, as in a shell.

    Args:
        number: The signal's.

    Example:
        >>> Stopped(signal.SIGTERM).code
        143
        >>> print(Stopped(signal.SIGTERM))
        stopped; the same command goes on (SIGTERM)
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        """Return the line that a user sees."""
        return f"stopped; {GOES_ON} ({signal.Signals(self.number).name})"

    # SystemExit pickles its exit code, which is not the number that __init__ takes.
    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return type(self), (self.number,)


def signal_of(code: int) -> signal.Signals | None:
    """Return the stop signal that ended a process, or None.

    Args:
        code: The process's exit code: 128 plus the signal's number as shells have it, or minus the number as
            ``subprocess`` has it.

    Example:
        >>> signal_of(143).name, signal_of(-2).name, signal_of(1)
        ('SIGTERM', 'SIGINT', None)
    """
    return next((number for number in SIGNALS if code in (128 + number, -number)), None)


def install_handlers() -> None:
    """Make the stop signals raise :class:`Stopped` from now on."""
    for number in SIGNALS:
        # An ignored signal stays ignored: nohup starts programs with SIGHUP ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextlib.contextmanager
def graceful_stop() -> Iterator[None]:
    """Let stop signals end the block by :class:`Stopped`, reported in one line; then restore the handlers.

    A program that called :func:`install_handlers` at its start is over after the block: its handlers become
    the system's defaults.

    Raises:
        Stopped: A signal asked the run to end.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    install_handlers()
    try:
        yield
    except Stopped:
        # At once: at exit the line would come after everything else.
        _report()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is _stop else handler)


def _stop(number: int, _: object) -> None:
    """Raise the exception of the first signal; those that follow while the run unwinds are ignored."""
    if not _pending:
        _pending.append(Stopped(number))
        atexit.register(_report)  # for a signal during the imports, before any block reports it
        signal.signal(signal.SIGALRM, lambda *_: _raise_again())
        signal.setitimer(signal.ITIMER_REAL, _RAISE_AGAIN_SECONDS, _RAISE_AGAIN_SECONDS)
        raise _pending[0]


def _raise_again() -> None:
    if _pending:
        raise _pending[0]


def _report() -> None:
    """Write once why the run ends."""
    # First: the alarm would raise again in the middle of the report.
    signal.setitimer(signal.ITIMER_REAL, 0)
    for stopped in _pending:
        write_error(str(stopped))
    _pending.clear()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C, or a notebook's stop button, end the block by ``KeyboardInterrupt`` as elsewhere in Python.

    Lightning would end the whole program instead. In threads other than the main one, signals do not arrive
    and nothing is changed.

    Raises:
        KeyboardInterrupt: The user interrupted the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    except Stopped:
        raise KeyboardInterrupt(GOES_ON) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _pending.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
