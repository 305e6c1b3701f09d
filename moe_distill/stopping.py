"""How a run ends that is told to stop: one line, and an exit code that says so.

Python ends at SIGTERM without a word, and libraries take Ctrl-C for their own (Lightning swallows both). So
each signal that asks a run to end raises one exception here, which nobody else knows, wherever the run may
be.
"""

import atexit
import contextlib
import signal
from collections.abc import Iterator

from moe_distill.terminal import write_error

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GOES_ON = "the same command goes on"
# Some code drops an exception that a signal raised in it, such as a destructor: it is raised again after so
# long.
_AGAIN_SECONDS = 10.0
_unspoken: list["Stopped"] = []


class Stopped(SystemExit):
    """A signal asked the run to end; its exit code is 128 and the signal's number, as of a shell.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        """Return the line that a user sees."""
        return f"stopped; {GOES_ON} ({signal.Signals(self.number).name})"

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return type(self), (self.number,)


def signal_of(code: int) -> signal.Signals | None:
    """Return the signal that asked a process to end, read from its exit code; None where none did."""
    return next((number for number in SIGNALS if code in (128 + number, -number)), None)


def heed() -> None:
    """From here on, let signals end the run by :class:`Stopped`; those that are ignored, as under nohup, stay
    so.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextlib.contextmanager
def heeding() -> Iterator[None]:
    """Let signals end the block by :class:`Stopped`, say so in one line, and leave the handlers as they were.

    A program that called :func:`heed` at its start is over after the block: signals then end it as the system
    does.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heed()
    try:
        yield
    except Stopped:
        _say()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is _stop else handler)


def _stop(number: int, _: object) -> None:
    """Raise the exception of the first signal; those that come while the run unwinds change nothing."""
    if not _unspoken:
        _unspoken.append(Stopped(number))
        atexit.register(_say)  # for a signal that comes while the program is still imported
        signal.signal(signal.SIGALRM, lambda *_: _again())
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS, _AGAIN_SECONDS)
        raise _unspoken[0]


def _again() -> None:
    if _unspoken:
        raise _unspoken[0]


def _say() -> None:
    """Say once why the run ends."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for stopped in _unspoken:
        write_error(str(stopped))
    _unspoken.clear()
