"""Escape texts for Markdown, LaTeX and CSV; for CSV there is a way back.

HTML is escaped by its templates, see :mod:`moe_distill.reports.rendering`.
"""

import html
import re

from moe_distill.printable import printable

# An underscore inside a word starts no emphasis in GitHub's Markdown, and our names are full of them.
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
# What begins a formula in a spreadsheet (OWASP, "CSV Injection"), the full-width forms included.
_RUN_BY_SPREADSHEETS = "=+\\-@\t\r\n＝＋－＠"
# Apostrophes in front count in, so that a text that has some already comes back unchanged.
_RISKY = re.compile(f"'*[{_RUN_BY_SPREADSHEETS}]")
_DEFUSED = re.compile(f"'+[{_RUN_BY_SPREADSHEETS}]")


def in_markdown(text: str) -> str:
    r"""Return a text as one line of Markdown that shows it literally, Markdown and HTML in it included.

    Example:
        >>> print(in_markdown("*a* <b>"))
        \*a\* &lt;b&gt;
    """
    plain = _MARKDOWN.sub(lambda match: "\\" + match[0], printable(" ".join(text.split())))
    return html.escape(plain, quote=False)


def in_latex(text: str) -> str:
    r"""Return a text as LaTeX that shows it literally.

    Example:
        >>> print(in_latex("50% ± 2"))
        50\% $\pm$ 2
    """
    # A hyphen in front is the minus of a number.
    return re.sub("^-", "$-$", "".join(_LATEX.get(c, c) for c in printable(text)))


def in_csv(value: object) -> object:
    """Return a table cell that no spreadsheet runs as a formula; :func:`from_csv` gives the text back.

    A text that starts like a formula gets an apostrophe in front; numbers are unchanged.

    Example:
        >>> in_csv("=1+1"), in_csv("-3"), from_csv("'=1+1")
        ("'=1+1", '-3', '=1+1')
    """
    if not isinstance(value, str) or not _RISKY.match(value) or _is_number(value):
        return value
    return f"'{value}"


def from_csv(cell: str) -> str:
    """Return the text from which :func:`in_csv` made a cell."""
    return cell[1:] if _DEFUSED.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()  # float() ignores white space, a tab of which begins a formula
