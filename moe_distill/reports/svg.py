"""Charts drawn by matplotlib, as SVG that takes its colours from the page's style, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib draws with these placeholder colours; in the SVG they are replaced by variables of the page's
# style sheet. The placeholders of variants' colours are #0a0b00 to #0a0b07, see ``looks``.
INK, LINE, CARD = "#0a0bff", "#0a0bfe", "#0a0bfd"
LOG_FROM_RATIO = 30.0
# The place of a legend: above the axes, aligned with their left edge.
ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1.01),
    "borderaxespad": 0.2,
    "frameon": False,
}
_PIXELS_A_POINT = 1.75


@contextmanager
def axes_of(name: str, label: str, inches: tuple[float, float]) -> "Iterator[tuple[Axes, list[Markup]]]":
    """Yield axes to draw on, and a list that contains the SVG markup once the block has ended.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        label: A description of the chart for readers who cannot see it.
        inches: Width and height; a page shows an inch as 65 to 126 pixels.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn: list[Markup] = []
    style: dict[Any, Any] = {
        "svg.hashsalt": name,  # without, ids are random, and a page differs each time that it is built
        "svg.fonttype": "none",  # text stays text, which is searchable and small
        "text.parse_math": False,  # a dollar sign in a name is no formula
        "font.size": 9,
        "axes.edgecolor": LINE,
        "grid.color": LINE,
        "axes.axisbelow": True,
    }
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context(style):
        figure = Figure(figsize=inches, layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        # The page's cards frame the chart; lines at its sides would be a second frame.
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", lw=0.7)
        axes.tick_params(length=0)
        yield axes, drawn
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        # Not savefig, which would lay out and draw twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=no_metadata)
    drawn.append(_inline(buffer.getvalue(), name, label))


def _inline(svg: str, name: str, label: str) -> Markup:
    """Return the SVG of a file as one that can be part of a page, next to others.

    Its text is markup already: matplotlib has escaped it.
    """
    svg = svg[svg.index("<svg") :]  # without the head of an XML file
    # The file's own style would apply to the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # Ids are unique in a file, but have to be on the page.
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(LINE, "var(--line)").replace(CARD, "var(--card)")
    svg = re.sub(r"#0a0b([0-9a-f]{2})", lambda m: f"var(--c{int(m[1], 16)})", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    # Without a size it fills its card; its viewBox keeps the proportions.
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    # On a phone a chart scrolls sideways in its box before its letters get too small to read.
    looks = f"max-width:{width * _PIXELS_A_POINT:.0f}px;min-width:{width * 0.9:.0f}px"
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" style="{looks}"', 1))
