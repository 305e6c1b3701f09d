"""Rebuild the tables and pages of a run or a sweep from the files in its folder."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from moe_distill.errors import InputError
from moe_distill.pipelines.finish import write_page
from moe_distill.reports.answers import answers_of
from moe_distill.reports.cost_table import merged_costs, seconds_of
from moe_distill.reports.other_scores import probed, score_sheet, scored
from moe_distill.reports.sections import CellReport, links_in, tables_of
from moe_distill.reports.tables import readme_table, sheet
from moe_distill.reports.transfer import transfer_of
from moe_distill.results.attempts import LOG, last_state
from moe_distill.results.frames import frame_of, texts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question, paper_rows
from moe_distill.results.row_files import merge_rows, read_rows
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

# Files in the sweep's folder that its page links to, if they exist.
_FILES = {
    "results.csv": "rows (results.csv)",
    "scores.csv": "scores.csv",
    "probe.csv": "probe.csv",
    "measures.csv": "measures.csv",
    "agreement.csv": "agreement.csv",
    "table.md": "table in Markdown",
    "table.tex": "table in LaTeX",
    "table.html": "table alone",
}
_DECIDED = ("architecture", "seed")  # part of a row's key: a table that says otherwise is wrong


def report_folder(cfg: DictConfig) -> str:
    """Rebuild a sweep's ``results.csv`` and every ``report.html`` below a run's folder; return their count.

    Raises:
        InputError: No run has finished there.
    """
    folder, results = Path(cfg.paths.output), FinishedRows(Store(cfg.paths.store), cfg.paths.tables)
    runs = [file.parent for file in sorted(folder.glob(f"**/{FILE}"))]
    done = [(run, stages) for run in runs if (stages := stages_of(run)) is not None]
    if not done:
        raise InputError(
            "name", cfg.name, f"an experiment of which a job has ended: {folder} holds no {FILE} of one yet"
        )
    for run, stages in done:
        write_page(run, stages, results)
    # After the pages of its jobs, to which its own page links.
    if is_sweep(folder):
        report_sweep(folder, results)
    return f"{count([len(done)], 'page')} in {folder}"


def report_sweep(folder: Path, results: FinishedRows) -> str:
    """Merge the tables of a sweep's jobs, build its page, and return the paths as text.

    Args:
        folder: The sweep's.
        results: The rows that are finished, whichever job made them.
    """
    from moe_distill.reports.sweep_page import build_sweep_page

    page = folder / "report.html"
    report = sweep_report(folder, results)
    answers = report.answer
    if answers.variants:  # before the page, whose pictures may fail
        table = score_sheet(answers) if report.scores else sheet(answers)
        readme_table(folder, table, answers.named, answers.question.claim)
    write_text(page, build_sweep_page(replace(report, links=links_in(folder, _FILES))))
    tables = [folder / name for name in ("results.csv", "scores.csv", "probe.csv")]
    return "\n".join([*(f"rows: {table}" for table in tables if table.is_file()), f"page: {page}"])


def sweep_report(folder: Path, results: FinishedRows) -> "SweepReport":
    """Return the content of a sweep's page, from the files in its folder.

    Published accuracies are those of a ``paper.csv`` in the folder, or else of the question's.
    """
    from moe_distill.reports.sweep_page import SweepReport

    sweep = Sweep.read(folder) or Sweep("", {}, ())
    # Without a sweep.json, as where its jobs were run by hand, whatever the folder holds is shown.
    jobs = _jobs(folder, sweep.scales)
    tables = tables_of(folder, [*jobs])
    scores = scored(tables.get("scores.csv", ()))
    rows: Sequence[Row] = []
    if not scores:  # a sweep of scores has no result rows, one of probes neither
        rows = sweep_rows(folder, results) or probed(tables.get("probe.csv", ()))
    frame = frame_of(rows)
    question = Question(**sweep.question)
    if published := paper_rows(folder / "paper.csv"):
        question = replace(question, paper=published)
    known = [stages for stages in jobs.values() if stages is not None]
    return SweepReport(
        title=folder.name,
        command=sweep.command,
        answers=answers_of(frame, question, _teachers(jobs)),
        scores=answers_of(frame_of(scores), question) if scores else None,
        transfer=transfer_of(frame, question),
        cells=[_reported(cell, folder, results) for cell in sweep.cells],
        costs=[cost for stages in known for cost in stages.costs],
        sets=[label_and_folder for stages in known for label_and_folder in stages.sets_there],
        tables=tables,
        facts=_facts(known),
    )


def sweep_rows(folder: Path, results: FinishedRows) -> list[dict[str, Any]]:
    """Return the result rows of a sweep, one per student, including those of students still to be trained."""
    sweep = Sweep.read(folder) or Sweep("", {}, ())
    return texts_of(distinct(_rows_of_cells(sweep, texts_of(merged(folder, results=results)), results)))


def committed_sweep(table: Path, command: str, question: Question, scale: str) -> Sweep | None:
    """Return the sweep that an experiment's committed rows came from: its page needs neither data nor sets.

    Args:
        table: The experiment's ``results.csv``.
        command: The command that repeats the sweep.
        question: What the experiment asks.
        scale: Rows of other scales are left out.

    Returns:
        A sweep with a cell for each job that left rows, by its overrides; None if no row is of that scale.

    Raises:
        InputError: The table cannot be read.
    """
    rows = texts_of(read_rows(table, ResultRow)) if table.is_file() else []
    jobs: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["scale"] == scale:
            jobs.setdefault(row["overrides"], []).append(row)
    # Baselines belong to all jobs and have no overrides; they are shown once, with the first job.
    baselines = jobs.pop("", [])
    if not jobs:
        return None
    next(iter(jobs.values())).extend(baselines)
    cells = tuple(
        Cell(name, f"committed-{number}", "", tuple(job_rows))
        for number, (name, job_rows) in enumerate(jobs.items())
    )
    return Sweep(command, asdict(question), cells, (scale,))


def _facts(jobs: Sequence[Stages]) -> dict[str, str]:
    """Return what the jobs ran on: every value of each fact; of dates, only the first and the last."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        for name, fact in job.facts.items():
            values.setdefault(name, set()).add(fact)
    facts = {name: "; ".join(sorted(distinct_values)) for name, distinct_values in values.items()}
    if dates := values.get("date"):
        facts["date"] = " to ".join(sorted({min(dates), max(dates)}))
    return facts


def _jobs(sweep: Path, scales: Sequence[str]) -> dict[Path, Stages | None]:
    """Return what each job of a sweep did, by its folder; None for a job that has not finished.

    Jobs of other scales are left out: their folders remain when a sweep is repeated at another scale.
    """
    jobs: dict[Path, Stages | None] = {}
    for folder in sorted(path for path in sweep.iterdir() if path.is_dir()):
        stages = stages_of(folder)
        if not scales or stages is None or stages.scale in (None, *scales):
            jobs[folder] = stages
    return jobs


def _teachers(jobs: Mapping[Path, Stages | None]) -> dict[str, float]:
    """Return the seconds that pretrained networks took, by the fingerprint of the set made with them.

    Jobs whose rows were committed before did not look at their networks: their time is unknown, and left out.
    """
    import polars as pl  # here, as it starts threads, which the process that forks jobs must not have

    pretraining_seconds: dict[str, float] = {}
    for job, stages in jobs.items():
        costs = stages.costs if stages is not None else ()
        if not any(cost.stage == "distill" for cost in costs):
            continue
        pretrained = [cost for cost in costs if cost.stage == "pretrain"]
        rows = merge_rows(job.glob("results.csv"), ResultRow).filter(~pl.col("is_baseline"))
        seconds = seconds_of(merged_costs(pretrained))
        pretraining_seconds |= dict.fromkeys(rows.select(set_name()).to_series(), seconds)
    return pretraining_seconds


def _rows_of_cells(
    sweep: Sweep, folder_rows: Sequence[dict[str, str]], results: FinishedRows
) -> list[dict[str, Any]]:
    """Return the rows of the sweep's cells, then those of other jobs that ran in its folder.

    Rows of students still to be trained have no accuracy.

    Args:
        sweep: The sweep.
        folder_rows: The rows of all tables in the sweep's folder.
        results: The rows that are finished, whichever job made them.
    """
    known = {row["config_hash"]: row for row in folder_rows}
    expected: dict[str, dict[str, Any]] = {}
    for row in itertools.chain.from_iterable(cell.expected_rows for cell in sweep.cells):
        key = row["config_hash"]
        if key in expected:
            continue
        decided = {column: row[column] for column in _DECIDED if column in row}
        best: Mapping[str, Any] = row
        if key in known:
            best = {**known[key], **decided}
        elif results.has(key):
            best = {**results.row(key, **decided), **row}
        expected[key] = {c: None if best.get(c) is None else str(best[c]) for c in COLUMNS}
    # Jobs of another scale have folders of the same names: their rows are left out.
    scales = sweep.scales or {row["scale"] for row in expected.values()}
    others = [row for key, row in known.items() if key not in expected]
    return [*expected.values(), *(row for row in others if not scales or row["scale"] in scales)]


def _reported(cell: Cell, folder: Path, results: FinishedRows) -> CellReport:
    attempts = cell.attempts(folder)
    last = last_state(folder / cell.folder, attempts) if attempts else "missing"
    return CellReport(
        name=cell.name,
        state=cell.state(folder, results),
        attempts=attempts,
        last=last,
        log=last_lines(folder / cell.folder),
        command=cell.command,
        links=links_in(folder, {f"{cell.folder}/report.html": "page", f"{cell.folder}/{LOG}": "log"}),
    )
