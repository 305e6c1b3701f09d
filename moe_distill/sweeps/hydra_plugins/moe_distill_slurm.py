"""Hydra launcher ``submitit_slurm``: every job of a sweep is an ordinary single run in a Slurm job."""

from collections.abc import Sequence
from typing import Any, cast

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.composing import FreshProcessLauncher, LauncherInputError
from moe_distill.sweeps.launchers.processes import Job
from moe_distill.sweeps.launchers.slurm import check_queue, executor, run_in_slurm


class SlurmLauncher(FreshProcessLauncher):
    """Runs the jobs of a sweep as Slurm jobs; options as in ``conf/hydra/launcher/submitit_slurm.yaml``."""

    def __init__(self, submitit_folder: str, max_num_timeout: int, **options: Any) -> None:
        super().__init__(module=None)
        self.folder, self.max_num_timeout = submitit_folder, max_num_timeout
        self.options = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(options)))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs as one array and wait for them.

        Raises:
            InputError: An option is invalid, there is no Slurm, or two jobs have the same folder.
        """
        try:
            self.submit = executor(self.folder, self.max_num_timeout, self.options)
            return self.sweep(job_overrides, initial_job_idx)
        except InputError as error:
            raise LauncherInputError(error.key, error.value, error.allowed) from error

    def run(self, jobs: Sequence[Job]) -> Sequence[str | None]:
        """Submit the jobs and wait for them."""
        return run_in_slurm(jobs, self.submit)

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Refuse a sweep that is still queued, and jobs with other Slurm options than the sweep.

        Raises:
            InputError: There is such a job.
        """
        check_queue(self.folder)
        # The jobs of an array all have the same options.
        for config in configs:
            for name, value in self.config.hydra.launcher.items():
                if config.hydra.launcher[name] != value:
                    allowed = f"{value}, as the sweep; sweep what it depends on in sweeps of their own"
                    raise LauncherInputError(f"hydra.launcher.{name}", config.hydra.launcher[name], allowed)
