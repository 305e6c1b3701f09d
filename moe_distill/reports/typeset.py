"""Tables set by great_tables: HTML that takes its looks from the page's style, and LaTeX."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from moe_distill.printable import printable
from moe_distill.reports.tables import Entry, Line, Sheet

if TYPE_CHECKING:
    from great_tables import GT

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "–": "--", "†": r"\dag{}", "·": r"$\cdot$"},
}


def html_table(table: Sheet, name: str) -> Markup:
    """Return a table as markup for :func:`~moe_distill.reports.layout.whole_page`.

    It scrolls sideways where it is wider than the page; its colours are the page's.

    Args:
        table: What it says.
        name: Unique on the page; prefix of every id.
    """
    text = _set(table, name, _html_name, _html_entry).as_raw_html()
    # The library's style has colours of its own and would apply to the whole page.
    return Markup(re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL))


def latex_table(table: Sheet) -> str:
    """Return a table as LaTeX; the document needs the package ``booktabs``."""
    text = _set(table, "table", _latex_name, _latex_entry).tab_options(table_font_size="8pt").as_latex()
    # Of the rules of booktabs none is vertical. A page is narrow for four networks and the paper's figures.
    text = text.replace(r"\fill}}l|", r"\fill}}l")
    text = text.replace(r"\selectfont", "\\selectfont\n\\setlength{\\tabcolsep}{2pt}")
    return "% \\usepackage{booktabs}\n" + text


def _set(table: Sheet, name: str, named: Callable[[Line], str], told: Callable[[Entry], str]) -> "GT":
    import polars as pl
    from great_tables import GT

    columns = [str(place) for place in range(1, len(table.heads))]
    lines = [
        {"group": title, "name": named(line), **dict(zip(columns, map(told, line.entries), strict=True))}
        for title, own in table.groups.items()
        for line in own
    ]
    frame = pl.from_dicts(lines, schema=dict.fromkeys(["group", "name", *columns], pl.String))
    grouped = "group" if any(table.groups) else None
    made = GT(frame if grouped else frame.drop("group"), rowname_col="name", groupname_col=grouped, id=name)
    made = made.tab_stubhead(table.heads[0]).cols_label(dict(zip(columns, table.heads[1:], strict=True)))
    made = made.cols_align("right", columns).fmt(str, columns=["name", *columns])
    for note in table.notes:
        made = made.tab_source_note(note)
    return made


def _html_name(line: Line) -> str:
    return Markup('<span class="soft">{}</span>').format(line.name) if line.selection else escape(line.name)


def _html_entry(entry: Entry) -> str:
    text = Markup("<b>{}</b>" if entry.best else "{}").format(re.sub("^-", "−", entry.text))
    return Markup('{} <span class="paper">({})</span>').format(text, entry.paper) if entry.paper else text


def _latex_name(line: Line) -> str:
    return rf"\textit{{{_latex(line.name)}}}" if line.selection else _latex(line.name)


def _latex_entry(entry: Entry) -> str:
    text = rf"\textbf{{{_latex(entry.text)}}}" if entry.best else _latex(entry.text)
    return rf"{text} {{\scriptsize ({_latex(entry.paper)})}}" if entry.paper else text


def _latex(text: str) -> str:
    return re.sub("^-", "$-$", "".join(_LATEX.get(c, c) for c in printable(text)))
