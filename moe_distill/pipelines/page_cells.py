"""What became of each cell of a sweep, as a section of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from moe_distill.attempts import STARTING, Attempt
from moe_distill.pipelines.layout import count, section
from moe_distill.pipelines.page_costs import duration

LOST = ("failed", "stopped", "killed", "restarted")


@dataclass(frozen=True)
class CellReport:
    """A cell as the page shows it.

    Attributes:
        name: What its command line sets apart from the others.
        state: See :meth:`~moe_distill.pipelines.cells.Cell.state`.
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


def cells_section(reports: Sequence[CellReport]) -> str:
    """Return what became of each cell, those that failed or were lost opened."""
    if not reports:
        return ""
    lines = "".join(map(_cell, reports))
    note = "What became of each job; open one for its attempts, its command and the end of its log."
    return section("Cells", note, [f'<div class="cells">{lines}</div>'])


def _cell(report: CellReport) -> str:
    states = [*("lost: killed, or its machine restarted" for _ in report.attempts[1:]), report.last]
    tried = "".join(f"<li>{_tried(a, state)}</li>" for a, state in zip(report.attempts, states, strict=False))
    log = f"<pre><code>{escape(report.log)}</code></pre>" if report.log else ""
    badge = f'<span class="badge {report.state}">{report.state}</span>'
    attempts = f'<span class="soft">{count([len(report.attempts)], "attempt")}</span>' if report.attempts else ""
    body = f"<ol>{tried}</ol><pre><code>{escape(report.command)}</code></pre>{log}"
    opened = " open" * (report.state in LOST)
    return f"<details{opened}><summary>{badge}{escape(report.name)} {attempts}</summary>{body}</details>"


def _tried(attempt: Attempt, state: str) -> str:
    began = datetime.fromtimestamp(attempt.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    outcome = state if attempt.outcome in (None, STARTING) else attempt.outcome
    took = f" after {duration([{'seconds': attempt.ended - attempt.began}])}" if attempt.ended else ""
    error = f": {escape(attempt.error)}" if attempt.error else ""
    return f'{began}, {outcome}{took}{error} <span class="soft">({escape(attempt.commit)})</span>'
