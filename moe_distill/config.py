"""The typed spine of the configuration; everything below it is free ``_target_`` yaml."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf

NAMELESS = "single"  # what a run is called where nobody names it
_aside: list[str] = []
# Last words of keys that take a path, such as data.root, paths.store, pipeline.to and hydra.run.dir.
PATHS = (
    "root",
    "path",
    "to",
    "dir",
    "subdir",
    "runs",
    "store",
    "output",
    "tables",
    "paper",
    "folder",
    "submitit_folder",
)
_QUOTES = ("'", '"')
# Names of jobs leave out what is the same for all of a sweep, or decides no result.
SHARED_BY_JOBS = ("+experiment", "experiment", "scale", "logger", "data.root", "paths.runs", "paths.store", "threads")


@dataclass
class Config:
    """The values every run has.

    Attributes:
        name: The experiment; names folders, wandb groups and a column of the results.
        scale_name: The scale's name, recorded with the results.
        seed: Seed of the distillation.
        seeds: Students per architecture.
        ipc: Stored images per class of one expert.
        noe: Number of experts.
        width: Factor on the width of every network but those of libraries.
        least_map: Side, in pixels, of the last map of a library's network made for large images, at least.
        mixup_alpha: α of the Beta distribution images are mixed by.
        threads: Threads a process; null takes ``OMP_NUM_THREADS``, or shares the cores out.
        checkpoint_seconds: Least time between two checkpoints.
        curves_every: Iterations between two points of a curve.
        shorten: Settings by method with which the scale replaces published ones.
        student_epochs: Epochs by recipe name where the scale gives single recipes other epochs than the rest.
        sweep: The axes of a sweep at this scale, read by experiments.
        before_sweep: Dotted path of what is called with a sweep's jobs before they start; what it returns is shown.
        done_already: The same, called next; says of each job whether it is to be left out.
        after_sweep: The same, after the last one has ended.
        instead: The same, in place of the jobs.
        question: What an experiment asks, and of which comparison the answer is read.
    """

    name: str = NAMELESS
    scale_name: str = "paper"
    seed: int = 0
    seeds: int = 5
    ipc: int = MISSING
    noe: int = MISSING
    width: float = 1.0
    least_map: int = 4
    mixup_alpha: float = 1.0
    threads: int | None = None
    checkpoint_seconds: float = 60.0
    curves_every: int = 10
    shorten: dict[str, Any] = field(default_factory=dict)
    student_epochs: dict[str, int] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)
    before_sweep: str | None = "moe_distill.sweep.before"
    done_already: str | None = "moe_distill.sweep.done_already"
    after_sweep: str | None = "moe_distill.sweep.after"
    instead: str | None = None
    question: dict[str, Any] = field(
        default_factory=lambda: {
            "_target_": "moe_distill.pipelines.question.asked",
            "paper": "${paths.tables}/${name}/paper.csv",
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
    exam: Any = None
    runtime: Any = None


def conf_dir() -> str:
    """Return the folder of the yaml tree: inside an installed wheel, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    places = (here / "conf", here.parent / "conf")
    return str(next(place for place in places if (place / "config.yaml").is_file()))


def experiments_dir() -> str | None:
    """Return the folder of the experiments and their committed tables, placed as :func:`conf_dir`; None without one."""
    here = Path(__file__).resolve().parent
    return next((str(place) for place in (here / "experiments", here.parent / "experiments") if place.is_dir()), None)


def written(paths: Any, output: Path) -> dict[str, Path]:
    """Return the folders that a run writes to, by the key that names each.

    Args:
        paths: The group ``paths`` of the configuration.
        output: The run's folder; where it does not lie in that of the runs, it is Hydra's key that names it.
    """
    runs = Path(str(paths.runs)).absolute()
    of_run = {"paths.runs": runs} if output.absolute().is_relative_to(runs) else {"hydra.run.dir": output}
    return {"paths.store": Path(str(paths.store)), **of_run}


def named(override: str) -> str:
    """Return an override with its value in quotes where it names a group's option by a number, as ``split=7`` does.

    Hydra then says which options there are; it takes no number for a name.
    """
    key, equals, value = override.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if not equals or not group or not (Path(conf_dir()) / group).is_dir():
        return override
    parsed = OverridesParser.create().parse_override(override)
    is_name = parsed.is_sweep_override() or isinstance(parsed.value(), str | list | dict)
    return override if is_name else f"{key}='{value}'"


def takes_path(key: str) -> bool:
    """Say whether a key, such as ``pipeline.onto.root``, takes a path."""
    return "." in key and key.rpartition(".")[2] in PATHS


def without_dashes(argument: str) -> str:
    """Return ``--key=value``, as agents of Weights & Biases write it, as ``key=value``; Hydra's own flags stay."""
    flag, equals, _ = argument.partition("=")
    flags = [option for action in get_args_parser()._actions for option in action.option_strings]
    if not equals or not flag.startswith("--") or any(option.startswith(flag) for option in flags):
        return argument
    return argument.removeprefix("--")


def with_paths_quoted(argument: str, sweeping: bool) -> str:
    """Return an override with its value in quotes where its key takes a path that Hydra would not read as it is.

    Hydra knows letters of English alone, and takes ``= ( [ #`` and others for grammar. A path with a comma is one path,
    unless the command line sweeps: then commas part paths, and a path that holds one wants quotes of its own.

    Args:
        argument: Of the command line.
        sweeping: Whether that runs several jobs.
    """
    key, equals, value = argument.partition("=")
    if not equals or not takes_path(key.lstrip("+").partition("@")[0]) or value.startswith(_QUOTES) or "${" in value:
        return argument
    parsed = _parsed(argument)
    if parsed is not None and parsed.is_sweep_override():
        as_it_is = sweeping
    else:
        as_it_is = parsed is not None and isinstance(parsed.value(), str | None)
    if as_it_is:
        return argument
    values = value.split(",") if sweeping else [value]
    return f"{key}={','.join(QuotedString(one, Quote.single).with_quotes() for one in values)}"


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def set_aside(arguments: Sequence[str]) -> list[str]:
    """Take from a command line the settings of a pipeline in whose place another looks at its runs; return the rest.

    ``pipeline=status`` has no ``pipeline.lrs``: it is of the jobs that it looks at, see :func:`aside`.
    """
    chosen = [a.removeprefix("pipeline=") for a in arguments if a.startswith("pipeline=")]
    file = Path(conf_dir()) / "pipeline" / f"{chosen[-1] if chosen else ''}.yaml"
    looks: Any = OmegaConf.load(file) if file.is_file() else {}
    has_none = "instead" in looks and {*looks["pipeline"]} <= {"_target_", "_partial_"}
    _aside[:] = [a for a in arguments if has_none and a.lstrip("+~").startswith("pipeline.")]
    return [a for a in arguments if a not in _aside]


def aside() -> list[str]:
    """Return what :func:`set_aside` took."""
    return [*_aside]


def job_overrides() -> str:
    """Return what the job's command line sets, less what runs of one experiment share; nothing outside Hydra."""
    return HydraConfig.get().job.override_dirname if HydraConfig.initialized() else ""


def job_name(overrides: str) -> str:
    """Return a folder name for a job's overrides: letters, digits, ``-`` and ``_``, and a short hash."""
    words = re.sub(r"[^A-Za-z0-9_.,=]+", "-", overrides).replace("=", "-").replace(",", "_")
    return f"{words[:80].strip('-_.')}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def register() -> None:
    """Tell Hydra the spine and the resolvers the yaml uses."""
    # Where hydra-submitit-launcher is installed, Hydra checks our options of that name by its types, and says so.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_slurm' is validated against")
    ConfigStore.instance().store(name="spine", node=Config)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    # Else a run and a sweep that nobody names would write over one another's tables.
    OmegaConf.register_new_resolver("sweep_name", lambda name: "sweep" if name == NAMELESS else name, replace=True)
    OmegaConf.register_new_resolver("shared_by_jobs", lambda: list(SHARED_BY_JOBS), replace=True)
    OmegaConf.register_new_resolver("job_overrides", job_overrides, replace=True)
    OmegaConf.register_new_resolver("experiments_dir", experiments_dir, replace=True)
    OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver("gpus", lambda accelerator, n: n if accelerator == "gpu" else None, replace=True)
    OmegaConf.register_new_resolver("from_row", _from_row, replace=True)
    OmegaConf.register_new_resolver("of_nearest_row", _of_nearest_row, replace=True)
    OmegaConf.register_new_resolver("joined", lambda *lists: [one for each in lists for one in each], replace=True)
    OmegaConf.register_new_resolver("count", lambda listed: len(listed or ()), replace=True)


def _from_row(size: int, rows: dict[int, Any]) -> Any:
    """Return what holds from the largest row at or below ``size`` on."""
    return rows[max(r for r in rows if r <= size)]


def _of_nearest_row(ipc: int, rows: dict[int, Any]) -> Any:
    """Return what stands in the row nearest to ``ipc`` in ratio, as published settings are looked up."""
    from moe_distill.experts.roster import nearest_row  # torch comes with it, which takes seconds and few need

    row = nearest_row([*rows], ipc)
    return None if row is None else rows[row]
