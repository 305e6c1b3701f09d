"""What is asked about the jobs of a sweep before and after they run, and how they ended."""

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
    """Jobs of a sweep did not end well; the message counts them, as a line was printed of each."""


class EndedJob(JobReturn):
    """What Hydra keeps of a job; unlike its own, it prints nothing where ``return_value`` raises."""

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """The job's headline number; None where it has none.

        Raises:
            JobError: The job did not end well.
        """
        if self.status is not JobStatus.COMPLETED:
            raise self._return_value
        return self._return_value


def job_return(config: DictConfig, failure: str | None, headline: float | None) -> JobReturn:
    """Return the outcome as Hydra wants it; reading ``return_value`` of a job that did not end well raises
    JobError.

    Args:
        config: The job's.
        failure: How to say that it did not; None where it did.
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
    """Say how many of the jobs did not end well; nothing where all did."""
    stopped = sum(failure is not None and was_stopped(failure) for failure in outcomes)
    failed = sum(failure is not None for failure in outcomes) - stopped
    counts = [
        f"{count} of {len(outcomes)} jobs {how}"
        for count, how in ((failed, "failed"), (stopped, "stopped"))
        if count
    ]
    return ", ".join(counts)


def function_of(key: str, path: str) -> Callable[[Sequence[DictConfig]], Any]:
    """Return the function that a config key names by a dotted path.

    Raises:
        InputError: There is no such function.
    """
    try:
        return get_method(path)
    except (ImportError, ValueError) as error:
        raise InputError(key, path, "the dotted name of a function that can be imported, or null") from error


def answer(key: str, path: str, configs: Sequence[DictConfig]) -> Any:
    """Return what the function that a config key names returns of the jobs.

    Args:
        key: Such as ``before_sweep``.
        path: The function's dotted name.
        configs: All jobs'; the resolver ``${hydra:...}`` knows the last one alone.

    Raises:
        InputError: There is no such function.
    """
    function = function_of(key, path)
    setup_globals()  # a process that only answers has no resolvers of Hydra's yet
    HydraConfig.instance().set_config(configs[-1])
    return function(configs)


def show(text: str | None) -> None:
    """Print what a function said of the jobs, if it did."""
    if text is not None:
        log.info(text)
