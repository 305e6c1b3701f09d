"""The end of a run: its rows, its table in the terminal, its page, and what is mirrored."""

import platform
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.evaluation.headline import over_random
from moe_distill.reports.gallery import set_picture
from moe_distill.reports.run_page import RunReport, build_page
from moe_distill.reports.sections import Link, links_in
from moe_distill.results.aggregate import finite
from moe_distill.results.attempts import LOG
from moe_distill.results.comparison import leads_over_random
from moe_distill.results.known_rows import Results
from moe_distill.results.rows import table
from moe_distill.results.run_tables import is_job, publish, rows_in
from moe_distill.results.stages import FILE, StageCost, Stages
from moe_distill.results.wording import in_percent
from moe_distill.store.store import commit, write_json, write_text
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.terminal import say, show

if TYPE_CHECKING:
    import polars as pl


def finish_run(rows: Sequence[Mapping[str, Any]], runtime: Runtime) -> None:
    """Write ``results.csv``, ``stages.json`` and ``report.html``, show the table, mirror the lot."""
    shown = publish(rows, runtime.output, results=runtime.results)
    page = write_stages(runtime)
    log_rows(rows, runtime)
    _print(shown, runtime, page)


def write_stages(runtime: Runtime) -> Path:
    """Write ``stages.json``, what a run did and what it cost, and ``report.html``, whose place is
    returned.
    """
    command = shlex.join(["python", "-m", "moe_distill.run", *sys.argv[1:]])
    costs = tuple(StageCost(**cost) for cost in runtime.costs)
    sets = tuple((label, str(folder)) for label, folder in runtime.sets)
    stages = Stages(command, costs, sets, facts(), runtime.scale)
    write_json(runtime.output / FILE, asdict(stages))
    return write_page(runtime.output, stages, runtime.results)


def facts() -> dict[str, str]:
    """Return what a reader needs to judge or repeat the numbers."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def write_page(folder: Path, stages: Stages, results: Results) -> Path:
    """Build ``report.html`` of a run's folder from what the run did and, where there is one, ``results.csv``.

    Args:
        folder: The run's.
        stages: What it did.
        results: The rows that are done, wherever they were made.
    """
    rows = rows_in(folder.glob("results.csv"), results)
    links = links_in(folder, {"results.csv": "rows (results.csv)", LOG: "log"})
    if is_job(folder):  # whose page is written once its jobs have ended, however they did
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


def log_rows(rows: Sequence[Mapping[str, Any]], runtime: Runtime) -> None:
    """Show pictures, rows and costs elsewhere; the job's own set, which comes first, under names of its
    own.
    """
    for i, (label, folder) in enumerate(runtime.sets):
        members = SyntheticSet.load(folder).members
        pictures = {f"{label} expert {m.provenance.expert}": set_picture(m) for m in members}
        runtime.tracker.images(f"distilled/{label}" if i else "distilled", pictures)
    runtime.tracker.results(rows, runtime.costs)
    runtime.tracker.summary(over_random(rows))


def _print(rows: "pl.DataFrame", runtime: Runtime, page: Path) -> None:
    """Show accuracies by network and variant, and what the store already held."""
    architectures, cells = table(rows)
    seeds = max((len(v) for by in cells.values() for v in by.values()), default=0)
    shown = Table(title=f"{runtime.experiment}: test accuracy, %, mean ± std of {seeds} students")
    for column in ("trained on", *architectures, "average"):
        shown.add_column(column, justify="left" if column == "trained on" else "right")
    for variant, by in cells.items():
        held = [finite(by.get(a, [])) for a in architectures]
        average = f"{100 * statistics.mean(map(statistics.mean, held)):.1f}" if all(held) else "–"
        shown.add_row(variant, *(in_percent(v) or "–" for v in held), average)
    show(shown)
    for variant, leads in leads_over_random(rows).items():
        for opponent, lead in leads.values():
            if lead.difference is not None:
                say(f"{variant} over {opponent}: {lead} points (95 %, {lead.over})")
    found = sum(c["found"] for c in runtime.costs)
    say(f"{found} of {len(runtime.costs)} stages were found finished in {runtime.store.root}")
    say(f"rows: {runtime.output / 'results.csv'}\npage: {page}")
