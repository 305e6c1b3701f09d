"""Charts of a run: accuracies as bars, and what was logged while distilling as curves."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from moe_distill.reports.layout import joined
from moe_distill.reports.svg import INK, LOG_FROM_RATIO, axes_of, fitting, mark
from moe_distill.results.aggregate import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
# As wide as a card of the page, whatever the number of bars; inches. A number needs more room than a thin bar has.
_INCHES = (9.2, 3.1)
_WIDEST_BAR = 0.6
_NUMBER = 0.27

Points = Sequence[tuple[int, float]]
Cells = Mapping[str, Mapping[str, Sequence[float]]]
"""Accuracies (fractions, one a student) by variant and architecture."""


def accuracy_chart(name: str, architectures: Sequence[str], cells: Cells, colours: Mapping[str, int]) -> Markup:
    """Return :func:`accuracy_svg` and :func:`lying_accuracy_svg`, of which the page shows what fits."""

    def draw(own: str, narrow: bool) -> str:
        return (lying_accuracy_svg if narrow else accuracy_svg)(own, architectures, cells, colours)

    return fitting(draw, name)


def accuracy_svg(name: str, architectures: Sequence[str], cells: Cells, colours: Mapping[str, int]) -> str:
    """Return bars of mean accuracy by network and variant, with the sample's standard deviation, as SVG text.

    Args:
        name: Unique on the page; prefix of every id.
        architectures: The groups of bars, left to right.
        cells: The accuracies; what is not finite is left out.
        colours: The number n of each variant's colour, ``var(--c<n>)`` of the page.
    """
    slot = (_INCHES[0] - 0.7) / max(1, len(architectures))
    bar = min(0.8 / max(1, len(cells)), _WIDEST_BAR / slot)
    with axes_of(name, "test accuracy by network and variant", _INCHES) as (axes, svg):
        for place, (variant, by) in enumerate(cells.items()):
            for group, architecture in enumerate(architectures):
                values = finite([100 * v for v in by.get(architecture, [])])
                if values:
                    x = group + (place - (len(cells) - 1) / 2) * bar
                    axes.bar(x, statistics.mean(values), bar * 0.88, color=mark(colours[variant]), zorder=2)
                    _whisker(axes, x, values, said=bar * slot > _NUMBER)
        axes.set_xticks(range(len(architectures)), architectures)
        axes.set_xlim(-0.55, len(architectures) - 0.45)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("test accuracy, %")
        axes.grid(axis="x", visible=False)
    return svg[0]


def lying_accuracy_svg(name: str, architectures: Sequence[str], cells: Cells, colours: Mapping[str, int]) -> str:
    """Return what :func:`accuracy_svg` does, of the same arguments, narrow: bars lie, their groups from top to bottom.

    The mean stands beside each bar.
    """
    inches = (4.2, 0.5 + len(architectures) * (0.15 + 0.17 * len(cells)))
    bar = 0.85 / max(1, len(cells))
    with axes_of(name, "test accuracy by network and variant", inches) as (axes, svg):
        for place, (variant, by) in enumerate(cells.items()):
            for group, architecture in enumerate(architectures):
                values = finite([100 * v for v in by.get(architecture, [])])
                if values:
                    y = group + (place - (len(cells) - 1) / 2) * bar
                    mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
                    axes.barh(y, mean, bar * 0.88, color=mark(colours[variant]), zorder=2)
                    if spread:
                        axes.errorbar(mean, y, xerr=spread, color=INK, elinewidth=1, capsize=2, zorder=3)
                    text = axes.annotate(f"{mean:.1f}", (mean + spread, y), (3, 0), textcoords="offset points")
                    text.set(ha="left", va="center", fontsize=8)
        axes.set_yticks(range(len(architectures)), architectures)
        axes.set_ylim(max(1, len(architectures)) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel("test accuracy, %")
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", lw=0.7)
    return svg[0]


def _whisker(axes: "Axes", x: float, values: Sequence[float], said: bool) -> None:
    mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    if spread:
        axes.errorbar(x, mean, spread, color=INK, elinewidth=1, capsize=2.5, capthick=1, zorder=3)
    if said:
        text = axes.annotate(f"{mean:.1f}", (x, mean + spread), (0, 2), textcoords="offset points", fontsize=8)
        text.set(ha="center", va="bottom")


def curve_svg(name: str, curves: Mapping[str, Points], colour: int, y: str) -> str:
    """Return curves against iterations as SVG text, told apart by their dashes.

    The axis is logarithmic where positive values span more than a factor of 30.

    Args:
        name: Unique on the page; prefix of every id.
        curves: (iteration, finite value) pairs by the legend's label.
        colour: The number n of the colour of all curves, ``var(--c<n>)`` of the page.
        y: The label of the axis.
    """
    rows = -(-len(curves) // 4)
    with axes_of(name, f"{y} against iterations", (4.2, 2.5 + 0.2 * rows)) as (axes, svg):
        for place, (label, points) in enumerate(curves.items()):
            x, values = [i for i, _ in points], [v for _, v in points]
            look = {"linestyle": _DASHES[place % len(_DASHES)], "alpha": max(0.35, 1 - 0.16 * place)}
            marker = "o" if len(points) == 1 else ""
            axes.plot(x, values, color=mark(colour), label=label, lw=1.5, marker=marker, **look)
        every = [v for points in curves.values() for _, v in points]
        if min(every) > 0 and max(every) > LOG_FROM_RATIO * min(every):
            axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel(y)
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0.2}
        axes.legend(**above, ncols=4, frameon=False, fontsize=8, labelcolor=INK, handlelength=2.2)
    return svg[0]


def curve_panels(name: str, rows: Sequence[tuple[int, str, float]], colour: int) -> Markup:
    """Return the charts that (iteration, name, value) rows allow: matching losses, dependence of experts."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for iteration, curve, value in rows:
        if math.isfinite(value):
            curves.setdefault(curve, []).append((iteration, value))
    losses = {k.removesuffix("/loss").replace("_", " "): v for k, v in curves.items() if k.endswith("/loss")}
    labels = {"diversity/measure": "measure", "diversity/dcor2_unbiased": "dCor² unbiased"}
    dependence = {label: curves[k] for k, label in labels.items() if k in curves}
    panels = {"matching loss": losses, "dependence of experts": dependence}
    svgs = [curve_svg(f"{name}-{n}", held, colour, y) for n, (y, held) in enumerate(panels.items()) if held]
    parts = joined([Markup("<div>{}</div>").format(svg) for svg in svgs])
    return Markup('<div class="charts">{}</div>').format(parts) if svgs else parts
