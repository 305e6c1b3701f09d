"""How charts are drawn: SVG text that takes its colours from the page's style, light or dark."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from moe_distill.reports.layout import joined
from moe_distill.results.rows import RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = 7

# Matplotlib draws with these marks; in the SVG they become what the page's style sheet decides, light or dark.
INK, LINE = "#0a0bff", "#0a0bfe"
LOG_FROM_RATIO = 30.0
# Where a legend stands: above the axes, its left on theirs.
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0.2, "frameon": False}


def colours_of(variants: Sequence[str]) -> dict[str, int]:
    """Return the numbers of the page's colours: grey for random images, the others in turn for the other variants."""
    others = [v for v in dict.fromkeys(variants) if not v.startswith(RANDOM)]
    return {v: others.index(v) % _GREY if v in others else _GREY for v in variants}


def legend(colours: Mapping[str, int]) -> Markup:
    """Return what each colour stands for."""
    keys = [Markup("<span>{}{}</span>").format(swatch(c), variant) for variant, c in colours.items()]
    return Markup('<div class="legend">{}</div>').format(joined(keys))


def swatch(colour: int) -> Markup:
    """Return a spot of the page's colour of that number."""
    return Markup('<i class="swatch" style="--of:var(--c{})"></i>').format(colour)


def fitting(draw: Callable[[str, bool], str], name: str) -> Markup:
    """Return a chart twice, of which the page shows what fits: as wide as a card, or narrow for a phone.

    Args:
        draw: Makes the SVG markup; called with its name and whether it is to be narrow.
        name: Unique on the page.
    """
    both = Markup('<div class="wide scroll">{}</div><div class="narrow">{}</div>')
    return both.format(draw(name, False), draw(f"{name}-narrow", True))


def mark(colour: int) -> str:
    """Return what to draw with where the page's colour of that number is meant."""
    return f"#0a0b{colour:02x}"


@contextmanager
def axes_of(name: str, label: str, inches: tuple[float, float]) -> "Iterator[tuple[Axes, list[Markup]]]":
    """Give axes to draw on, and a list that holds the SVG markup once the block has ended."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn: list[Markup] = []
    style: dict[Any, Any] = {"svg.hashsalt": name, "svg.fonttype": "none", "text.parse_math": False, "font.size": 9}
    colours: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context({**style, **colours, "axes.edgecolor": LINE, "grid.color": LINE, "axes.axisbelow": True}):
        figure = Figure(figsize=inches, layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", lw=0.7)
        axes.tick_params(length=0)
        yield axes, drawn
        buffer = io.StringIO()
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=unsaid)  # savefig would lay out and draw twice
    drawn.append(_inline(buffer.getvalue(), name, label))


def _inline(svg: str, name: str, label: str) -> Markup:
    """Turn a file's SVG, in which matplotlib has escaped all text, into one that can stand on a page beside others."""
    svg = svg[svg.index("<svg") :]
    # The file's own style would apply to the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(LINE, "var(--line)")
    svg = re.sub(r"#0a0b([0-9a-f]{2})", lambda m: f"var(--c{int(m[1], 16)})", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    looks = f"max-width:{width * 1.75:.0f}px;min-width:{width * 0.9:.0f}px"
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" style="{looks}"', 1))
