"""Build a run's or a sweep's tables and pages again from what lies in its folder."""

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
from moe_distill.results.known_rows import Results
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

# What a sweep's page links to beside it, where it is there.
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
    answers = report.answer
    if answers.variants:  # first, so that they stand whatever a picture fails by
        table = score_sheet(answers) if report.scores else sheet(answers)
        readme_table(folder, table, answers.named, answers.question.claim)
    write_text(page, build_sweep_page(replace(report, links=links_in(folder, _FILES))))
    tables = [folder / name for name in ("results.csv", "scores.csv", "probe.csv")]
    return "\n".join([*(f"rows: {table}" for table in tables if table.is_file()), f"page: {page}"])


def gathered(folder: Path, results: Results) -> "SweepReport":
    """Return all that the page of a sweep tells, from what lies in its folder.

    Accuracies that a ``paper.csv`` there has published go before those that the question names.
    """
    from moe_distill.reports.sweep_page import SweepReport

    sweep = Sweep.read(folder) or Sweep("", {}, ())
    jobs = _jobs(folder, sweep.scales)
    tables = tables_of(folder, [*jobs])
    scores = scored(tables.get("scores.csv", ()))
    rows: Sequence[Row] = () if scores else gathered_rows(folder, results)
    rows = rows or ([] if scores else probed(tables.get("probe.csv", ())))
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
        sets=[named for stages in known for named in stages.sets_there],
        tables=tables,
        facts=_facts(known),
    )


def gathered_rows(folder: Path, results: Results) -> list[dict[str, Any]]:
    """Return the result rows of a sweep, once a student, also of those to come."""
    sweep = Sweep.read(folder) or Sweep("", {}, ())
    return texts_of(distinct(_asked(sweep, texts_of(merged(folder, results=results)), results)))


def committed_sweep(table: Path, command: str, question: Question, scale: str) -> Sweep | None:
    """Return the sweep that left an experiment's committed rows, whose page needs neither its data nor its
    sets.

    Args:
        table: The experiment's ``results.csv``.
        command: What repeats the sweep.
        question: What the experiment asks.
        scale: Rows of other scales are left out.

    Returns:
        A cell for each job that left rows, by what its command line set; None where no row is of that scale.

    Raises:
        InputError: The table cannot be read.
    """
    rows = (
        [row for row in texts_of(read_rows(table, ResultRow)) if row["scale"] == scale]
        if table.is_file()
        else []
    )
    jobs: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        jobs.setdefault(row["overrides"], []).append(row)
    baselines = jobs.pop("", [])
    if not jobs:
        return None
    first, *others = jobs
    # Baselines are of every job; they are told once, with the first.
    awaited = {first: [*jobs[first], *baselines], **{name: jobs[name] for name in others}}
    cells = tuple(
        Cell(name, f"committed-{n}", "", tuple(own)) for n, (name, own) in enumerate(awaited.items())
    )
    return Sweep(command, asdict(question), cells, (scale,))


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
    return {
        job: told for job, told in found.items() if not (scales and told) or told.scale in (None, *scales)
    }


def _teachers(jobs: Mapping[Path, Stages | None]) -> dict[str, float]:
    """Return the seconds that networks trained beforehand took, by the fingerprint of the job's own set.

    What a job did not look at, as its rows were committed before, is not known and left out.
    """
    import polars as pl

    found: dict[str, float] = {}
    for job, stages in jobs.items():
        costs = stages.costs if stages is not None else ()
        if not any(cost.stage == "distill" for cost in costs):
            continue
        pretrained = [cost for cost in costs if cost.stage == "pretrain"]
        rows = merge_rows(job.glob("results.csv"), ResultRow).filter(~pl.col("is_baseline"))
        seconds = seconds_of(merged_costs(pretrained))
        found |= dict.fromkeys(rows.select(set_name()).to_series(), seconds)
    return found


def _asked(sweep: Sweep, here: Sequence[dict[str, str]], results: Results) -> list[dict[str, Any]]:
    """Return the rows of the sweep's cells, wherever they were made, and those of other jobs that ran in its
    folder.

    Those of students to come have no accuracy. Jobs of another scale have folders of the same names: their
    rows are left out.
    """
    known = {row["config_hash"]: row for row in here}
    found: dict[str, dict[str, Any]] = {}
    for row in (row for cell in sweep.cells for row in cell.expected_rows):
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
    return [
        *found.values(),
        *(r for k, r in known.items() if k not in found and (not scales or r["scale"] in scales)),
    ]


def _reported(cell: Cell, folder: Path, results: Results) -> CellReport:
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
