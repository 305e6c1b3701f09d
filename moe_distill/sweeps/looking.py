"""The commands that look at runs instead of starting them: status and report."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from omegaconf import DictConfig

from moe_distill.config.flags import COMMANDS


@dataclass(frozen=True)
class Look:
    """What a command does with the configurations of runs instead of running them.

    Attributes:
        at_sweep: Takes the composed jobs of a sweep; returns the text to print.
        at_run: Takes the configuration of a single run; returns the text to print.
    """

    at_sweep: Callable[[Sequence[DictConfig]], str]
    at_run: Callable[[DictConfig], str]


_current: ContextVar[Look | None] = ContextVar("look", default=None)


@contextlib.contextmanager
def looking(look: Look | None) -> Iterator[None]:
    """Make the entry point look at runs instead of starting them during the block; None starts them."""
    token = _current.set(look)
    try:
        yield
    finally:
        _current.reset(token)


def current_look() -> Look | None:
    """Return the :class:`Look` of the enclosing :func:`looking`, or None if runs are started."""
    return _current.get()


def _status_of_sweep(configs: Sequence[DictConfig]) -> str:
    from moe_distill.sweeps.hooks import status  # here, as it imports torch, which takes seconds

    return status(configs)


def _status_of_run(cfg: DictConfig) -> str:
    from moe_distill.sweeps.status import status_of_folder

    return status_of_folder(cfg)


def _report_of_sweep(configs: Sequence[DictConfig]) -> str:
    from moe_distill.sweeps.hooks import after

    return after(configs)


def _report_of_run(cfg: DictConfig) -> str:
    from moe_distill.sweeps.report import report_folder

    return report_folder(cfg)


STATUS = Look(_status_of_sweep, _status_of_run)
REPORT = Look(_report_of_sweep, _report_of_run)
_WORDS = dict(zip(COMMANDS, (STATUS, REPORT), strict=True))
# The overrides for both before they were separate commands; to be dropped with the next release.
_FORMER = {"pipeline=status": STATUS, "pipeline=report": REPORT}


def look_of(arguments: Sequence[str]) -> tuple[Look | None, list[str]]:
    """Return what a command line looks at instead of starting runs, or None, and its other words.

    Example:
        >>> look_of(["status", "seed=1"]) == (STATUS, ["seed=1"]), look_of(["seed=1"])
        (True, (None, ['seed=1']))
    """
    if arguments and (look := _WORDS.get(arguments[0])) is not None:
        return look, [*arguments[1:]]
    former = next((look for word, look in _FORMER.items() if word in arguments), None)
    return former, [word for word in arguments if word not in _FORMER]
