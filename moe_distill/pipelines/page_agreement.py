"""Whether networks, and measures, put the sets of a sweep in one order, as sections of its page."""

import csv
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from moe_distill.correlation import AGREEMENT
from moe_distill.pipelines.layout import section, table

TABLE = "agreement.csv"
_NOTE = (
    "Spearman's rank correlation over sets of equal data, method and budget, with its 95\u00a0% interval, which fewer "
    "than four sets do not give."
)


def agreement_of(sweep: Path) -> list[dict[str, str]]:
    """Return the lines that a sweep's measurements left; none where nothing was measured."""
    file = sweep / TABLE
    if not file.is_file():
        return []
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def agreement_section(lines: Sequence[Mapping[str, str]]) -> str:
    """Return a section of the architectures and one of the measures that were compared.

    Args:
        lines: Rows with :data:`~moe_distill.correlation.AGREEMENT` and the conditions under which sets are comparable.
    """
    networks, measures = (
        [line for line in lines if line["compared"] == what] for what in ("architectures", "measures")
    )
    return "\n".join(
        [
            section("Do networks put the sets in one order?", _NOTE, _cards(networks, "measure", by_pair=False)),
            section("Do measures put the sets in one order?", _NOTE, _cards(measures, "measures", by_pair=True)),
        ]
    )


def _cards(lines: Sequence[Mapping[str, str]], head: str, by_pair: bool) -> list[str]:
    """Return a table for each group of comparable sets: a line for each pair if ``by_pair``, else a column."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for line in lines:
        group = ", ".join(f"{k} {v}" for k, v in line.items() if k not in AGREEMENT or k == "sets")
        pair, within = f"{line['first']} ~ {line['second']}", line["within"]
        down, across = (pair, within) if by_pair else (within, pair)
        cells.setdefault(group, {}).setdefault(down, {})[across] = _said(line)
    cards = []
    for group, by_line in cells.items():
        columns = list(dict.fromkeys(across for found in by_line.values() for across in found))
        body = "".join(_line(down, [found.get(c, "") for c in columns]) for down, found in by_line.items())
        cards.append(f"<h3>{escape(group)}</h3>{table((head, *columns), [body])}")
    return cards


def _line(head: str, values: Sequence[str]) -> str:
    return f'<tr><th scope="row">{escape(head)}</th>{"".join(f"<td>{v}</td>" for v in values)}</tr>'


def _said(line: Mapping[str, str]) -> str:
    rho, low, high = (float(line[c]) for c in ("rho", "low", "high"))
    if not math.isfinite(rho):
        return "undefined"
    text = f"{rho:+.2f}" + f" ({low:+.2f} to {high:+.2f})" * math.isfinite(low)
    return text.replace("-", "−")
