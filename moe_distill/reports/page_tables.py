"""Tables that other pipelines than ``full`` leave, as sections of a sweep's page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from moe_distill.reports import page_agreement
from moe_distill.reports.layout import joined, line, section, table
from moe_distill.results.frames import texts_of
from moe_distill.results.row_files import merge_rows
from moe_distill.results.schema import SCHEMAS

# What a pipeline calls its table, and what the page says of it.
TITLES = {
    "measures.csv": "Dependence of the experts, beside real images dealt out at random",
    "scores.csv": "Scores, network by network",
    "probe.csv": "Linear probe, student by student",
}
_UNTOLD = ("config_hash", "set_fingerprint", "commit", "network_seed", "overrides")
_MOST_LINES = 200

Lines = Sequence[Mapping[str, str]]


def tables_of(sweep: Path, jobs: Sequence[Path]) -> dict[str, Lines]:
    """Return the lines of such tables of a sweep's jobs, each once, by the table's name; agreement first.

    Args:
        sweep: Its folder.
        jobs: The folders of its jobs.
    """
    agreed = page_agreement.agreement_of(sweep)
    found: dict[str, Lines] = {page_agreement.TABLE: agreed} if agreed else {}
    for name in TITLES:
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        for row in (row for job in jobs for row in texts_of(merge_rows([job / name], SCHEMAS[name]))):
            lines.setdefault(tuple(row.values()), row)
        if lines:
            found[name] = list(lines.values())
    return found


def tables_section(tables: Mapping[str, Lines]) -> Markup:
    """Return what was compared as sections, then each table as one, with the columns that vary."""
    agreed = page_agreement.agreement_section(tables.get(page_agreement.TABLE, ()))
    others = [_section(TITLES[name], lines) for name, lines in tables.items() if name in TITLES]
    return joined([agreed, *others], "\n")


def _section(title: str, lines: Lines) -> Markup:
    told = [c for c in lines[0] if c not in _UNTOLD]
    columns = [c for c in told if len({line.get(c) for line in lines}) > 1] or told[:1]
    constant = {c: lines[0][c] for c in lines[0] if c not in (*_UNTOLD, *columns) and lines[0][c]}
    body = joined([_line([of.get(c) or "" for c in columns]) for of in lines[:_MOST_LINES]])
    note = ", ".join(f"{c} {_rounded(v)}" for c, v in constant.items())
    note += f". The first {_MOST_LINES} of {len(lines)} lines." * (len(lines) > _MOST_LINES)
    return section(title, note, [table(columns, [body])])


def _line(values: Sequence[str]) -> Markup:
    first, *others = map(_rounded, values)
    return line(first, others)


def _rounded(text: str) -> str:
    """Return a number with a point to four digits, anything else as it is."""
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text
