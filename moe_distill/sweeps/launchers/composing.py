"""What launchers of fresh processes share: every job of a sweep as the ordinary single run that repeats it.

Nothing leaks from job to job (environment, process groups, trackers), a crash costs one job, and the first line of a
job's ``console.log`` is the command that repeats it. Jobs leave their results in files: a sweeper gets None from each.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from moe_distill.config.arguments import named
from moe_distill.errors import InputError
from moe_distill.results.attempts import works_here
from moe_distill.stopping import GOES_ON
from moe_distill.store.locks import locked
from moe_distill.sweeps.launchers.outcomes import counted_ends, hook_of, job_return, left, show
from moe_distill.sweeps.launchers.processes import Job
from moe_distill.sweeps.looking import current_look

log = logging.getLogger(__name__)
_SHORT_SECONDS = 1.0
_FREE = "a folder where no sweep runs: wait, or set name="


class LauncherInputError(CompactHydraException, InputError):
    """An InputError that Hydra prints as one line, without a traceback."""


def source_flags(config: DictConfig) -> list[str]:
    """Return the options that make a child compose from the very sources ``config`` was composed from."""
    flags = []
    for source in config.hydra.runtime.config_sources:
        path = source.path if source.schema == "file" else f"{source.schema}://{source.path}"
        flag = {"main": "--config-path", "command-line": "--config-dir"}.get(source.provider)
        flags += [flag, path] if flag else []
    name = config.hydra.job.config_name
    return [*flags, "--config-name", name] if name else flags


def module_name(module: str | None, task: TaskFunction) -> str:
    """Return what ``python -m`` runs: ``module``, else the module Python was started with, else that of ``task``.

    Raises:
        InputError: Python was started with a path, so that the module has no name.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None under a console script
    name = module or (spec.name if spec else task.__module__)
    if name == "__main__":
        raise LauncherInputError("hydra.launcher.module", module, "name the module, or start the sweep by python -m")
    return name


def check_folders(jobs: Sequence[Job]) -> None:
    """Check that no two jobs share a folder.

    Raises:
        InputError: Two do.
    """
    owners: dict[Path, Job] = {}
    for job in jobs:
        owner = owners.setdefault(job.folder, job)
        if owner is not job:
            allowed = f"a folder for each job; this one would serve ({owner.name}) and ({job.name})"
            raise LauncherInputError("hydra.sweep.subdir", job.folder, allowed)


def check_idle(jobs: Sequence[Job]) -> None:
    """Check that no process of this machine works at one of the jobs.

    Raises:
        InputError: One does.
    """
    busy = [job for job in jobs if works_here(job.folder)]
    if busy:
        names = ", ".join(f"({job.name})" for job in busy)
        allowed = f"a sweep of which no job is running; wait for, or end, what works here already at {names}"
        raise LauncherInputError("hydra.sweep.dir", busy[0].folder.parent, allowed)


class FreshProcessLauncher(Launcher):
    """Compose every job of a sweep and hand all of them over to what runs them.

    Args:
        module: What ``python -m`` runs; null is the module that started the sweep.
    """

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    def __init__(self, module: str | None) -> None:
        self.module = module

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what the sweep runs; called by Hydra before ``launch``."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def sweep(
        self,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,
        run: Callable[[Sequence[Job]], Sequence[str | None]],
    ) -> Sequence[JobReturn]:
        """Compose every job, run them all, and sum up what failed.

        Config keys name functions, list of composed job configs -> text: ``before_sweep`` is called and its text
        printed before the first job, ``after_sweep`` after the last one has ended, well or not. ``done_already`` says
        of each job whether it is to be left out, once ``before_sweep`` was called. A command that looks
        at runs does so in the place of all jobs. In these
        configs the resolver ``${hydra:...}`` knows the last job only.

        Args:
            job_overrides: What each job's command line says.
            initial_job_idx: Number of the first job.
            run: Runs the jobs and returns, for each, what went wrong in one line, or None.

        Raises:
            InputError: Options that cannot be met, two jobs with the same folder, or a sweep or job that is running.
        """
        module = module_name(self.module, self.task)
        setup_globals()
        first = self._compose(job_overrides[0], initial_job_idx)
        configs = [first, *self._compose_all(job_overrides[1:], initial_job_idx + 1)]
        if (look := current_look()) is not None:
            log.info(look.at_sweep(configs))
            return []
        jobs = [self._job(config, module) for config in configs]
        check_folders(jobs)
        self.check(configs)
        # Until a first job has begun, nothing else tells that a sweep runs there.
        with locked(jobs[0].folder.parent / ".sweep.lock", "hydra.sweep.dir", refusal=_FREE):
            check_idle(jobs)
            outcomes = self._run(jobs, configs, run)
            counted = counted_ends(outcomes)
            if counted:
                log.error("%s:\n  %s", counted, "\n  ".join(failure for failure in outcomes if failure))
            show(hook_of("after_sweep", first), configs)
        error = f"{counted}, as said above; {GOES_ON}"
        return [job_return(c, error if failure else None) for c, failure in zip(configs, outcomes, strict=True)]

    def _run(
        self, jobs: Sequence[Job], configs: Sequence[DictConfig], run: Callable[[Sequence[Job]], Sequence[str | None]]
    ) -> list[str | None]:
        """Say what the jobs cost, run those that are not done, and return what went wrong with each."""
        began = time.monotonic()
        before, done = (hook_of(name, configs[0]) for name in ("before_sweep", "done_already"))
        imports = time.monotonic() - began  # of what each job imports too
        show(before, configs)
        waiting = left(jobs, done, configs)
        if waiting and imports > _SHORT_SECONDS:
            log.info("+ about %.0f s start for each of %d jobs", imports, len(waiting))
        ended = dict(zip(waiting, run([jobs[i] for i in waiting]) if waiting else [], strict=True))
        return [ended.get(i) for i in range(len(jobs))]

    def _compose_all(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[DictConfig]:
        return [self._compose(overrides, number) for number, overrides in enumerate(job_overrides, first)]

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Refuse, before the forecast, jobs that the launcher cannot run."""

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Compose one job as its process will, down to its folder (``hydra.runtime.output_dir``)."""
        config = self.context.config_loader.load_sweep_config(self.config, [*map(named, overrides)])
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # the name of the folder may use the resolver ${hydra:...}
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute())
        HydraConfig.instance().set_config(config)
        return config

    def _job(self, config: DictConfig, module: str) -> Job:
        """Return the single run that repeats what was composed."""
        hydra, task = list(config.hydra.overrides.hydra), list(config.hydra.overrides.task)
        folder = Path(config.hydra.runtime.output_dir)
        own = [
            f"hydra.job.num={config.hydra.job.num}",
            f"hydra.job.id={config.hydra.job.id}",
            f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}",
            "hydra.mode=RUN",
        ]
        hydra = [override for override in hydra if not override.startswith("hydra.mode=")]
        command = [sys.executable, "-m", module, *source_flags(config), *task, *hydra, *own]
        return Job(" ".join(task) or folder.name, folder, command)
