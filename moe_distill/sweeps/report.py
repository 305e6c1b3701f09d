"""Build a run's or a sweep's tables and pages again from what lies in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from moe_distill.errors import InputError
from moe_distill.pipelines.finish import write_page
from moe_distill.reports.other_scores import probed, score_sheet, scored
from moe_distill.reports.page_cells import CellReport
from moe_distill.reports.page_costs import merged_costs
from moe_distill.reports.page_tables import tables_of
from moe_distill.reports.tables import Sheet, readme_table, sheet
from moe_distill.results.attempts import last_state
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import Results
from moe_distill.results.question import Question, paper_rows
from moe_distill.results.row_files import merge_rows
from moe_distill.results.rows import COLUMNS, Row, distinct
from moe_distill.results.run_tables import is_sweep, merged
from moe_distill.results.schema import ResultRow
from moe_distill.results.set_names import set_name
from moe_distill.results.stages import FILE, Stages, stages_of
from moe_distill.results.wording import count
from moe_distill.store.store import Store, write_text
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.status import last_lines

if TYPE_CHECKING:
    from moe_distill.reports.sweep_page import SweepReport

_DECIDED = ("architecture", "seed")  # by a row's key, whatever a table says


def report_folder(cfg: DictConfig) -> str:
    """Rebuild ``results.csv`` of a sweep and every ``report.html`` below a run's folder; say how many pages.

    Raises:
        InputError: No run was concluded there.
    """
    folder, results = Path(cfg.paths.output), Results(Store(cfg.paths.store), cfg.paths.tables)
    runs = [file.parent for file in sorted(folder.glob(f"**/{FILE}"))]
    done = [(run, stages) for run in runs if (stages := stages_of(run)) is not None]
    if not done:
        raise InputError("name", cfg.name, f"an experiment run before: {folder} holds no {FILE}")
    for run, stages in done:
        write_page(run, stages, results)
    if is_sweep(folder):
        report_sweep(folder, results)
    return f"{count([len(done)], 'page')} in {folder}"


def report_sweep(folder: Path, results: Results) -> str:
    """Merge the tables of a sweep's jobs, build its page, and return where they are.

    Args:
        folder: The sweep's.
        results: The rows that are done, wherever they were made.
    """
    from moe_distill.reports.sweep_page import build_sweep_page

    page = folder / "report.html"
    report = gathered(folder, results)
    if report.scores or report.rows:  # first, so that they stand whatever a picture fails by
        readme_table(folder, _answer(report, folder / "paper.csv"), report.question.claim)
    write_text(page, build_sweep_page(report))
    tables = [folder / name for name in ("results.csv", "scores.csv", "probe.csv")]
    return "\n".join([*(f"rows: {table}" for table in tables if table.is_file()), f"page: {page}"])


def _answer(report: "SweepReport", paper: Path) -> Sheet:
    """Return the table that answers the question; accuracies that a file there has published go before others."""
    if report.scores:
        return score_sheet(report.scores, report.question)
    given = paper_rows(paper)
    return sheet(report.rows, replace(report.question, paper=given) if given else report.question)


def gathered(folder: Path, results: Results) -> "SweepReport":
    """Return all that the page of a sweep tells, from what lies in its folder."""
    from moe_distill.reports.sweep_page import SweepReport

    sweep = Sweep.read(folder) or Sweep("", {}, ())
    here = texts_of(merged(folder, results=results))
    jobs = _jobs(folder, sweep.scales)
    tables = tables_of(folder, [*jobs])
    rows: Sequence[Row] = texts_of(distinct(_asked(sweep, here, results)))
    rows, scores = rows or probed(tables.get("probe.csv", ())), scored(tables.get("scores.csv", ()))
    told = [stages for stages in jobs.values() if stages is not None]
    costs = [cost for stages in told for cost in stages.spent]
    sets = [named for stages in told for named in stages.sets_there]
    cells = [_told(cell, folder, results) for cell in sweep.cells]
    about, question, teachers = (folder.name, sweep.command), Question(**sweep.question), _teachers(jobs)
    return SweepReport(*about, question, rows, scores, cells, costs, sets, tables, teachers, _facts(told))


def _facts(jobs: Sequence[Stages]) -> dict[str, str]:
    """Return what the jobs ran on: all that differed, but of dates the first and the last."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        for name, fact in job.facts.items():
            found.setdefault(name, set()).add(fact)
    dates = found.get("date", ())
    told = {name: "; ".join(sorted(facts)) for name, facts in found.items()}
    return {**told, **({"date": " to ".join(sorted({min(dates), max(dates)}))} if dates else {})}


def _jobs(sweep: Path, scales: Sequence[str]) -> dict[Path, Stages | None]:
    """Return what each job of a sweep did, None where that is not known yet, by the job's folder.

    Jobs of other scales, whose folders stay where a sweep is run at two, are left out.
    """
    found = {job: stages_of(job) for job in sorted(path for path in sweep.iterdir() if path.is_dir())}
    return {job: told for job, told in found.items() if not (scales and told) or told.scale in (None, *scales)}


def _teachers(jobs: Mapping[Path, Stages | None]) -> dict[str, float]:
    """Return the seconds that networks trained beforehand took, by the fingerprint of the job's own set.

    What a job did not look at, as its rows were committed before, is not known and left out.
    """
    import polars as pl

    found: dict[str, float] = {}
    for job, stages in jobs.items():
        costs = stages.spent if stages is not None else []
        if not any(c["stage"] == "distill" for c in costs):
            continue
        costs = [c for c in costs if c["stage"] == "pretrain"]
        rows = merge_rows(job.glob("results.csv"), ResultRow).filter(~pl.col("is_baseline"))
        seconds = sum(c["seconds"] for c in merged_costs(costs))
        found |= dict.fromkeys(rows.select(set_name()).to_series(), seconds)
    return found


def _asked(sweep: Sweep, here: Sequence[dict[str, str]], results: Results) -> list[dict[str, Any]]:
    """Return the rows of the sweep's cells, wherever they were made, and those of other jobs that ran in its folder.

    Those of students to come have no accuracy. Jobs of another scale have folders of the same names: their rows are
    left out.
    """
    known = {row["config_hash"]: row for row in here}
    found: dict[str, dict[str, Any]] = {}
    for row in (row for cell in sweep.cells for row in cell.awaited):
        key = row["config_hash"]
        if key not in found:
            there: Mapping[str, Any]
            decided = {column: row[column] for column in _DECIDED if column in row}
            if key in known:
                there = {**known[key], **decided}
            else:
                there = {**results.row(key, **decided), **row} if results.has(key) else row
            found[key] = {c: None if there.get(c) is None else str(there[c]) for c in COLUMNS}
    scales = sweep.scales or {row["scale"] for row in found.values()}
    return [*found.values(), *(r for k, r in known.items() if k not in found and (not scales or r["scale"] in scales))]


def _told(cell: Cell, folder: Path, results: Results) -> CellReport:
    own, tried = folder / cell.folder, cell.attempts(folder)
    last = last_state(own, tried) if tried else "missing"
    return CellReport(cell.name, cell.state(folder, results), tried, last, last_lines(own), cell.command)
