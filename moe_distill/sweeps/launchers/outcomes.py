"""What is asked about the jobs of a sweep before and after they run, and how they ended."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.processes import Job, was_stopped

log = logging.getLogger(__name__)
Hook = Callable[[Sequence[DictConfig]], Any]


class JobError(CompactHydraException, RuntimeError):
    """Jobs of a sweep did not end well; the message counts them, as a line was printed of each."""


class EndedJob(JobReturn):
    """What Hydra keeps of a job; unlike its own, it prints nothing where ``return_value`` raises."""

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """None; the launcher's jobs leave their results in files.

        Raises:
            JobError: The job did not end well.
        """
        if self.status is not JobStatus.COMPLETED:
            raise self._return_value
        return self._return_value


def job_return(config: DictConfig, failure: str | None) -> JobReturn:
    """Return the outcome as Hydra wants it; reading ``return_value`` of a job that did not end well raises JobError.

    Args:
        config: The job's.
        failure: How to say that it did not; None where it did.
    """
    return EndedJob(
        overrides=list(config.hydra.overrides.task),
        cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
        status=JobStatus.FAILED if failure else JobStatus.COMPLETED,
        _return_value=JobError(failure) if failure else None,
    )


def counted_ends(outcomes: Sequence[str | None]) -> str:
    """Say how many of the jobs did not end well; nothing where all did."""
    stopped = sum(failure is not None and was_stopped(failure) for failure in outcomes)
    failed = sum(failure is not None for failure in outcomes) - stopped
    counts = [
        f"{count} of {len(outcomes)} jobs {how}" for count, how in ((failed, "failed"), (stopped, "stopped")) if count
    ]
    return ", ".join(counts)


def hook_of(key: str, config: DictConfig) -> Hook | None:
    """Return the function that a config key names; None names none.

    Raises:
        InputError: There is no such function.
    """
    path = OmegaConf.select(config, key)
    try:
        return None if path is None else get_method(path)
    except (ImportError, ValueError) as error:
        raise InputError(key, path, "the dotted name of a function that can be imported, or null") from error


def show(hook: Hook | None, configs: Sequence[DictConfig]) -> None:
    """Print what a function says of the jobs, where there is one."""
    if hook is not None:
        log.info(hook(configs))


def left(jobs: Sequence[Job], done: Hook | None, configs: Sequence[DictConfig]) -> list[int]:
    """Return the numbers of the jobs that are to be run, and say how many are done."""
    numbers = [i for i, is_done in enumerate(done(configs) if done else [False] * len(jobs)) if not is_done]
    if len(numbers) < len(jobs):
        log.info("found: %d of %d jobs are done already", len(jobs) - len(numbers), len(jobs))
    return numbers
