"""Hydra launcher ``process``: every job of a sweep is an ordinary single run in a fresh process.

Nothing leaks from job to job (environment, process groups, trackers), a crash costs one job, and the first line of a
job's ``console.log`` is the command that repeats it. Jobs leave their results in files: a sweeper gets None from each.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from moe_distill.errors import InputError
from moe_distill.launcher.processes import Job, run_jobs

log = logging.getLogger(__name__)


@dataclass
class ProcessLauncherConf:
    """Options of ``hydra/launcher=process``.

    Args:
        n_jobs: Jobs at a time, where no GPUs are named.
        gpus: The sets of GPUs to share out, one job each at a time: ``"0,1;2,3"`` is two slots of two, ``auto`` is one
            slot for each visible GPU, null leaves the choice to the job. A GPU may stand in several slots.
        module: What ``python -m`` runs; null is the module that started the sweep.
    """

    _target_: str = "hydra_plugins.moe_distill_launcher.ProcessLauncher"
    n_jobs: int = 1
    gpus: str | None = None
    module: str | None = None


ConfigStore.instance().store(group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="moe_distill")


class LauncherInputError(CompactHydraException, InputError):
    """An InputError that Hydra prints as one line, without a traceback."""


class JobError(CompactHydraException, RuntimeError):
    """A job ended with another exit code than 0; the message names job, code, log and last error line."""


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs a job would see, by ``CUDA_VISIBLE_DEVICES`` or else by ``nvidia-smi -L``."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", answer.stdout, re.MULTILINE)


def gpu_slots(n_jobs: int, gpus: str | None, environ: Mapping[str, str]) -> list[str | None]:
    """Return one entry for each job that may run at a time: its ``CUDA_VISIBLE_DEVICES``, None to leave that alone.

    Raises:
        InputError: ``n_jobs`` below 1 or unlike the number of slots, a malformed slot, or ``auto`` without any GPU.
    """
    if n_jobs < 1:
        raise LauncherInputError("hydra.launcher.n_jobs", n_jobs, "1 or more")
    if gpus is None:
        return [None] * n_jobs
    slots = visible_gpus(environ) if gpus == "auto" else [slot.replace(" ", "") for slot in gpus.split(";")]
    if not slots:
        raise LauncherInputError("hydra.launcher.gpus", gpus, "no GPU is visible here; leave it out, or name them")
    if not all(re.fullmatch(r"[^,]+(,[^,]+)*", slot) for slot in slots):
        raise LauncherInputError("hydra.launcher.gpus", gpus, 'null, auto, or sets of GPUs such as "0,1;2,3"')
    if n_jobs not in (1, len(slots)):
        raise LauncherInputError("hydra.launcher.n_jobs", n_jobs, f"leave it out: gpus={gpus} has {len(slots)} slots")
    return list(slots)


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


def _call(hook: str, configs: Sequence[DictConfig]) -> None:
    """Print what the function says that a config key names; None names none."""
    path = OmegaConf.select(configs[0], hook)
    if path is not None:
        log.info(get_method(path)(configs))


def job_return(config: DictConfig, job: Job) -> JobReturn:
    """Return the outcome as Hydra wants it; reading ``return_value`` of a failed job raises JobError."""
    failure = job.failure()
    return JobReturn(
        overrides=list(config.hydra.overrides.task),
        cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
        status=JobStatus.FAILED if failure else JobStatus.COMPLETED,
        _return_value=JobError(failure) if failure else None,
    )


class ProcessLauncher(Launcher):
    """Run the jobs of a sweep as fresh processes; the arguments are those of ProcessLauncherConf."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    def __init__(self, n_jobs: int, gpus: str | None, module: str | None) -> None:
        self.n_jobs, self.gpus, self.module = n_jobs, gpus, module

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what the sweep runs; called by Hydra before ``launch``."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose every job, run them all, and sum up what failed.

        Config keys name functions, list of composed job configs -> text: ``before_sweep`` is called and its text
        printed before the first job, ``after_sweep`` after the last one has ended, well or not. ``instead`` is called
        in place of all jobs, which are then composed without the choice of a pipeline that brought the key. In these
        configs the resolver ``${hydra:...}`` knows the last job only.

        Raises:
            InputError: Options that cannot be met, or two jobs with the same folder.
            SystemExit: The sweep was stopped by a signal.
        """
        slots = gpu_slots(self.n_jobs, self.gpus, os.environ)
        module = module_name(self.module, self.task)
        setup_globals()
        configs = self._compose_all(job_overrides, initial_job_idx)
        instead = OmegaConf.select(configs[0], "instead")
        if instead is not None:
            asked = {o for o in self.config.hydra.overrides.task if o.startswith("pipeline=")}
            own = [[o for o in overrides if o not in asked] for overrides in job_overrides]
            log.info(get_method(instead)(self._compose_all(own, initial_job_idx)))
            return []
        jobs = [self._job(config, module) for config in configs]
        check_folders(jobs)
        _call("before_sweep", configs)
        run_jobs(jobs, slots)
        _call("after_sweep", configs)
        failures = [failure for job in jobs if (failure := job.failure())]
        if failures:
            log.error("%d of %d jobs failed:\n  %s", len(failures), len(jobs), "\n  ".join(failures))
        return [job_return(config, job) for config, job in zip(configs, jobs, strict=True)]

    def _compose_all(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[DictConfig]:
        return [self._compose(overrides, number) for number, overrides in enumerate(job_overrides, first)]

    def _compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Compose one job as its process will, down to its folder (``hydra.runtime.output_dir``)."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # the name of the folder may use the resolver ${hydra:...}
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute())
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
