"""What pages are put together of: the whole, its sections, and counts in words.

Text becomes markup here and nowhere unseen: whatever is no :class:`~markupsafe.Markup` is escaped where it is put in.
Whoever makes HTML writes ``Markup("…{}…").format(text)``, which escapes the text; an f-string would be shown as text.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from markupsafe import Markup, escape

from moe_distill.printable import printable


def whole_page(title: str, sections: Sequence[str]) -> str:
    """Return an HTML page that makes no request anywhere; sections are markup, empty ones are left out.

    Its policy lets the page's script run by its hash, so that no other one does, whatever the sections hold.
    """
    text = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    body = joined([section for section in sections if section], "\n")
    page = Template(text).substitute(title=escape(title), body=body, script_hash=f"sha256-{digest}")
    return printable(page)  # what turns the writing of a line would turn that of its neighbours


def joined(parts: Sequence[str], between: str = "") -> Markup:
    """Return parts one after another; those that are no markup are escaped."""
    return Markup(between).join(parts)


def section(heading: str, note: str, cards: Sequence[str], layout: str = "stack") -> Markup:
    """Return a section of cards (markup) under a heading and a note, nothing where there are no cards."""
    if not cards:
        return Markup("")
    inside = joined([Markup('<div class="card">{}</div>').format(card) for card in cards])
    html = Markup('<section><h2>{}</h2><p class="note">{}</p><div class="{}">{}</div></section>')
    return html.format(heading, note, layout, inside)


def table(heads: Sequence[str], bodies: Sequence[str]) -> Markup:
    """Return a table that scrolls sideways: the heads of its columns, and groups of lines (markup)."""
    head = joined([Markup('<th scope="col">{}</th>').format(name) for name in heads])
    body = joined([Markup("<tbody>{}</tbody>").format(lines) for lines in bodies])
    html = Markup('<div class="scroll"><table><thead><tr>{}</tr></thead>{}</table></div>')
    return html.format(head, body)


def line(name: str, values: Sequence[str]) -> Markup:
    """Return a line of a table: the name that heads it, and its values."""
    data = joined([Markup("<td>{}</td>").format(value) for value in values])
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, data)


def paragraphs_of(heading: str, note: str) -> Markup:
    """Return the heading of a card and a quiet note below it."""
    return Markup('<h3>{}</h3><p class="soft">{}</p>').format(heading, note)
