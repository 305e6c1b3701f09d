"""The end of a run: write its tables and its page, print a summary, and show all of it on the dashboard."""

import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.headline import accuracies, over_random
from moe_distill.reports.gallery import set_picture
from moe_distill.reports.run_page import RunReport, build_page
from moe_distill.reports.sections import Link, links_in
from moe_distill.results.attempts import LOG
from moe_distill.results.comparison import leads_over_random
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.results import Results
from moe_distill.results.run_tables import is_job, publish, rows_in
from moe_distill.results.stages import FILE, Stages
from moe_distill.store.store import commit, write_json, write_text
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.terminal import command_line, say, show

if TYPE_CHECKING:
    import polars as pl


def finish_run(rows: Sequence[StudentRow], runtime: Runtime) -> None:
    """Write ``results.csv``, ``stages.json`` and ``report.html``, print the table, update the dashboard."""
    table_rows = publish(rows, runtime.output, results=runtime.results)
    page = write_stages(runtime)
    log_rows(rows, runtime)
    _print(table_rows, runtime, page)


def write_stages(runtime: Runtime) -> Path:
    """Write ``stages.json``, what the run did and what it cost, and ``report.html``; return its path."""
    # Quoted, so that it can be pasted into a shell.
    command = command_line(sys.argv[1:])
    sets = tuple((label, str(folder)) for label, folder in runtime.sets)
    stages = Stages(command, tuple(runtime.costs), sets, facts(), runtime.scale)
    write_json(runtime.output / FILE, asdict(stages))
    return write_page(runtime.output, stages, runtime.results)


def facts() -> dict[str, str]:
    """Return what a reader needs to judge or reproduce the numbers: commit, date, device and versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def write_page(folder: Path, stages: Stages, results: FinishedRows) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Args:
        folder: The run's folder; the page shows the rows of its ``results.csv``, if there is one.
        stages: What the run did.
        results: The rows that are done; they go before the table's, which may be older.
    """
    rows = rows_in(folder.glob("results.csv"), results)
    links = links_in(folder, {"results.csv": "rows (results.csv)", LOG: "log"})
    if is_job(folder):
        # The sweep's page may not exist yet; it is written once all jobs have ended, even if some failed.
        links.insert(0, Link("page of the sweep", "../report.html"))
    report = RunReport(
        title=folder.name,
        command=stages.command,
        rows=rows,
        costs=stages.costs,
        sets=stages.sets_there,
        facts=stages.facts,
        links=links,
        is_job=is_job(folder),
    )
    write_text(folder / "report.html", build_page(report))
    return folder / "report.html"


def log_rows(rows: Sequence[StudentRow], runtime: Runtime) -> None:
    """Show the pictures, rows and costs of a run on its dashboard."""
    for i, (label, folder) in enumerate(runtime.sets):
        members = SyntheticSet.load(folder).members
        pictures = {f"{label} expert {m.provenance.expert}": set_picture(m) for m in members}
        # The job's own set comes first. Its name is the same in all jobs, so that they can be compared.
        runtime.tracker.images(f"distilled/{label}" if i else "distilled", pictures)
    runtime.tracker.results(rows, runtime.costs)
    runtime.tracker.summary(over_random(rows))


def finish_evaluation(rows: list[StudentRow], runtime: Runtime) -> dict[str, Any]:
    """Write a run's table and page; return the mean ``accuracy`` of its students, and their ``rows``."""
    finish_run(rows, runtime)
    return {"accuracy": accuracies(rows).get("accuracy", math.nan), "rows": rows}


def _print(rows: "pl.DataFrame", runtime: Runtime, page: Path) -> None:
    """Print the accuracies of each variant and architecture, its lead over random, and what was reused."""
    summary = Results(texts_of(rows)).table()
    terminal_table = Table(title=f"{runtime.experiment}: {summary.title}")
    for column in summary.columns:
        terminal_table.add_column(column, justify="left" if column == summary.columns[0] else "right")
    for cells in summary.cells:
        terminal_table.add_row(*cells)
    show(terminal_table)
    for variant, leads in leads_over_random(rows).items():
        for opponent, lead in leads.values():
            if lead.difference is not None:
                say(f"{variant} over {opponent}: {lead} points (95 %, {lead.over})")
    # Whoever repeats a run sees that nothing was computed anew.
    reused = sum(cost.found for cost in runtime.costs)
    say(f"{reused} of {len(runtime.costs)} stages were found finished in {runtime.store.root}")
    say(f"rows: {runtime.output / 'results.csv'}\npage: {page}")
