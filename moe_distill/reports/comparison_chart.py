"""The chart of leads over opponents, wide or for a phone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moe_distill.reports.svg import ABOVE, INK, axes_of, colours_of, mark
from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the height that a variant has: what its dots take, and where their middle is; a phone's names stand above them.
_WIDE, _NARROW = (0.72, 0.0), (0.5, 0.19)


def leads_svg(name: str, lines: Sequence[Row], narrow: bool, unit: str = "points of test accuracy") -> str:
    """Return leads over opponents: a dot with its 95 % interval for each variant and architecture.

    Architectures go by colour, the average by a diamond of ink; a hollow mark has no interval.

    Args:
        name: Unique on the page; prefix of every id.
        lines: Lines of :func:`~moe_distill.results.comparison.compare`; those without pairs are left out.
        narrow: Names stand above their dots instead of at their left.
        unit: What a hundredth is.
    """
    shown = [c for c in lines if c["difference"] is not None]
    variants = list(dict.fromkeys((c["dataset"], c["variant"], c["opponent"]) for c in shown))
    networks = list(dict.fromkeys(c["architecture"] for c in shown))
    each = 0.4 + 0.13 * len(networks) if narrow else max(0.34, 0.125 * len(networks))
    inches = (4.2 if narrow else 9.2, 0.9 + len(variants) * each)
    with axes_of(name, "lead over the opponent in points", inches) as (axes, svg):
        held = _dots(axes, shown, variants, networks, *(_NARROW if narrow else _WIDE))
        axes.axvline(0, color=INK, lw=0.8, alpha=0.6, zorder=1)
        for border in range(1, len(variants)):
            axes.axhline(border - 0.5, color=INK, lw=0.5, alpha=0.15)
        several = len({dataset for dataset, _, _ in variants}) > 1
        names = [f"{d} {own}\nover {other}" if several else f"{own}\nover {other}" for d, own, other in variants]
        axes.set_yticks(range(len(variants)), [""] * len(names) if narrow else names)
        axes.set_ylim(max(1, len(variants)) - 0.5, -0.5)
        if narrow:
            _names_above(axes, names)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(f"lead in {unit}, 95 % interval")
        beside: dict[str, Any] = {"ncols": 3 if narrow else 8, "fontsize": 8, "handletextpad": 0.3}
        axes.legend(list(held.values()), list(held), **ABOVE, **beside, columnspacing=1.4, labelcolor=INK)
    return svg[0]


def _dots(
    axes: "Axes", shown: Sequence[Row], variants: Sequence[Any], networks: Sequence[str], share: float, middle: float
) -> dict[str, Any]:
    """Draw the dots and return one of each architecture."""
    colours = colours_of([n for n in networks if n != AVERAGE])
    step, held = share / max(1, len(networks)), dict[str, Any]()
    for c in shown:
        place = middle + variants.index((c["dataset"], c["variant"], c["opponent"]))
        y = place + (networks.index(c["architecture"]) - (len(networks) - 1) / 2) * step
        average = c["architecture"] == AVERAGE
        colour = INK if average else mark(colours[c["architecture"]])
        look: dict[str, Any] = {"marker": "D" if average else "o", "color": colour, "ls": "none", "ms": 4.7}
        half = None if c["half"] is None else 100 * c["half"]
        filled = "none" if half is None else colour
        dot = axes.errorbar(100 * c["difference"], y, xerr=half, elinewidth=1.3, mfc=filled, **look)
        held.setdefault(c["architecture"], dot)
    return held


def _names_above(axes: "Axes", names: Sequence[str]) -> None:
    for place, told in enumerate(names):
        axes.annotate(told, (0, place - 0.48), xycoords=("axes fraction", "data"), va="top", fontsize=8)
