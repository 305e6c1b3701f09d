"""What is done once for all jobs of a sweep: foretold before, reported after, looked at meanwhile."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from moe_distill.config.arguments import aside
from moe_distill.config.resolving import as_typed, settled
from moe_distill.config.schema import written
from moe_distill.data.sources.shared import Shared, Shelf
from moe_distill.data.sources.tree import KEY as DATA
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import Examination
from moe_distill.experts.distillation import Distillation
from moe_distill.results.known_rows import Results
from moe_distill.results.question import Question
from moe_distill.results.rows import Row
from moe_distill.store.disk import guard_disk
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import DONE, Cell, Sweep, awaited, awaited_of_real, identity

if TYPE_CHECKING:
    from moe_distill.sweeps.forecast_stages import Stage

_RUN = "python -m moe_distill.run"


def before(configs: Sequence[DictConfig]) -> str:
    """Keep what the sweep asks for in its folder, and return what its jobs are going to cost.

    Args:
        configs: The composed jobs, as for all functions here.

    Raises:
        InputError: A job's configuration does not fit what it names, or the rows to come do not fit the question.
    """
    from moe_distill.results.aggregate import require_answerable

    with guard_disk(written(configs[0].paths, _folder(configs))):
        jobs = built(configs)
        sweep, folder = asked(jobs), _folder(configs)
        require_answerable([row for cell in sweep.cells for row in cell.awaited], Question(**sweep.question))
        pairs = zip(sweep.cells, jobs, strict=True)
        cells = (replace(cell, idle=not cell.keys and _stages_of(job) == []) for cell, job in pairs)
        replace(sweep, cells=tuple(cells)).write(folder)
        return foretell(_left(jobs, sweep, folder))


def done_already(configs: Sequence[DictConfig]) -> list[bool]:
    """Say of each job whether nothing of it is left to do, also for its page; :func:`before` kept what is asked."""
    folder, results = _folder(configs), _results(configs[0])
    sweep = Sweep.read(folder)
    if sweep is None or len(sweep.cells) != len(configs):  # nobody called it
        return [False] * len(configs)
    return [cell.concluded(folder, results) for cell in sweep.cells]


def after(configs: Sequence[DictConfig]) -> str:
    """Build the sweep's tables and page, also of what failed; return where they are.

    Where the data are not on this machine, the page is of the rows that the experiment has committed.
    """
    from moe_distill.sweeps.report import report_sweep

    folder, results = _folder(configs), _results(configs[0])
    with guard_disk(written(configs[0].paths, folder)):
        try:
            sweep, note = asked(built(configs)), ""
        except InputError as error:
            if error.key != DATA or (committed := _committed(configs)) is None:
                raise
            sweep, note = committed, f"the page is of the committed rows, as {DATA}={error.value} holds no data\n"
        sweep.write(folder)
        return note + report_sweep(folder, results)


def _committed(configs: Sequence[DictConfig]) -> Sweep | None:
    """Return the sweep that left the committed rows of an experiment, of the scale that is asked for."""
    from moe_distill.sweeps.report import committed_sweep

    cfg = configs[0]
    if cfg.paths.tables is None:
        return None
    question = hydra.utils.instantiate(cfg.question, _convert_="all")
    table = Path(cfg.paths.tables) / cfg.name / "results.csv"
    return committed_sweep(table, _command(configs), question, str(cfg.scale_name))


def status(configs: Sequence[DictConfig]) -> str:
    """Return which cells are done, running, failed or missing, and the time that is left."""
    from moe_distill.sweeps.status import shown

    jobs = built(configs)
    sweep, folder = asked(jobs), _folder(configs)
    return shown(sweep, folder, _results(configs[0]), foretell(_left(jobs, sweep, folder)))


def refuse_workspace(configs: Sequence[DictConfig]) -> str:
    """Refuse to push a dashboard once a job: it is of a project.

    Raises:
        InputError: Always.
    """
    allowed = "left out: the dashboard is of a project's runs, whatever their experiment"
    raise InputError("+experiment", configs[0].name, allowed)


@dataclass(frozen=True)
class Built:
    """A composed job with what it is about; jobs of equal data take them from one shelf."""

    cfg: DictConfig
    plan: Distillation
    baselines: Sequence[Distillation]
    exam: Examination
    pipeline: partial[Any]


def built(configs: Sequence[DictConfig]) -> list[Built]:
    """Return the composed jobs, checked, with what they are about.

    Raises:
        InputError: A job's configuration does not fit what it names.
    """
    for cfg in configs:
        settled(cfg)
    shelf = Shelf()
    return [_built(cfg, shelf) for cfg in configs]


def asked(jobs: Sequence[Built]) -> Sweep:
    """Return the sweep with its cells."""
    configs = [job.cfg for job in jobs]
    question = hydra.utils.instantiate(configs[0].question, _convert_="all")
    scales = tuple(dict.fromkeys(str(cfg.scale_name) for cfg in configs))
    return Sweep(_command(configs), asdict(question), tuple(_cell(job) for job in jobs), scales)


def _command(configs: Sequence[DictConfig]) -> str:
    """Return what repeats the sweep: the command line, less the pipeline that looks at it and is none of its jobs'."""
    own = {override for cfg in configs for override in cfg.hydra.overrides.task}
    looks = [
        argument
        for argument in sys.argv[1:]
        if argument.startswith("pipeline=")
        and own.isdisjoint(f"pipeline={name}" for name in argument.removeprefix("pipeline=").split(","))
    ]
    return shlex.join([*_RUN.split(), *(argument for argument in sys.argv[1:] if argument not in looks), *aside()])


def foretell(jobs: Sequence[Built]) -> str:
    """Return what the jobs are going to cost, stages that are done left out."""
    from moe_distill.sweeps.forecast import told

    if not jobs:
        return "nothing is left to do"
    configs = [job.cfg for job in jobs]
    cells = [(job.pipeline, _results(job.cfg)) for job in jobs]
    accelerator = "cpu" if all(cfg.trainer.accelerator == "cpu" for cfg in configs) else "auto"
    slots = OmegaConf.select(configs[0], "hydra.launcher.gpus")
    visible = None if slots in (None, "auto") else str(slots).split(";")[0].strip()
    scales = {str(cfg.scale_name) for cfg in configs}
    with as_typed(configs[0]):
        return told(cells, accelerator, visible, scales.pop() if len(scales) == 1 else "")


def _left(jobs: Sequence[Built], sweep: Sweep, folder: Path) -> list[Built]:
    """Return the jobs but those that leave no rows, are done, and have lost nothing they made, as far as is known."""
    pairs = zip(jobs, sweep.cells, strict=True)
    return [job for job, cell in pairs if cell.keys or cell.state(folder, _results(job.cfg)) != DONE or _stages_of(job)]


def _cell(job: Built) -> Cell:
    cfg = job.cfg
    task = [o for o in cfg.hydra.overrides.task if not o.startswith("hydra.")]
    folder = Path(cfg.hydra.runtime.output_dir)
    # Alone, a run's folder is that of its experiment: the sweep's.
    where = f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}"
    command = shlex.join([*_RUN.split(), *task, where, "hydra.mode=RUN"])
    pipeline: Any = OmegaConf.to_container(cfg.pipeline, resolve=True)
    work = identity(pipeline, cfg.scale_name, cfg.paths.store)
    name = cfg.hydra.job.override_dirname
    return Cell(name, folder.name, command, _awaited(job, name), work)


def _stages_of(job: Built) -> "list[Stage] | None":
    """Return what the store lacks of what a job is to make; None where nothing says what that is."""
    from moe_distill.sweeps.forecast import foretold
    from moe_distill.sweeps.forecast_stages import NotForetold

    with as_typed(job.cfg):
        try:
            return foretold(job.pipeline, _results(job.cfg))
        except NotForetold:
            return None


def _awaited(job: Built, name: str) -> tuple[Row, ...]:
    """Return the result rows that a job is to leave, none where its pipeline leaves other tables.

    Rows of its own plan count as such though a baseline is the same.
    """
    cache = Path(job.cfg.paths.store) / "data"
    own, shared = ({"scale": job.cfg.scale_name, "overrides": told} for told in (name, ""))
    match job.pipeline.func.__name__:
        case "full":
            rows = [*awaited(job.plan, job.exam, cache, own)]
            rows += [row for plan in job.baselines for row in awaited(plan, job.exam, cache, shared)]
            first: dict[str, Row] = {}
            for row in rows:
                first.setdefault(row["config_hash"], row)
            return tuple(first.values())
        case "upper_bound":
            return tuple(awaited_of_real(job.plan, job.exam, cache, own))
        case "evaluate" if job.pipeline.keywords["path"] is None:
            return tuple(awaited(job.plan, job.exam, cache, own))
    return ()


def _built(cfg: DictConfig, shelf: Shelf) -> Built:
    names = ("plan", "baselines", "exam", "pipeline")
    with as_typed(cfg):
        plan, baselines, exam, pipeline = (hydra.utils.instantiate(cfg[n], _convert_="all") for n in names)
    given = {name: _on(shelf, value) for name, value in pipeline.keywords.items()}
    return Built(cfg, _on(shelf, plan), [*_on(shelf, baselines).values()], exam, partial(pipeline.func, **given))


def _on(shelf: Shelf, value: Any) -> Any:
    """Return a plan, or plans by name, whose data come from the shelf; anything else as it is."""
    if isinstance(value, dict):
        return {name: _on(shelf, each) for name, each in value.items()}
    return replace(value, data=Shared(value.data, shelf)) if isinstance(value, Distillation) else value


def _results(cfg: DictConfig) -> Results:
    return Results(Store(cfg.paths.store), cfg.paths.tables)


def _folder(configs: Sequence[DictConfig]) -> Path:
    return Path(configs[0].hydra.runtime.output_dir).parent
