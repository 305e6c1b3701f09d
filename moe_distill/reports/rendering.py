"""Templates filled in: each kind of document escapes, by itself, every value that is put into it.

A value is text unless it is :class:`~markupsafe.Markup`, so that whoever forgets to mark markup shows it as
text.
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
    """Return an HTML page that makes no request anywhere.

    Its policy lets the page's script run by its hash, so that no other one does, whatever the values hold.

    Args:
        template: The template's name without its ending.
        **values: What it shows.
    """
    environment = _html()
    script = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template(f"{template}.html.j2").render(
        values, script=Markup(script), digest=digest
    )
    return printable(text)  # what turns the writing of a line would turn that of its neighbours


def part(macro: str, *values: object) -> Markup:
    """Return what one macro of ``parts.html.j2`` makes of values: a piece of a page."""
    made: Markup = getattr(_html().get_template("parts.html.j2").module, macro)(*values)
    return made


def markdown(template: str, **values: object) -> str:
    """Return a Markdown document in which no value has an effect; arguments as for :func:`page`."""
    return _markdown().get_template(f"{template}.md.j2").render(values)


def latex(template: str, **values: object) -> str:
    """Return a piece of LaTeX in which no value has an effect; arguments as for :func:`page`."""
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
    """Return an environment that escapes as HTML what no function has made markup before."""
    return Environment(
        loader=_LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _escaping_by(escaped: Callable[[str], str]) -> Callable[[object], Markup]:
    """Return what makes markup of a value by escaping it; markup is what is escaped already."""

    def finalize(value: object) -> Markup:
        return value if isinstance(value, Markup) else Markup(escaped(str(value)))

    return finalize


def _with_minus(text: str) -> str:
    """Return a figure whose hyphen in front is a minus."""
    return f"−{text[1:]}" if text.startswith("-") else text
