"""Filled-in templates: every value is escaped for the kind of document that it is put into.

A value counts as text unless it is :class:`~markupsafe.Markup`: undeclared markup shows as text, and
text never acts as markup.
"""

import base64
import functools
import hashlib
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moe_distill.escaping import in_latex, in_markdown
from moe_distill.printable import printable

_LOADER = PackageLoader("moe_distill.reports")


def page(template: str, **values: object) -> str:
    """Return an HTML page that makes no network requests.

    Args:
        template: The template's name without its ending.
        **values: The values of its variables.
    """
    environment = _html()
    # The script alone is rendered first, as its hash is part of the page.
    script = environment.get_template("page.js").render()
    # The page's policy allows this script by its hash, so that no other one runs, whatever the values hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template(f"{template}.html.j2").render(
        values, script=Markup(script), digest=digest
    )
    return printable(text)  # characters that reverse the writing direction would affect all that follows


def part(macro: str, *values: object) -> Markup:
    """Return a piece of a page: a macro of ``parts.html.j2`` applied to values."""
    markup: Markup = getattr(_html().get_template("parts.html.j2").module, macro)(*values)
    return markup


def markdown(template: str, **values: object) -> str:
    """Return a Markdown document in which values show as plain text; arguments as for :func:`page`."""
    return _markdown().get_template(f"{template}.md.j2").render(values)


def latex(template: str, **values: object) -> str:
    """Return a piece of LaTeX in which values show as plain text; arguments as for :func:`page`."""
    return _latex().get_template(f"{template}.tex.j2").render(values)


@functools.cache
def _html() -> Environment:
    environment = _environment()
    environment.filters["minus"] = _with_minus
    return environment


@functools.cache
def _markdown() -> Environment:
    return _environment(_escaping_by(in_markdown))


@functools.cache
def _latex() -> Environment:
    environment = _environment(_escaping_by(in_latex))
    # Braces mean something in LaTeX: its templates write \VAR{…} and \BLOCK{…}.
    return environment.overlay(
        block_start_string="\\BLOCK{",
        block_end_string="}",
        variable_start_string="\\VAR{",
        variable_end_string="}",
        comment_start_string="\\COMMENT{",
        comment_end_string="}",
    )


def _environment(finalize: Callable[[object], object] | None = None) -> Environment:
    """Return an environment that escapes values as HTML, unless ``finalize`` has made markup of them."""
    return Environment(
        loader=_LOADER,
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name fails instead of showing nothing
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _escaping_by(escaped: Callable[[str], str]) -> Callable[[object], Markup]:
    """Return a function that makes markup of a value by escaping it; markup stays as it is."""

    def finalize(value: object) -> Markup:
        return value if isinstance(value, Markup) else Markup(escaped(str(value)))

    return finalize


def _with_minus(text: str) -> str:
    """Return a figure with a minus sign for a leading hyphen."""
    return f"−{text[1:]}" if text.startswith("-") else text
