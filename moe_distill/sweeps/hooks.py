"""Sweep-level hooks: cost forecast before the jobs, report after them, status while they run."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import hydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from moe_distill.config.resolving import errors_as_typed, resolve_and_check
from moe_distill.config.schema import written_folders
from moe_distill.data.sources.shared import DataCache
from moe_distill.data.sources.tree import KEY as DATA
from moe_distill.errors import InputError
from moe_distill.pipelines.stage import Missing, Pipeline, UnknownCost
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.store.disk import explain_disk_errors
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import DONE, Cell, Sweep
from moe_distill.terminal import command_line


def before(configs: Sequence[DictConfig]) -> str:
    """Write ``sweep.json``, the sweep's description, and return the cost forecast of its jobs.

    Args:
        configs: The composed jobs, as for all functions here.

    Raises:
        InputError: A job's configuration is invalid, or the expected rows cannot answer the question.
    """
    with explain_disk_errors(written_folders(configs[0].paths, _folder(configs))):
        jobs = instantiate_jobs(configs)
        sweep, folder = sweep_of(jobs), _folder(configs)
        _require_answerable(sweep)
        # Before the jobs run: afterwards everything they made is in the store.
        pairs = zip(sweep.cells, jobs, strict=True)
        cells = (replace(cell, idle=not cell.keys and _missing(job) == []) for cell, job in pairs)
        replace(sweep, cells=tuple(cells)).write(folder)
        return forecast_jobs(_unfinished(jobs, sweep, folder))


def done_already(configs: Sequence[DictConfig]) -> list[bool]:
    """Return for each job whether nothing is left to do, by the ``sweep.json`` that :func:`before` wrote."""
    folder, results = _folder(configs), _results(configs[0])
    sweep = Sweep.read(folder)
    if sweep is None or len(sweep.cells) != len(configs):  # `before` was configured away
        return [False] * len(configs)
    return [cell.is_complete(folder, results) for cell in sweep.cells]


def after(configs: Sequence[DictConfig]) -> str:
    """Build the sweep's tables and page, also of what failed; return where they are.

    Without the data on this machine, the page is built from the rows that the experiment has committed.

    Raises:
        InputError: The data are missing and no rows are committed, or a configuration is invalid.
    """
    from moe_distill.sweeps.report import report_sweep

    folder, results = _folder(configs), _results(configs[0])
    with explain_disk_errors(written_folders(configs[0].paths, folder)):
        try:
            sweep, note = sweep_of(instantiate_jobs(configs)), ""
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
    """Return the sweep whose rows the experiment has committed, at the scale of the jobs, or None."""
    from moe_distill.sweeps.report import committed_sweep

    cfg = configs[0]
    if cfg.paths.tables is None:
        return None
    question = hydra.utils.instantiate(cfg.question, _convert_="all")
    table = Path(cfg.paths.tables) / cfg.name / "results.csv"
    return committed_sweep(table, _command(), question, str(cfg.scale_name))


def status(configs: Sequence[DictConfig]) -> str:
    """Return which cells are done, running, failed or missing, and the forecast of the rest."""
    from moe_distill.sweeps.status import format_status

    jobs = instantiate_jobs(configs)
    sweep, folder = sweep_of(jobs), _folder(configs)
    _require_answerable(sweep)
    forecast = forecast_jobs(_unfinished(jobs, sweep, folder))
    return format_status(sweep, folder, _results(configs[0]), forecast)


def _require_answerable(sweep: Sweep) -> None:
    """Refuse a sweep whose rows cannot answer its question, for instance about a column that none has."""
    from moe_distill.results.aggregate import require_answerable
    from moe_distill.results.frames import frame_of

    expected_rows = frame_of([row for cell in sweep.cells for row in cell.expected_rows])
    require_answerable(expected_rows, Question(**sweep.question))


@dataclass(frozen=True)
class Built:
    """A composed job and its pipeline."""

    cfg: DictConfig
    pipeline: Pipeline

    @property
    def results(self) -> FinishedRows:
        """The job's store and the rows that are finished."""
        return FinishedRows(Store(self.cfg.paths.store), self.cfg.paths.tables)


def instantiate_jobs(configs: Sequence[DictConfig]) -> list[Built]:
    """Return the composed jobs with their pipelines, after checking all configurations.

    Raises:
        InputError: A job's configuration is invalid.
    """
    for cfg in configs:
        resolve_and_check(cfg)
    data_cache = DataCache()  # jobs of equal data share one copy
    return [_built(cfg, data_cache) for cfg in configs]


def sweep_of(jobs: Sequence[Built]) -> Sweep:
    """Return the description of a sweep, with a cell for each job."""
    configs = [job.cfg for job in jobs]
    question = hydra.utils.instantiate(configs[0].question, _convert_="all")
    scales = tuple(dict.fromkeys(str(cfg.scale_name) for cfg in configs))
    return Sweep(_command(), asdict(question), tuple(_cell(job) for job in jobs), scales)


def _command() -> str:
    """Return the command that repeats the sweep; the process itself may be one that shows its status."""
    return command_line(sys.argv[1:])


def forecast_jobs(jobs: Sequence[Built]) -> str:
    """Return the cost forecast of some jobs as text; finished stages are left out."""
    from moe_distill.sweeps.forecast import format_forecast

    if not jobs:
        return "nothing is left to do"
    configs = [job.cfg for job in jobs]
    known = [(job.pipeline, job.results) for job in jobs]
    # A GPU is used if any job may use it.
    accelerator = "cpu" if all(cfg.trainer.accelerator == "cpu" for cfg in configs) else "auto"
    slots = OmegaConf.select(configs[0], "hydra.launcher.gpus")
    # The speed is measured on the GPUs of the first slot, as if all were alike.
    visible = None if slots in (None, "auto") else str(slots).split(";")[0].strip()
    scales = {str(cfg.scale_name) for cfg in configs}
    with errors_as_typed(configs[0]):
        return format_forecast(known, accelerator, visible, scales.pop() if len(scales) == 1 else "")


def _unfinished(jobs: Sequence[Built], sweep: Sweep, folder: Path) -> list[Built]:
    """Return the jobs that may have something left to do.

    A job with rows always counts, as its forecast looks at the rows itself.
    """
    unfinished = []
    for job, cell in zip(jobs, sweep.cells, strict=True):
        # A job without rows that is done can have lost artifacts of the store since.
        if cell.keys or cell.state(folder, job.results) != DONE or _missing(job):
            unfinished.append(job)
    return unfinished


def _cell(job: Built) -> Cell:
    cfg = job.cfg
    task = [o for o in cfg.hydra.overrides.task if not o.startswith("hydra.")]
    folder = Path(cfg.hydra.runtime.output_dir)
    # A single run would write into the experiment's folder, which is the sweep's.
    where = f"hydra.run.dir={QuotedString(str(folder), Quote.single).with_quotes()}"
    command = command_line([*task, where, "hydra.mode=RUN"])
    work = key([job.pipeline, cfg.scale_name, cfg.paths.store])
    name = cfg.hydra.job.override_dirname
    rows = job.pipeline.expected_rows(job.results, cfg.scale_name, name)
    return Cell(name, folder.name, command, tuple(rows), work)


def _missing(job: Built) -> list[Missing] | None:
    """Return the artifacts that a job still has to make; None if its pipeline cannot say."""
    from moe_distill.sweeps.forecast import missing

    with errors_as_typed(job.cfg):
        try:
            return missing(job.pipeline, job.results)
        except UnknownCost:
            return None


def _built(cfg: DictConfig, data_cache: DataCache) -> Built:
    with errors_as_typed(cfg):
        return Built(cfg, hydra.utils.instantiate(cfg.pipeline, _convert_="all").sharing(data_cache))


def _results(cfg: DictConfig) -> FinishedRows:
    return FinishedRows(Store(cfg.paths.store), cfg.paths.tables)


def _folder(configs: Sequence[DictConfig]) -> Path:
    return Path(configs[0].hydra.runtime.output_dir).parent
