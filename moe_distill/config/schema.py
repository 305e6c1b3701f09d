"""The typed spine of the configuration; everything below it is free ``_target_`` yaml."""

import hashlib
import os
import re
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from moe_distill.errors import InputError
from moe_distill.methods.presets.clom import alpha
from moe_distill.methods.presets.rows import nearest_row
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import (
    Count,
    Experts,
    FolderName,
    Hook,
    NotNegative,
    Pairing,
    Side,
    Split,
    Students,
    Text,
    Threads,
    Width,
)

NAMELESS = "single"  # what a run is called where nobody names it
# Names of jobs leave out what is the same for all of a sweep, or decides no result.
SHARED_BY_JOBS = (
    "+experiment",
    "experiment",
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
        seeds: Students per architecture.
        split: Both of the next in one word: ``5x2`` is ipc 5 for each of 2 experts.
        ipc: Stored images per class of one expert.
        noe: Number of experts.
        width: Factor on the width of every network but those of libraries.
        least_map: Side, in pixels, of the last map of a library's network made for large images, at least.
        mixup_alpha: α of the Beta distribution images are mixed by.
        mixup_pairing: Whether images are mixed with ``any`` class's or with their ``same_class``'s alone.
        threads: Threads a process; null takes ``OMP_NUM_THREADS``, or shares the cores out.
        checkpoint_seconds: Least time between two checkpoints.
        curves_every: Iterations between two points of a curve.
        shorten: Settings by method that the scale puts in the place of published ones.
        student_epochs: Epochs by recipe name where the scale gives single recipes other epochs than the rest.
        sweep: The axes of a sweep at this scale, read by experiments.
        before_sweep: Dotted path of what is called with a sweep's jobs before they start; what it returns is
            shown.
        done_already: The same, called next; says of each job whether it is to be left out.
        after_sweep: The same, after the last one has ended.
        question: What an experiment asks, and of which comparison the answer is read.
    """

    name: FolderName = NAMELESS
    scale_name: Text = "paper"
    seed: int = 0
    seeds: Students = 5
    split: Split = "5x2"
    ipc: Count = "${of_split:${split},ipc}"  # type: ignore[assignment]
    noe: Experts = "${of_split:${split},noe}"  # type: ignore[assignment]
    width: Width = 1.0
    least_map: Side = 4
    mixup_alpha: NotNegative = 1.0
    mixup_pairing: Pairing = "any"
    threads: Threads | None = None
    checkpoint_seconds: NotNegative = 60.0
    curves_every: Count = 10
    shorten: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    student_epochs: dict[str, Count] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)
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


def conf_dir() -> str:
    """Return the folder of the yaml tree: inside an installed wheel, or at the top of a checkout."""
    here = Path(__file__).resolve().parents[1]
    places = (here / "conf", here.parent / "conf")
    return str(next(place for place in places if (place / "config.yaml").is_file()))


def experiments_dir() -> str | None:
    """Return the folder of the experiments and their committed tables, placed as :func:`conf_dir`; None
    without one.
    """
    here = Path(__file__).resolve().parents[1]
    return next(
        (str(place) for place in (here / "experiments", here.parent / "experiments") if place.is_dir()), None
    )


def written(paths: Any, output: Path) -> dict[str, Path]:
    """Return the folders that a run writes to, by the key that names each.

    Args:
        paths: The group ``paths`` of the configuration.
        output: The run's folder; where it does not lie in that of the runs, another key names it.
    """
    runs = Path(str(paths.runs)).absolute()
    of_run = {"paths.runs": runs} if output.absolute().is_relative_to(runs) else {output_key(paths): output}
    return {"paths.store": Path(str(paths.store)), **of_run}


def output_key(paths: Any) -> str:
    """Return the key by which a user sets the run's folder: Hydra's, unless ``paths.output`` was set
    itself.
    """
    return "hydra.run.dir" if OmegaConf.is_interpolation(paths, "output") else "paths.output"


def options(group: str) -> list[str]:
    """Return the names of a group's yamls; none where there is no such group."""
    return sorted(file.stem for file in (Path(conf_dir()) / group).glob("*.yaml"))


def at_top() -> list[str]:
    """Return what one may set at the top: values and groups, these with a plus where the defaults choose
    nothing.
    """
    folder, values = Path(conf_dir()), {f.name for f in fields(Config)}
    spine: Any = OmegaConf.load(folder / "config.yaml")
    chosen = {name for one in spine.defaults if OmegaConf.is_dict(one) for name in one}
    groups = {path.name for path in folder.iterdir() if path.is_dir()} - {"hydra", "preset"}
    return sorted(values | {name if name in values | chosen else f"+{name}" for name in groups})


def job_overrides() -> str:
    """Return what the job's command line sets, less what runs of one experiment share; nothing outside
    Hydra.
    """
    return HydraConfig.get().job.override_dirname if HydraConfig.initialized() else ""


def job_name(overrides: str) -> str:
    """Return a folder name for a job's overrides: letters, digits, ``-`` and ``_``, and a short hash."""
    words = re.sub(r"[^A-Za-z0-9_.,=]+", "-", overrides).replace("=", "-").replace(",", "_")
    return f"{words[:80].strip('-_.')}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def run_dir(runs: Any, name: Any) -> str:
    """Return the folder of a run's or a sweep's tables and pages.

    Raises:
        InputError: The name is not that of one folder: what it leaves would lie among, or outside, the runs.
    """
    for key, annotation, value in (("paths.runs", Text, runs), ("name", FolderName, name)):
        if (found := misfit(annotation, value)) is not None:
            raise InputError(key, value, found[2])
    return f"{runs}/{name}"


def register() -> None:
    """Tell Hydra the spine and the resolvers the yaml uses."""
    # Where hydra-submitit-launcher is installed, Hydra checks our options of that name by its types, and says
    # so.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_slurm' is validated against")
    ConfigStore.instance().store(name="spine", node=Config)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    # Else a run and a sweep that nobody names would write over one another's tables.
    OmegaConf.register_new_resolver(
        "sweep_name", lambda name: "sweep" if name == NAMELESS else name, replace=True
    )
    OmegaConf.register_new_resolver("shared_by_jobs", lambda: list(SHARED_BY_JOBS), replace=True)
    OmegaConf.register_new_resolver("job_overrides", job_overrides, replace=True)
    OmegaConf.register_new_resolver("experiments_dir", experiments_dir, replace=True)
    OmegaConf.register_new_resolver("store_of", _store_of, replace=True)
    OmegaConf.register_new_resolver("paper_of", _paper_of, replace=True)
    OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver(
        "gpus", lambda accelerator, n: n if accelerator == "gpu" else None, replace=True
    )
    OmegaConf.register_new_resolver("of_split", _of_split, replace=True)
    OmegaConf.register_new_resolver("from_row", _from_row, replace=True)
    OmegaConf.register_new_resolver("of_nearest_row", _of_nearest_row, replace=True)
    OmegaConf.register_new_resolver("recipe_of", _recipe_of, replace=True)
    OmegaConf.register_new_resolver("alpha_of_clom", _alpha_of_clom, replace=True)
    OmegaConf.register_new_resolver(
        "joined", lambda *lists: [one for each in lists for one in each], replace=True
    )
    OmegaConf.register_new_resolver("count", lambda listed: len(listed or ()), replace=True)


def _store_of(runs: Any) -> str:
    """Return the folder of finished work; an empty variable is none, as in shells."""
    return os.environ.get("MOE_DISTILL_HOME") or f"{runs}/store"


def _paper_of(tables: Any, name: Any) -> str | None:
    """Return the file of an experiment's published accuracies; None where there is none."""
    file = Path(f"{tables}/{name}/paper.csv")
    return str(file) if file.is_file() else None


def _of_split(split: str, part: Literal["ipc", "noe"]) -> int:
    """Return what a split such as ``5x2`` says of one of its parts.

    Raises:
        InputError: It is no split.
    """
    if (found := misfit(Split, split)) is not None:
        raise InputError("split", split, found[2])
    ipc, noe = map(int, split.split("x"))
    return ipc if part == "ipc" else noe


def _from_row(size: int, rows: dict[int, Any]) -> Any:
    """Return what holds from the largest row at or below ``size`` on."""
    return rows[max(r for r in rows if r <= size)]


def _recipe_of(name: str) -> str:
    """Return the recipe of the method of a name, unless another is set: its own, else that of DSA."""
    loader = GlobalHydra.instance().config_loader()
    # A method of a folder that only hydra.searchpath knows is not listed; nor would its recipe be.
    has_own = name in loader.get_group_options("recipe") or name not in loader.get_group_options("method")
    return name if has_own else "dsa"


def _alpha_of_clom(method: str, data: str, ipc: int) -> float:
    """Return CLoM's published weight, by the dotted name of the method's class and the data set's name."""
    return alpha(method.rpartition(".")[2].lower(), data, ipc)


def _of_nearest_row(ipc: int, rows: dict[int, Any]) -> Any:
    """Return what stands in the row nearest to ``ipc`` in ratio, as published settings are looked up."""
    row = nearest_row([*rows], ipc)
    return None if row is None else rows[row]
