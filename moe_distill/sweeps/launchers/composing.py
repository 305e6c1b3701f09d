"""The base of our launchers: each job of a sweep becomes a single run in a separate process.

Nothing leaks from job to job (environment, process groups, trackers), a crash costs one job, and the first
line of a job's ``console.log`` is the command that repeats it. A sweeper gets each job's headline number.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from moe_distill.config.arguments import with_option_quoted
from moe_distill.errors import InputError
from moe_distill.results.attempts import headline_of, is_running_here
from moe_distill.stopping import GOES_ON
from moe_distill.store.locks import locked
from moe_distill.sweeps.launchers.outcomes import answer, counted_ends, function_of, job_return, show
from moe_distill.sweeps.launchers.processes import Job
from moe_distill.sweeps.looking import current_look

log = logging.getLogger(__name__)
_SHORT_SECONDS = 1.0
_FREE = "a folder where no sweep runs: wait, or set name="


class LauncherInputError(CompactHydraException, InputError):
    """An InputError that Hydra prints as one line, without a traceback."""


def source_flags(config: DictConfig) -> list[str]:
    """Return the command-line options by which a child process composes from the same yamls as ``config``."""
    flags = []
    for source in config.hydra.runtime.config_sources:
        path = source.path if source.schema == "file" else f"{source.schema}://{source.path}"
        flag = {"main": "--config-path", "command-line": "--config-dir"}.get(source.provider)
        flags += [flag, path] if flag else []
    name = config.hydra.job.config_name
    return [*flags, "--config-name", name] if name else flags


def module_name(module: str | None, task: TaskFunction) -> str:
    """Return the name of the module that ``python -m`` runs for a job.

    Args:
        module: The name, or None for the module that Python was started with.
        task: The function that Hydra calls; its module is used under a console script.

    Raises:
        InputError: Python was started with a path, so that the module has no name.
    """
    # With python -m, the module's real name is in its spec: __name__ is "__main__".
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None under a console script
    name = module or (spec.name if spec else task.__module__)
    if name == "__main__":
        raise LauncherInputError(
            "hydra.launcher.module", module, "name the module, or start the sweep by python -m"
        )
    return name


def check_folders(jobs: Sequence[Job]) -> None:
    """Refuse jobs that share a folder.

    Raises:
        InputError: Two of them do.
    """
    owners: dict[Path, Job] = {}
    for job in jobs:
        owner = owners.setdefault(job.folder, job)
        if owner is not job:
            allowed = f"a folder for each job; this one would serve ({owner.name}) and ({job.name})"
            raise LauncherInputError("hydra.sweep.subdir", job.folder, allowed)


def check_idle(jobs: Sequence[Job]) -> None:
    """Refuse jobs on which another process of this machine is working.

    Raises:
        InputError: There is such a job.
    """
    busy = [job for job in jobs if is_running_here(job.folder)]
    if busy:
        names = ", ".join(f"({job.name})" for job in busy)
        allowed = f"a sweep of which no job is running; wait for, or end, what works here already at {names}"
        raise LauncherInputError("hydra.sweep.dir", busy[0].folder.parent, allowed)


class FreshProcessLauncher(Launcher):
    """Base class: composes every job of a sweep and passes them all to :meth:`run`.

    Args:
        module: The module that ``python -m`` runs; null is the one that started the sweep.
    """

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    forks = False  # whether jobs are forked from a process that has imported everything

    def __init__(self, module: str | None) -> None:
        self.module = module
        self._launched: dict[Path, DictConfig] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what the sweep runs; called by Hydra before ``launch``."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def run(self, jobs: Sequence[Job]) -> Sequence[str | None]:
        """Run jobs and return, for each, what went wrong in one line, or None; for subclasses.

        Raises:
            NotImplementedError: A subclass does not define it.
        """
        raise NotImplementedError

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function, which may import for seconds and load data."""
        return function(*arguments)

    def ask(self, key: str, configs: Sequence[DictConfig]) -> Any:
        """Call the function that a configuration key names with all jobs; return None if the key is null."""
        path = OmegaConf.select(configs[0], key)
        return None if path is None else self.call(answer, key, path, configs)

    def sweep(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose every job, run them all, and report what failed.

        Three configuration keys name functions of the composed jobs. ``before_sweep`` is called before the
        first job and its text printed; then ``done_already``, which returns for each job whether to leave it
        out; ``after_sweep`` is called after the last job has ended. A status or report command looks at the
        jobs instead of running them. In these configurations the resolver ``${hydra:...}`` knows only the
        last job.

        Args:
            job_overrides: The overrides of each job.
            initial_job_idx: Number of the first job.

        Raises:
            InputError: An option is invalid, two jobs have the same folder, or the sweep or one of its jobs
                is already running.
        """
        module = module_name(self.module, self.task)
        setup_globals()
        first = self._compose(job_overrides[0], initial_job_idx)
        configs = [first, *self._compose_all(job_overrides[1:], initial_job_idx + 1)]
        if (look := current_look()) is not None:  # before any check: looking is allowed while the sweep runs
            log.info(look.at_sweep(configs))
            return []
        jobs = [self._job(config, module) for config in configs]
        check_folders(jobs)
        self.check(configs)
        # Until the first job has begun, the lock is the only sign that a sweep runs there.
        with locked(jobs[0].folder.parent / ".sweep.lock", "hydra.sweep.dir", refusal=_FREE):
            check_idle(jobs)
            # A sweeper such as Optuna's launches some jobs, looks at their results, and launches more: all
            # belong to one sweep.
            folders = {job.folder for job in jobs}
            earlier = [config for folder, config in self._launched.items() if folder not in folders]
            self._launched |= {job.folder: config for job, config in zip(jobs, configs, strict=True)}
            outcomes = self._run(jobs, [*earlier, *configs])
            counted = counted_ends(outcomes)
            if counted:
                log.error("%s:\n  %s", counted, "\n  ".join(failure for failure in outcomes if failure))
            show(self.ask("after_sweep", [*earlier, *configs]))
        error = f"{counted}, as said above; {GOES_ON}"
        return [
            job_return(config, error if failure else None, headline_of(job.folder))
            for config, job, failure in zip(configs, jobs, outcomes, strict=True)
        ]

    def _run(self, jobs: Sequence[Job], configs: Sequence[DictConfig]) -> list[str | None]:
        """Print the forecast, run the jobs that are not done, and return what went wrong with each."""
        imports = self._import_seconds(configs[0])  # before the call below, which imports the same modules
        show(self.ask("before_sweep", configs))
        # The jobs are the last of the configurations, see `earlier` above.
        done = (self.ask("done_already", configs) or [False] * len(jobs))[-len(jobs) :]
        waiting = [i for i, is_done in enumerate(done) if not is_done]
        if len(waiting) < len(jobs):
            log.info("found: %d of %d jobs are done already", len(jobs) - len(waiting), len(jobs))
        outcomes: list[str | None] = [None] * len(jobs)
        if waiting and imports > _SHORT_SECONDS:
            log.info("+ about %.0f s start for each of %d jobs", imports, len(waiting))
        if waiting:
            for i, failure in zip(waiting, self.run([jobs[i] for i in waiting]), strict=True):
                outcomes[i] = failure
        return outcomes

    def _import_seconds(self, config: DictConfig) -> float:
        """Return the seconds that each job needs for imports, measured on those of ``before_sweep``.

        Forked jobs need none.
        """
        path = OmegaConf.select(config, "before_sweep")
        began = time.monotonic()
        if path is not None and not self.forks:
            function_of("before_sweep", path)
        return time.monotonic() - began

    def _compose_all(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[DictConfig]:
        return [self._compose(overrides, number) for number, overrides in enumerate(job_overrides, first)]

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Refuse jobs that the launcher cannot run; called before the forecast, for subclasses."""

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Compose one job as its process will, including its folder (``hydra.runtime.output_dir``)."""
        config = self.context.config_loader.load_sweep_config(
            self.config, [*map(with_option_quoted, overrides)]
        )
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # the folder's name may use the resolver ${hydra:...}
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(
                Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
            )
        HydraConfig.instance().set_config(config)
        return config

    def _job(self, config: DictConfig, module: str) -> Job:
        """Return the single run that repeats what was composed."""
        hydra, task = list(config.hydra.overrides.hydra), list(config.hydra.overrides.task)
        folder = Path(config.hydra.runtime.output_dir)
        # Unlike a single run typed by hand, it keeps the number and the folder that it has in the sweep.
        settings = [
            f"hydra.job.num={config.hydra.job.num}",
            f"hydra.job.id={config.hydra.job.id}",
            f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}",
            "hydra.mode=RUN",
        ]
        hydra = [override for override in hydra if not override.startswith("hydra.mode=")]
        command = [sys.executable, "-m", module, *source_flags(config), *task, *hydra, *settings]
        return Job(" ".join(task) or folder.name, folder, command)
