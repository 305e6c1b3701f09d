"""What became of each cell of a sweep, as a section of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from moe_distill.reports.layout import joined, section
from moe_distill.reports.page_costs import duration
from moe_distill.results.attempts import STARTING, Attempt
from moe_distill.results.wording import count

LOST = ("failed", "stopped", "killed", "restarted")


@dataclass(frozen=True)
class CellReport:
    """A cell as the page shows it.

    Attributes:
        name: What its command line sets apart from the others.
        state: See :meth:`~moe_distill.sweeps.jobs.Cell.state`.
        attempts: The attempts at it, the first one first.
        last: What became of the last one.
        log: The last lines it printed.
        command: What runs it alone.
    """

    name: str
    state: str
    attempts: Sequence[Attempt]
    last: str
    log: str
    command: str


def cells_section(reports: Sequence[CellReport]) -> Markup:
    """Return what became of each cell, those that failed or were lost opened."""
    if not reports:
        return Markup("")
    note = "What became of each job; open one for its attempts, its command and the end of its log."
    lines = joined([_cell(report) for report in reports])
    return section("Cells", note, [Markup('<div class="cells">{}</div>').format(lines)])


def _cell(report: CellReport) -> Markup:
    states = [*("lost: killed, or its machine restarted" for _ in report.attempts[1:]), report.last]
    tried = [Markup("<li>{}</li>").format(_tried(a, s)) for a, s in zip(report.attempts, states, strict=False)]
    code = Markup("<pre><code>{}</code></pre>")
    log = code.format(report.log) if report.log else ""
    badge = Markup('<span class="badge {0}">{0}</span>').format(report.state)
    attempts = Markup('<span class="soft">{}</span>').format(count([len(report.attempts)], "attempt"))
    body = Markup("<ol>{}</ol>{}{}").format(joined(tried), code.format(report.command), log)
    opened = " open" * (report.state in LOST)
    html = Markup("<details{}><summary>{}{} {}</summary>{}</details>")
    return html.format(opened, badge, report.name, attempts if report.attempts else "", body)


def _tried(attempt: Attempt, state: str) -> Markup:
    began = datetime.fromtimestamp(attempt.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    outcome = state if attempt.outcome in (None, STARTING) else attempt.outcome
    took = f" after {duration([{'seconds': attempt.ended - attempt.began}])}" if attempt.ended else ""
    error = f": {attempt.error}" if attempt.error else ""
    html = Markup('{}, {}{}{} <span class="soft">({})</span>')
    return html.format(began, outcome, took, error, attempt.commit)
