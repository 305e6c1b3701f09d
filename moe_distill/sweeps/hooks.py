"""What is done once for all jobs of a sweep: foretold before, reported after, looked at meanwhile."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import hydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from moe_distill.config.resolving import as_typed, settled
from moe_distill.config.schema import written
from moe_distill.data.sources.shared import Shelf
from moe_distill.data.sources.tree import KEY as DATA
from moe_distill.errors import InputError
from moe_distill.pipelines.stage import Missing, Pipeline, UnknownCost
from moe_distill.results.known_rows import Results
from moe_distill.results.question import Question
from moe_distill.store.disk import guard_disk
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import DONE, Cell, Sweep

_RUN = "python -m moe_distill.run"


def before(configs: Sequence[DictConfig]) -> str:
    """Keep what the sweep asks for in its folder, and return what its jobs are going to cost.

    Args:
        configs: The composed jobs, as for all functions here.

    Raises:
        InputError: A job's configuration does not fit what it names, or the rows to come do not fit the
            question.
    """
    from moe_distill.results.aggregate import require_answerable
    from moe_distill.results.frames import frame_of

    with guard_disk(written(configs[0].paths, _folder(configs))):
        jobs = built(configs)
        sweep, folder = sweep_of(jobs), _folder(configs)
        expected_rows = frame_of([row for cell in sweep.cells for row in cell.expected_rows])
        require_answerable(expected_rows, Question(**sweep.question))
        pairs = zip(sweep.cells, jobs, strict=True)
        cells = (replace(cell, idle=not cell.keys and _missing(job) == []) for cell, job in pairs)
        replace(sweep, cells=tuple(cells)).write(folder)
        return forecast_jobs(_left(jobs, sweep, folder))


def done_already(configs: Sequence[DictConfig]) -> list[bool]:
    """Say of each job whether nothing of it is left to do, also for its page; :func:`before` kept what is
    asked.
    """
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
            sweep, note = sweep_of(built(configs)), ""
        except InputError as error:
            if error.key != DATA or (committed := _committed(configs)) is None:
                raise
            sweep, note = (
                committed,
                f"the page is of the committed rows, as {DATA}={error.value} holds no data\n",
            )
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
    return committed_sweep(table, _command(), question, str(cfg.scale_name))


def status(configs: Sequence[DictConfig]) -> str:
    """Return which cells are done, running, failed or missing, and the time that is left."""
    from moe_distill.sweeps.status import format_status

    jobs = built(configs)
    sweep, folder = sweep_of(jobs), _folder(configs)
    return format_status(sweep, folder, _results(configs[0]), forecast_jobs(_left(jobs, sweep, folder)))


@dataclass(frozen=True)
class Built:
    """A composed job with what it runs; jobs of equal data take them from one shelf."""

    cfg: DictConfig
    pipeline: Pipeline

    @property
    def results(self) -> Results:
        """The rows that are done, and the job's store."""
        return Results(Store(self.cfg.paths.store), self.cfg.paths.tables)


def built(configs: Sequence[DictConfig]) -> list[Built]:
    """Return the composed jobs, checked, with what they are about.

    Raises:
        InputError: A job's configuration does not fit what it names.
    """
    for cfg in configs:
        settled(cfg)
    shelf = Shelf()
    return [_built(cfg, shelf) for cfg in configs]


def sweep_of(jobs: Sequence[Built]) -> Sweep:
    """Return the sweep with its cells."""
    configs = [job.cfg for job in jobs]
    question = hydra.utils.instantiate(configs[0].question, _convert_="all")
    scales = tuple(dict.fromkeys(str(cfg.scale_name) for cfg in configs))
    return Sweep(_command(), asdict(question), tuple(_cell(job) for job in jobs), scales)


def _command() -> str:
    """Return what repeats the sweep: the command line, whichever command looks at it."""
    return shlex.join([*_RUN.split(), *sys.argv[1:]])


def forecast_jobs(jobs: Sequence[Built]) -> str:
    """Return what the jobs are going to cost, stages that are done left out."""
    from moe_distill.sweeps.forecast import format_forecast

    if not jobs:
        return "nothing is left to do"
    configs = [job.cfg for job in jobs]
    known = [(job.pipeline, job.results) for job in jobs]
    accelerator = "cpu" if all(cfg.trainer.accelerator == "cpu" for cfg in configs) else "auto"
    slots = OmegaConf.select(configs[0], "hydra.launcher.gpus")
    visible = None if slots in (None, "auto") else str(slots).split(";")[0].strip()
    scales = {str(cfg.scale_name) for cfg in configs}
    with as_typed(configs[0]):
        return format_forecast(known, accelerator, visible, scales.pop() if len(scales) == 1 else "")


def _left(jobs: Sequence[Built], sweep: Sweep, folder: Path) -> list[Built]:
    """Return the jobs but those that leave no rows, are done, and have lost nothing they made, as far as is
    known.
    """
    pairs = zip(jobs, sweep.cells, strict=True)
    return [
        job for job, cell in pairs if cell.keys or cell.state(folder, job.results) != DONE or _missing(job)
    ]


def _cell(job: Built) -> Cell:
    cfg = job.cfg
    task = [o for o in cfg.hydra.overrides.task if not o.startswith("hydra.")]
    folder = Path(cfg.hydra.runtime.output_dir)
    # Alone, a run's folder is that of its experiment: the sweep's.
    where = f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}"
    command = shlex.join([*_RUN.split(), *task, where, "hydra.mode=RUN"])
    work = key([job.pipeline, cfg.scale_name, cfg.paths.store])
    name = cfg.hydra.job.override_dirname
    rows = job.pipeline.expected_rows(job.results, cfg.scale_name, name)
    return Cell(name, folder.name, command, tuple(rows), work)


def _missing(job: Built) -> list[Missing] | None:
    """Return what the store lacks of what a job is to make; None where nothing says what that is."""
    from moe_distill.sweeps.forecast import missing

    with as_typed(job.cfg):
        try:
            return missing(job.pipeline, job.results)
        except UnknownCost:
            return None


def _built(cfg: DictConfig, shelf: Shelf) -> Built:
    with as_typed(cfg):
        return Built(cfg, hydra.utils.instantiate(cfg.pipeline, _convert_="all").sharing(shelf))


def _results(cfg: DictConfig) -> Results:
    return Results(Store(cfg.paths.store), cfg.paths.tables)


def _folder(configs: Sequence[DictConfig]) -> Path:
    return Path(configs[0].hydra.runtime.output_dir).parent
