"""Call the functions that a sweep's configuration names, and report how its jobs ended."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import CompactHydraException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.processes import was_stopped

log = logging.getLogger(__name__)


class JobError(CompactHydraException, RuntimeError):
    """Jobs of a sweep failed or were stopped; the message counts them, as a line was printed about each."""


class EndedJob(JobReturn):
    """Hydra's record of a job; unlike Hydra's class, it prints nothing when ``return_value`` raises."""

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """The job's headline number, or None.

        Raises:
            JobError: The job failed or was stopped.
        """
        if self.status is not JobStatus.COMPLETED:
            raise self._return_value
        return self._return_value


def job_return(config: DictConfig, failure: str | None, headline: float | None) -> JobReturn:
    """Return a job's outcome as Hydra expects it.

    Args:
        config: The job's configuration.
        failure: The message of the JobError that reading ``return_value`` raises; None for a finished job.
        headline: The number that a sweeper may optimise.
    """
    return EndedJob(
        overrides=list(config.hydra.overrides.task),
        cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
        status=JobStatus.FAILED if failure else JobStatus.COMPLETED,
        _return_value=JobError(failure) if failure else headline,
    )


def counted_ends(outcomes: Sequence[str | None]) -> str:
    """Return how many jobs failed or were stopped, in words; an empty text if none.

    Args:
        outcomes: For each job what went wrong in one line, or None.

    Example:
        >>> counted_ends([None, "seed=1: exit code 1"])
        '1 of 2 jobs failed'
    """
    stopped = sum(failure is not None and was_stopped(failure) for failure in outcomes)
    failed = sum(failure is not None for failure in outcomes) - stopped
    counts = [
        f"{count} of {len(outcomes)} jobs {how}"
        for count, how in ((failed, "failed"), (stopped, "stopped"))
        if count
    ]
    return ", ".join(counts)


def function_of(key: str, path: str) -> Callable[[Sequence[DictConfig]], Any]:
    """Return the function that a configuration key names by its dotted name.

    Raises:
        InputError: There is no such function.
    """
    try:
        return get_method(path)
    except (ImportError, ValueError) as error:
        raise InputError(key, path, "the dotted name of a function that can be imported, or null") from error


def answer(key: str, path: str, configs: Sequence[DictConfig]) -> Any:
    """Call the function that a configuration key names with all jobs, and return its result.

    Args:
        key: The key, such as ``before_sweep``.
        path: The function's dotted name.
        configs: The composed jobs; the resolver ``${hydra:...}`` knows only the last one.

    Raises:
        InputError: There is no such function.
    """
    function = function_of(key, path)
    setup_globals()  # Hydra's resolvers, which a fork does not have yet
    HydraConfig.instance().set_config(configs[-1])  # as it is after composing in the sweep's own process
    return function(configs)


def show(text: str | None) -> None:
    """Log a text, unless it is None."""
    if text is not None:
        log.info(text)
