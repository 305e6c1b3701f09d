"""Whether networks, and measures, put the sets of a sweep in one order, as sections of its page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from moe_distill.reports.layout import joined, line, section, table
from moe_distill.results.rank_correlation import AGREEMENT
from moe_distill.results.row_files import left_in, read_table

TABLE = "agreement.csv"
_NOTE = (
    "Spearman's rank correlation over sets of equal data, method and budget, with its 95\u00a0% interval, which fewer "
    "than four sets do not give."
)


def agreement_of(sweep: Path) -> list[dict[str, str]]:
    """Return the lines that a sweep's measurements left; none where nothing was measured."""
    return left_in(sweep / TABLE, read_table) or []


def agreement_section(lines: Sequence[Mapping[str, str]]) -> Markup:
    """Return a section of the architectures and one of the measures that were compared.

    Args:
        lines: Rows with :data:`~moe_distill.results.rank_correlation.AGREEMENT` and the conditions under which sets
            are comparable.
    """
    networks, measures = ([of for of in lines if of["compared"] == what] for what in ("architectures", "measures"))
    return joined(
        [
            section("Do networks put the sets in one order?", _NOTE, _cards(networks, "measure", by_pair=False)),
            section("Do measures put the sets in one order?", _NOTE, _cards(measures, "measures", by_pair=True)),
        ],
        "\n",
    )


def _cards(lines: Sequence[Mapping[str, str]], head: str, by_pair: bool) -> list[str]:
    """Return a table for each group of comparable sets: a line for each pair if ``by_pair``, else a column."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for compared in lines:
        group = ", ".join(f"{k} {v}" for k, v in compared.items() if k not in AGREEMENT or k == "sets")
        pair, within = f"{compared['first']} ~ {compared['second']}", compared["within"]
        down, across = (pair, within) if by_pair else (within, pair)
        cells.setdefault(group, {}).setdefault(down, {})[across] = _said(compared)
    cards: list[str] = []
    for group, by_line in cells.items():
        columns = list(dict.fromkeys(across for found in by_line.values() for across in found))
        body = joined([line(down, [found.get(c, "") for c in columns]) for down, found in by_line.items()])
        cards.append(Markup("<h3>{}</h3>{}").format(group, table((head, *columns), [body])))
    return cards


def _said(compared: Mapping[str, str]) -> str:
    rho, low, high = (float(compared[c]) for c in ("rho", "low", "high"))
    if not math.isfinite(rho):
        return "undefined"
    text = f"{rho:+.2f}" + f" ({low:+.2f} to {high:+.2f})" * math.isfinite(low)
    return text.replace("-", "−")
