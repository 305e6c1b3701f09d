"""The configuration's top level: typed values, groups of ``_target_`` yamls, and the resolvers they use."""

import hashlib
import itertools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from moe_distill.config import resolvers
from moe_distill.errors import InputError
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import (
    Count,
    Experts,
    FolderName,
    Hook,
    Momentum,
    NotNegative,
    Numerics,
    Pairing,
    Positive,
    Side,
    Split,
    Students,
    Text,
    Threads,
    Width,
)

NAMELESS = "single"  # the name of a run without name=
# Overrides that are the same for all jobs of a sweep, or decide no result: names of jobs leave them out.
SHARED_BY_JOBS = (
    "+experiment",
    "experiment",
    "debug",
    "scale",
    "logger",
    "data.root",
    "paths.runs",
    "paths.store",
    "threads",
)


@dataclass
class Config:
    """The values every run has.

    Attributes:
        name: The experiment; names folders, wandb groups and a column of the results.
        scale_name: The scale's name, recorded with the results.
        seed: Seed of the distillation.
        seeds: Number of students per architecture.
        split: ``ipc`` and ``noe`` in one word: ``5x2`` is ipc 5 for each of 2 experts.
        ipc: Stored images per class of one expert.
        noe: Number of experts.
        width: Factor on the width of every network except those of libraries.
        numerics: Arithmetic of every network: ``exact`` (float32), or ``bf16`` (products of rounded numbers,
            about twice as fast where the hardware has instructions for them; elsewhere it runs as exact).
        length: Factor on the iterations that the scale or a published row gives a method, such as 0.25 for a
            short run; not on those that a command line sets itself.
        ema: Decay of a moving average of the images over the iterations, which is the set then; null is the
            method's own, as FTD has one.
        least_map: Least side, in pixels, of the last feature map of a library's network for large images.
        mixup_alpha: α of the Beta(α, α) distribution of mixup's weights.
        mixup_pairing: Whether mixup pairs images of ``any`` classes or of the ``same_class``.
        threads: Threads per process; null takes ``OMP_NUM_THREADS``, or divides the cores among processes.
        checkpoint_seconds: Least time between two checkpoints, in seconds.
        curves_every: Iterations between two points of a curve.
        profile: Whether the run's operations are profiled, see ``debug=profiler``.
        shorten: Settings by method that the scale uses instead of published ones.
        student_epochs: Epochs by recipe name, where the scale changes those of single recipes.
        sweep: The axes of a sweep at this scale, read by experiments; ``lists`` names the scale whose list is
            taken where an experiment has one for each.
        before_sweep: Dotted name of a function that is called with a sweep's jobs before they start; the text
            that it returns is printed.
        done_already: The same, called next; returns for each job whether it is left out.
        after_sweep: The same as ``before_sweep``, called after the last job has ended.
        question: What an experiment asks, and which comparison answers it.
    """

    name: FolderName = NAMELESS
    scale_name: Text = "paper"
    seed: int = 0
    seeds: Students = 5
    split: Split = "5x2"
    ipc: Count = "${of_split:${split},ipc}"  # type: ignore[assignment]
    noe: Experts = "${of_split:${split},noe}"  # type: ignore[assignment]
    width: Width = 1.0
    numerics: Numerics = "exact"
    length: Positive = 1.0
    ema: Momentum | None = None
    least_map: Side = 4
    mixup_alpha: NotNegative = 1.0
    mixup_pairing: Pairing = "any"
    threads: Threads | None = None
    checkpoint_seconds: NotNegative = 60.0
    curves_every: Count = 10
    profile: bool = False
    shorten: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    student_epochs: dict[str, Count] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=lambda: {"lists": "${scale_name}"})
    before_sweep: Hook | None = "moe_distill.sweeps.hooks.before"
    done_already: Hook | None = "moe_distill.sweeps.hooks.done_already"
    after_sweep: Hook | None = "moe_distill.sweeps.hooks.after"
    question: dict[str, Any] = field(
        default_factory=lambda: {
            "_target_": "moe_distill.results.question.load_question",
            "paper": "${paper_of:${paths.tables},${name}}",
        }
    )
    paths: Any = None
    data: Any = None
    normalisation: Any = None
    augment: Any = None
    init: Any = None
    partition: Any = None
    model: Any = None
    method: Any = None
    presets: Any = None
    experts: Any = None
    features: Any = None
    diversity: Any = None
    regulariser: Any = None
    optimizer: Any = None
    schedule: Any = None
    perturbation: Any = None
    real_sampling: Any = None
    students: Any = None
    recipe: Any = None
    fusion: Any = None
    baselines: Any = None
    trainer: Any = None
    logger: Any = None
    pipeline: Any = None
    plan: Any = None
    protocol: Any = None
    runtime: Any = None


def experiments_dir() -> str | None:
    """Return the folder of the experiments and their committed tables, placed as ``conf``, or None."""
    here = Path(__file__).resolve().parents[1]
    places = (here / "experiments", here.parent / "experiments")
    return next((str(place) for place in places if place.is_dir()), None)


def written_folders(paths: Any, output: Path) -> dict[str, Path]:
    """Return the folders that a run writes to, each by the configuration key that sets it.

    Args:
        paths: The group ``paths`` of the configuration.
        output: The run's folder.
    """
    # A run outside the folder of runs was put there by another key.
    runs = Path(str(paths.runs)).absolute()
    of_run = {"paths.runs": runs} if output.absolute().is_relative_to(runs) else {output_key(paths): output}
    return {"paths.store": Path(str(paths.store)), **of_run}


def output_key(paths: Any) -> str:
    """Return the key that sets the run's folder: Hydra's, unless the user set ``paths.output`` itself."""
    return "hydra.run.dir" if OmegaConf.is_interpolation(paths, "output") else "paths.output"


def job_overrides() -> str:
    """Return the job's overrides except those that all jobs share; an empty text outside Hydra."""
    return HydraConfig.get().job.override_dirname if HydraConfig.initialized() else ""


def job_name(overrides: str) -> str:
    """Return a folder name for a job's overrides: letters, digits, ``-`` and ``_``, and a short hash.

    Example:
        >>> job_name("method=dm,seed=1")
        'method-dm_seed-1-363c925e'
    """
    # The hash distinguishes overrides whose other characters differ, or that are longer than the name.
    words = re.sub(r"[^A-Za-z0-9_.,=]+", "-", overrides).replace("=", "-").replace(",", "_")
    return f"{words[:80].strip('-_.')}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def run_dir(runs: Any, name: Any) -> str:
    """Return the folder of a run's or a sweep's tables and pages.

    Args:
        runs: ``paths.runs`` of the configuration.
        name: The run's name; with a slash in it, the folder would lie within or outside of others.

    Raises:
        InputError: The name is no name of one folder, or ``runs`` is no text.
    """
    for key, annotation, value in (("paths.runs", Text, runs), ("name", FolderName, name)):
        if (mismatch := misfit(annotation, value)) is not None:
            raise InputError(key, value, mismatch[2])
    return f"{runs}/{name}"


def register() -> None:
    """Register the top-level schema and the resolvers of the yamls with Hydra."""
    # With hydra-submitit-launcher installed, Hydra validates our options of that name by its types and warns.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_slurm' is validated against")
    ConfigStore.instance().store(name="spine", node=Config)
    by_name: dict[str, Callable[..., Any]] = {
        "run_dir": run_dir,
        "job_name": job_name,
        # Otherwise a run and a sweep without names would overwrite each other's tables.
        "sweep_name": lambda name: "sweep" if name == NAMELESS else name,
        "shared_by_jobs": lambda: list(SHARED_BY_JOBS),
        "job_overrides": job_overrides,
        "experiments_dir": experiments_dir,
        "store_of": resolvers.store_of,
        "paper_of": resolvers.paper_of,
        "product": lambda a, b: a * b,
        "gpus": lambda accelerator, n: n if accelerator == "gpu" else None,
        "of_split": resolvers.of_split,
        "from_row": resolvers.from_row,
        "of_nearest_row": resolvers.of_nearest_row,
        "recipe_of": resolvers.recipe_of,
        "augment_of": resolvers.augment_of,
        "numerics_here": resolvers.numerics_here,
        "alpha_of_clom": resolvers.alpha_of_clom,
        "joined": lambda *lists: [*itertools.chain.from_iterable(lists)],
        "count": lambda entries: len(entries or ()),
    }
    for name, resolver in by_name.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
