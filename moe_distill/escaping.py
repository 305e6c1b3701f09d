"""Text that goes where some characters do something: made harmless, and in tables got back as it was.

HTML is escaped by its templates, see :mod:`moe_distill.reports.rendering`.
"""

import html
import re

from moe_distill.printable import printable

# An underscore within a word starts nothing in GitHub's Markdown, and names are full of them.
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "–": "--",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
    },
    "·": r"$\cdot$",
}
_RUN_BY_SPREADSHEETS = "=+\\-@\t\r\n＝＋－＠"
_RISKY = re.compile(f"'*[{_RUN_BY_SPREADSHEETS}]")
_DEFUSED = re.compile(f"'+[{_RUN_BY_SPREADSHEETS}]")


def in_markdown(text: str) -> str:
    """Return a text as Markdown that shows it, on one line: neither Markdown nor HTML in it has an effect."""
    plain = _MARKDOWN.sub(lambda found: "\\" + found[0], printable(" ".join(text.split())))
    return html.escape(plain, quote=False)


def in_latex(text: str) -> str:
    """Return a text as LaTeX that shows it; a hyphen in front, as negative numbers have one, becomes a
    minus.
    """
    return re.sub("^-", "$-$", "".join(_LATEX.get(c, c) for c in printable(text)))


def in_csv(value: object) -> object:
    """Return a cell that no spreadsheet runs as a formula: an apostrophe goes before a text that starts like
    one.

    Numbers stay as they are. Reading by :func:`from_csv` gives the text back, whatever it was.
    """
    if not isinstance(value, str) or not _RISKY.match(value) or _is_number(value):
        return value
    return f"'{value}"


def from_csv(cell: str) -> str:
    """Return the text of which :func:`in_csv` made a cell."""
    return cell[1:] if _DEFUSED.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
