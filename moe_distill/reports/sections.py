"""Smaller parts of pages, as values for templates: links, a sweep's cells, and further tables."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from moe_distill.reports.answers import Lead
from moe_distill.reports.break_even import BreakEven
from moe_distill.reports.cost_table import duration
from moe_distill.reports.spent import Spent
from moe_distill.reports.tables import Entry, Line, Sheet
from moe_distill.results.attempts import STARTING, Attempt
from moe_distill.results.comparison import format_difference
from moe_distill.results.frames import texts_of
from moe_distill.results.rank_correlation import AGREEMENT
from moe_distill.results.row_files import merge_rows, read_or_set_aside, read_table
from moe_distill.results.rows import RANDOM
from moe_distill.results.schema import SCHEMAS
from moe_distill.results.wording import count, percent

LOST = ("failed", "stopped", "killed", "restarted")
AGREEMENT_TABLE = "agreement.csv"
# The tables of other pipelines, and their headings on the page.
TITLES = {
    "measures.csv": "Dependence of the experts, beside real images dealt out at random",
    "scores.csv": "Scores, network by network",
    "probe.csv": "Linear probe, student by student",
}
_LEFT_OUT = ("config_hash", "set_fingerprint", "commit", "network_seed", "overrides")
_MAX_LINES = 200

CsvLines = Sequence[Mapping[str, str]]
"""Lines of a CSV file, each cell as text."""


@dataclass(frozen=True)
class Link:
    """A link of a page: its text, and the address relative to the page."""

    text: str
    address: str


def links_in(folder: Path, names: Mapping[str, str]) -> list[Link]:
    """Return links to those of some files that exist.

    Args:
        folder: The folder of the page.
        names: The text of each link, by the file's path relative to the folder.
    """
    return [Link(text, address_of(name)) for name, text in names.items() if (folder / name).is_file()]


def address_of(name: str) -> str:
    """Return a path as a relative address, which cannot be mistaken for one of another scheme or host.

    >>> address_of("javascript:a b")
    './javascript%3Aa%20b'
    """
    return f"./{quote(name)}"


@dataclass(frozen=True)
class CellReport:
    """A cell of a sweep as its page shows it.

    Attributes:
        name: The settings that distinguish it from the other cells.
        state: See :meth:`~moe_distill.sweeps.jobs.Cell.state`.
        attempts: The attempts at it, in order.
        last: The state of the last one.
        log: The last lines that it printed.
        command: The command line that runs it alone.
        links: Links to its page and its log, if they exist.
    """

    name: str
    state: str
    attempts: Sequence[Attempt]
    last: str
    log: str
    command: str
    links: Sequence[Link] = ()

    @property
    def is_lost(self) -> bool:
        """Whether its last attempt did not finish."""
        return self.state in LOST

    @property
    def tries(self) -> list[str]:
        """Each attempt in a line."""
        # Only the last attempt may still run: an earlier one without an end was lost.
        lost = "lost: killed, or its machine restarted"
        states = [*(lost for _ in self.attempts[1:]), self.last]
        return [_in_a_line(a, state) for a, state in zip(self.attempts, states, strict=False)]

    @property
    def counted(self) -> str:
        """How many attempts there were; empty where there were none."""
        return count([len(self.attempts)], "attempt") if self.attempts else ""


def _in_a_line(attempt: Attempt, state: str) -> str:
    began = datetime.fromtimestamp(attempt.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    # Without an end of its own, its state says what became of it.
    outcome = state if attempt.outcome in (None, STARTING) else attempt.outcome
    took = f" after {duration(attempt.ended - attempt.began)}" if attempt.ended else ""
    error = f": {attempt.error}" if attempt.error else ""
    return f"{began}, {outcome}{took}{error} ({attempt.commit})"


@dataclass(frozen=True)
class TableSection:
    """A section of tables: its heading, a note, and the tables with their titles, which may be empty."""

    heading: str
    note: str
    tables: Sequence[tuple[str, Sheet]]


def tables_of(sweep: Path, jobs: Sequence[Path]) -> dict[str, CsvLines]:
    """Return the lines of other pipelines' tables in a sweep, each once, by the table's file name.

    The table of agreement, which belongs to the whole sweep, comes first.

    Args:
        sweep: The sweep's folder.
        jobs: The folders of its jobs.
    """
    agreement = read_or_set_aside(sweep / AGREEMENT_TABLE, read_table) or []
    tables: dict[str, CsvLines] = {AGREEMENT_TABLE: agreement} if agreement else {}
    for name in TITLES:
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        # Most jobs have one of these tables: making an empty frame for each other one takes seconds.
        for job in (job for job in jobs if os.path.lexists(job / name)):
            for row in texts_of(merge_rows([job / name], SCHEMAS[name])):
                # Jobs that share a set have the same lines about it.
                lines.setdefault(tuple(row.values()), row)
        if lines:
            tables[name] = list(lines.values())
    return tables


def table_sections(tables: Mapping[str, CsvLines]) -> list[TableSection]:
    """Return sections of the agreements, then one section for each other table, with the columns that vary.

    Args:
        tables: As :func:`tables_of` returns them.
    """
    others = [_as_section(TITLES[name], lines) for name, lines in tables.items() if name in TITLES]
    return [*_agreements(tables.get(AGREEMENT_TABLE, ())), *others]


def _as_section(title: str, lines: CsvLines) -> TableSection:
    known = [c for c in lines[0] if c not in _LEFT_OUT]
    # What is the same in all lines is said once, in the note.
    columns = [c for c in known if len({line.get(c) for line in lines}) > 1] or known[:1]
    constant = {c: lines[0][c] for c in known if c not in columns and lines[0][c]}
    body = [as_line(*(_rounded(line.get(c) or "") for c in columns)) for line in lines[:_MAX_LINES]]
    note = ", ".join(f"{c} {_rounded(v)}" for c, v in constant.items())
    if len(lines) > _MAX_LINES:
        note += f". The first {_MAX_LINES} of {len(lines)} lines."
    return TableSection(title, note, [("", Sheet(tuple(columns), {"": body}, ()))])


def as_line(name: str, *texts: str) -> Line:
    """Return a line of a table from its texts."""
    return Line(name, tuple(map(Entry, texts)))


def _rounded(text: str) -> str:
    """Return a decimal number rounded to four digits, anything else unchanged."""
    try:
        # Only with a point: counts and seeds are shown in full.
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text


def _agreements(lines: CsvLines) -> list[TableSection]:
    """Return a section of the architectures and one of the measures that were compared, if any were."""
    note = (
        "Spearman's rank correlation over sets of equal data, method and budget, with its 95\u00a0% "
        "interval, which fewer than four sets do not give."
    )
    sections = []
    for what, by_pair in (("architectures", False), ("measures", True)):
        compared = [line for line in lines if line["compared"] == what]
        subject = "networks" if what == "architectures" else what
        if compared:
            tables = _agreement_sheets(compared, by_pair)
            sections.append(TableSection(f"Do {subject} put the sets in one order?", note, tables))
    return sections


def _agreement_sheets(lines: CsvLines, by_pair: bool) -> list[tuple[str, Sheet]]:
    """Return a titled table for each group of comparable sets.

    Args:
        lines: Lines of ``agreement.csv``.
        by_pair: Whether each pair has a line; else it has a column.
    """
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for compared in lines:
        group = ", ".join(f"{k} {v}" for k, v in compared.items() if k not in AGREEMENT or k == "sets")
        pair, within = f"{compared['first']} ~ {compared['second']}", compared["within"]
        down, across = (pair, within) if by_pair else (within, pair)
        groups.setdefault(group, {}).setdefault(down, {})[across] = _correlation(compared)
    sheets = []
    for group, by_line in groups.items():
        columns = list(dict.fromkeys(across for cells in by_line.values() for across in cells))
        body = [as_line(down, *(cells.get(c, "") for c in columns)) for down, cells in by_line.items()]
        sheets.append((group, Sheet(("measures" if by_pair else "measure", *columns), {"": body}, ())))
    return sheets


def _correlation(compared: Mapping[str, str]) -> str:
    rho, low, high = (float(compared[c]) for c in ("rho", "low", "high"))
    # NaN: too few sets, or a measure that is the same for all.
    if not math.isfinite(rho):
        return "undefined"
    interval = f" ({low:+.2f} to {high:+.2f})" if math.isfinite(low) else ""
    return f"{rho:+.2f}{interval}".replace("-", "−")


def losing_section(losing: Sequence[Lead]) -> TableSection | None:
    """Return the section of networks that learn less from a variant than from its opponent; None without any.

    Args:
        losing: Leads below zero, the lowest first.
    """
    lines = []
    for c in losing:
        if c.kind != RANDOM:
            difference = format_difference(c.difference, c.half)
            lines.append(as_line(c.variant, c.architecture, difference, c.opponent))
    if not lines:
        return None
    note = (
        "Networks that learn less from a variant than from its opponent, the furthest behind first, in "
        "points."
    )
    sheet = Sheet(("variant", "network", "lead", "opponent"), {"": lines}, ())
    return TableSection("Where it falls behind", note, [("", sheet)])


def break_even_section(lines: Sequence[BreakEven]) -> TableSection | None:
    """Return the section about after how many trainings each set pays; None if none is known."""
    if not lines:
        return None
    heads = (
        "set",
        "network",
        "teachers and distilling",
        "a training on it",
        "on all data",
        "pays after trainings",
    )
    body = []
    for b in lines:
        after = Entry(f"{b.after:,.0f}" if math.isfinite(b.after) else "never", best=True)
        times = map(Entry, (b.network, duration(b.made), duration(b.training), duration(b.full)))
        body.append(Line(b.variant, (*times, after)))
    note = "Wall times of this machine; teachers are counted in full for each set, though sets share them."
    return TableSection("When distilling pays", note, [("", Sheet(heads, {"": body}, ()))])


def spent_section(lines: Sequence[Spent]) -> TableSection | None:
    """Return the section about what the sets cost to make; None if no cost is known."""
    if not lines:
        return None
    heads = ("set", "accuracy, %", "distilling", "teachers", "core time", "peak memory, MiB")
    body = []
    for s in lines:
        times = map(duration, (s.distilling, s.teachers, s.core))
        body.append(as_line(s.variant, percent(s.accuracy), *times, f"{s.memory:,.0f}"))
    note = (
        "Accuracy: mean over networks. Distilling and teachers: wall times, all teachers counted in full "
        "for each set. Core time: both times the threads of a process; on a GPU, the GPU's. Memory: the most "
        "that distilling or training students took."
    )
    return TableSection("What the sets cost", note, [("", Sheet(heads, {"": body}, ()))])
