"""Hydra launcher ``process``: every job of a sweep is an ordinary single run in a process of this machine."""

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from moe_distill.sweeps.launchers.composing import FreshProcessLauncher, LauncherInputError
from moe_distill.sweeps.launchers.processes import Job, run_jobs, start_fresh
from moe_distill.sweeps.launchers.warm import call_warm, can_fork, start_warm


@dataclass
class ProcessLauncherConf:
    """Options of ``hydra/launcher=process``.

    Args:
        n_jobs: Number of jobs at a time, if ``gpus`` is null.
        gpus: The slots, each with the GPUs of one job at a time: ``"0,1;2,3"`` is two slots of two GPUs,
            ``auto`` is a slot for each visible GPU, null leaves the choice to the job. Several slots may have
            the same GPU.
        module: The module that ``python -m`` runs; null is the one that started the sweep.
        warm: Whether jobs on the CPU are forked from a process that has imported everything; false starts
            each as a new process, which needs seconds for its imports.
    """

    _target_: str = "hydra_plugins.moe_distill_launcher.ProcessLauncher"
    n_jobs: int = 1
    gpus: str | None = None
    module: str | None = None
    warm: bool = True


ConfigStore.instance().store(
    group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="moe_distill"
)


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs that a job would see: ``CUDA_VISIBLE_DEVICES``, or all of nvidia-smi.

    Example:
        >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "0,2"})
        ['0', '2']
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:  # not by torch, which this process would have to import for seconds
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", answer.stdout, re.MULTILINE)


def gpu_slots(n_jobs: int, gpus: str | None, environ: Mapping[str, str]) -> list[str | None]:
    """Return a slot for each job that may run at a time: its ``CUDA_VISIBLE_DEVICES``, or None to keep it.

    Args:
        n_jobs: See :class:`ProcessLauncherConf`.
        gpus: See :class:`ProcessLauncherConf`.
        environ: The environment variables.

    Example:
        >>> gpu_slots(1, "0,1;2,3", {}), gpu_slots(2, None, {})
        (['0,1', '2,3'], [None, None])

    Raises:
        InputError: ``n_jobs`` below 1 or unlike the number of slots, a malformed slot, or ``auto`` without
            any GPU.
    """
    if n_jobs < 1:
        raise LauncherInputError("hydra.launcher.n_jobs", n_jobs, "1 or more")
    if gpus is None:
        return [None] * n_jobs
    slots = visible_gpus(environ) if gpus == "auto" else [slot.replace(" ", "") for slot in gpus.split(";")]
    if not slots:
        raise LauncherInputError(
            "hydra.launcher.gpus", gpus, "no GPU is visible here; leave it out, or name them"
        )
    if not all(re.fullmatch(r"[^,]+(,[^,]+)*", slot) for slot in slots):
        raise LauncherInputError("hydra.launcher.gpus", gpus, 'null, auto, or sets of GPUs such as "0,1;2,3"')
    # 1 is the default; any other number must agree with the slots.
    if n_jobs not in (1, len(slots)):
        raise LauncherInputError(
            "hydra.launcher.n_jobs", n_jobs, f"leave it out: gpus={gpus} has {len(slots)} slots"
        )
    return list(slots)


class ProcessLauncher(FreshProcessLauncher):
    """Runs the jobs of a sweep as processes; the arguments are those of :class:`ProcessLauncherConf`."""

    slots: list[str | None]

    def __init__(self, n_jobs: int, gpus: str | None, module: str | None, warm: bool) -> None:
        super().__init__(module)
        self.n_jobs, self.gpus, self.warm = n_jobs, gpus, warm

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, one on each slot at a time.

        Raises:
            InputError: An option is invalid, or two jobs have the same folder.
            SystemExit: The sweep was stopped by a signal.
        """
        self.slots = gpu_slots(self.n_jobs, self.gpus, os.environ)
        return self.sweep(job_overrides, initial_job_idx)

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Decide whether the jobs are forked: none of them may use a GPU, as CUDA does not survive a fork."""
        on_cpu = all(OmegaConf.select(config, "trainer.accelerator") == "cpu" for config in configs)
        without_gpu = self.gpus is None and (on_cpu or not visible_gpus(os.environ))
        self.forks = self.warm and can_fork() and without_gpu

    def run(self, jobs: Sequence[Job]) -> Sequence[str | None]:
        """Run the jobs."""
        return run_jobs(jobs, self.slots, start_warm if self.forks else start_fresh)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function, which runs in a fork if the jobs do."""
        # The fork server has everything imported that the function would have to import here.
        return call_warm(function, *arguments) if self.forks else super().call(function, *arguments)
