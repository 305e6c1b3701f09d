"""Commands that look at runs in the place of starting them: how far they are, and their pages again."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from omegaconf import DictConfig


@dataclass(frozen=True)
class Look:
    """What a command does with the configurations of runs.

    Attributes:
        at_sweep: Takes the composed jobs of a sweep; returns what is printed.
        at_run: Takes the configuration of a run of its own; returns what is printed.
    """

    at_sweep: Callable[[Sequence[DictConfig]], str]
    at_run: Callable[[DictConfig], str]


_current: ContextVar[Look | None] = ContextVar("look", default=None)


@contextlib.contextmanager
def looking(look: Look | None) -> Iterator[None]:
    """Have runs looked at, instead of started, meanwhile; None starts them."""
    token = _current.set(look)
    try:
        yield
    finally:
        _current.reset(token)


def current_look() -> Look | None:
    """Return what looks at runs instead of starting them, if anything does."""
    return _current.get()


def _status_of_sweep(configs: Sequence[DictConfig]) -> str:
    from moe_distill.sweeps.hooks import status  # torch comes with it, which takes seconds

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
# How both were asked for before they were commands of their own; to be dropped with the next release.
FORMER = {"pipeline=status": STATUS, "pipeline=report": REPORT}
