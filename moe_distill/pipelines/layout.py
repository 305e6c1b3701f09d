"""What pages are put together of: the whole, its sections, and counts in words."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template


def whole_page(title: str, sections: Sequence[str]) -> str:
    """Return an HTML page that makes no request anywhere; sections are HTML, empty ones are left out."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body="\n".join(filter(None, sections)))


def section(heading: str, note: str, cards: Sequence[str], layout: str = "stack") -> str:
    """Return a section of cards (HTML) under a heading and a note, nothing where there are no cards."""
    if not cards:
        return ""
    held = "".join(f'<div class="card">{card}</div>' for card in cards)
    return f'<section><h2>{heading}</h2><p class="note">{note}</p><div class="{layout}">{held}</div></section>'


def count(numbers: Sequence[int], thing: str) -> str:
    """Return ``1 thing``, ``3 things`` or ``1 to 3 things``, of sorted numbers."""
    text = " to ".join(f"{n:,}" for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"{text} {thing}{'' if text == '1' else 's'}"


def table(heads: Sequence[str], bodies: Sequence[str]) -> str:
    """Return a table that scrolls sideways: the heads of its columns, and groups of lines (HTML)."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tbody>{lines}</tbody>" for lines in bodies)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{body}</table></div>'
