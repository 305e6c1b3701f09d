"""Charts of results: accuracies as bars, leads over opponents, and accuracies along what was swept."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from moe_distill.reports.answers import Lead, Variant
from moe_distill.reports.looks import Look
from moe_distill.reports.naming import lead_name
from moe_distill.reports.svg import ABOVE, INK, LOG_FROM_RATIO, axes_of
from moe_distill.reports.swept import HeatMap, Panel
from moe_distill.results.aggregate import AVERAGE, finite
from moe_distill.results.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_TICKS = 9
# Networks are distinguished by shape, as colours are the variants'.
_SHAPES = "os^vpPX*h"


@dataclass(frozen=True)
class Bar:
    """A bar of a mean accuracy; lengths are percentages of the chart's longest bar with its whisker.

    Attributes:
        variant: The variant that it shows.
        text: The mean accuracy in percent.
        length: The length of the bar.
        low: Where the whisker begins, one standard deviation below the mean.
        high: Where the whisker ends, one above; both are the mean where there is a single student.
    """

    variant: Variant
    text: str
    length: float
    low: float
    high: float


@dataclass(frozen=True)
class Bars:
    """The bars of one data set, grouped by network; the title is empty where there is a single data set."""

    title: str
    groups: Mapping[str, Sequence[Bar]]


def bars_of(
    title: str, variants: Sequence[Variant], values: Mapping[tuple[str, str], Sequence[float]]
) -> Bars:
    """Return horizontal bars of mean accuracies, one group for each network.

    Args:
        title: What all bars have in common.
        variants: The variants, in the order of the bars of a group.
        values: Accuracies (fractions, one a student) by variant and network; infinite ones and NaN are left
            out.
    """
    networks = dict.fromkeys(network for _, network in values)
    students = {cell: known for cell, accuracies in values.items() if (known := finite(accuracies))}
    means = {cell: statistics.mean(known) for cell, known in students.items()}
    spreads = {cell: statistics.stdev(v) if len(v) > 1 else 0.0 for cell, v in students.items()}
    # Including the whiskers, so that none leaves the chart; 1.0 avoids dividing by zero.
    longest = max((means[cell] + spreads[cell] for cell in students), default=0.0) or 1.0
    groups: dict[str, list[Bar]] = {}
    for network in networks:
        for variant in variants:
            cell = (variant.name, network)
            if cell in students:
                mean, spread = means[cell], spreads[cell]
                low, high = 100 * max(0.0, mean - spread) / longest, 100 * (mean + spread) / longest
                bar = Bar(variant, percent(mean), 100 * mean / longest, low, high)
                groups.setdefault(network, []).append(bar)
    return Bars(title, groups)


def leads_svg(
    name: str, leads: Sequence[Lead], looks: Mapping[str, Look], unit: str = "points of test accuracy"
) -> Markup:
    """Return a chart of leads over opponents: a dot with its 95 % interval for each variant and network.

    Colours are variants, shapes are networks, and a large diamond is their average; a hollow mark has no
    interval.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        leads: The leads, in the order of the variants; those without pairs are left out.
        looks: Looks by variant.
        unit: What one hundredth is called.
    """
    known = [c for c in leads if c.difference is not None]
    pairs = list(dict.fromkeys((c.dataset, c.variant, c.opponent) for c in known))
    networks = list(dict.fromkeys(c.architecture for c in known))
    height = max(0.36, 0.13 * len(networks))  # inches of a pair: its two lines of text, or a dot a network
    with axes_of(name, "lead over the opponent in points", (7.4, 0.9 + len(pairs) * height)) as (axes, svg):
        for c in known:
            # A pair's dots are spread over 0.72 of its height, centred on its line.
            shift = (networks.index(c.architecture) - (len(networks) - 1) / 2) * 0.72 / len(networks)
            _dot(axes, c, pairs.index((c.dataset, c.variant, c.opponent)) + shift, networks, looks[c.variant])
        # Left of this line a variant is behind.
        axes.axvline(0, color=INK, lw=0.8, alpha=0.6, zorder=1)
        for border in range(1, len(pairs)):
            axes.axhline(border - 0.5, color=INK, lw=0.5, alpha=0.15)
        several = len({dataset for dataset, _, _ in pairs}) > 1
        axes.set_yticks(range(len(pairs)), [lead_name(*pair, with_dataset=several) for pair in pairs])
        axes.set_ylim(max(1, len(pairs)) - 0.5, -0.5)  # the first pair at the top
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(f"lead in {unit}, 95 % interval")
        _shape_legend(axes, networks)
    return svg[0]


def _dot(axes: "Axes", lead: Lead, y: float, networks: Sequence[str], look: Look) -> None:
    half = None if lead.half is None else 100 * lead.half
    average = lead.architecture == AVERAGE
    axes.errorbar(
        100 * (lead.difference or 0.0),
        y,
        xerr=half,
        marker=_shape(lead.architecture, networks),
        color=look.mark,
        mfc="none" if half is None else look.mark,
        ls="none",
        ms=6.5 if average else 4.5,
        elinewidth=2.0 if average else 1.2,
        alpha=1 if average else 0.75,
    )


def _shape(network: str, networks: Sequence[str]) -> str:
    # The average has a shape of its own, so that it uses up none of the networks' shapes.
    others = [n for n in networks if n != AVERAGE]
    return "D" if network == AVERAGE else _SHAPES[others.index(network) % len(_SHAPES)]


def _shape_legend(axes: "Axes", networks: Sequence[str]) -> None:
    # Marks without data, in the colour of text: the legend is about shapes, whatever their colours.
    dots = [
        axes.plot([], [], _shape(n, networks), color=INK, ms=6 if n == AVERAGE else 4.5)[0] for n in networks
    ]
    look: dict[str, Any] = {
        "ncols": 6,
        "fontsize": 8,
        "handletextpad": 0.3,
        "columnspacing": 1.4,
        "labelcolor": INK,
    }
    axes.legend(dots, networks, **ABOVE, **look)


def panel_svg(name: str, panel: Panel, axis: str, looks: Mapping[str, Look]) -> Markup:
    """Return a chart of accuracies along an axis, each line with its 95 % band.

    The axis is logarithmic if its positive values span more than a factor of 30.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        panel: The lines.
        axis: The label of the axis.
        looks: Looks by line.
    """
    label = f"test accuracy of {panel.network} against {axis}"
    rows = -(-len(panel.lines) // 3)  # of the legend
    with axes_of(name, label, (4.6, 2.8 + 0.2 * rows)) as (axes, svg):
        for line, points in panel.lines.items():
            look = looks[line]
            x = [p.x for p in points]
            mean = [100 * p.mean for p in points]
            half = [100 * (p.half or 0.0) for p in points]
            style: dict[str, Any] = {"color": look.mark, "linestyle": look.dash, "label": line}
            axes.plot(x, mean, marker="o" if look.fill == 0 else "s", lw=1.6, ms=4, **style)
            if len(points) > 1:
                low = [m - h for m, h in zip(mean, half, strict=True)]
                high = [m + h for m, h in zip(mean, half, strict=True)]
                axes.fill_between(x, low, high, color=look.mark, alpha=0.13, lw=0)
            elif half[0]:  # a band of a single point would have no width
                axes.errorbar(x, mean, half, color=look.mark, elinewidth=1.2, capsize=3)
        _tick_at(axes, sorted({p.x for points in panel.lines.values() for p in points}))
        axes.set_xlabel(axis)
        axes.set_ylabel("test accuracy, %")
        if panel.lines:
            axes.legend(**ABOVE, ncols=3, fontsize=8, labelcolor=INK, handlelength=1.8)
    return svg[0]


def _tick_at(axes: "Axes", values: Sequence[float]) -> None:
    """Put the ticks of an axis at its values, if these are few and round; crowded ones get no tick."""
    logarithmic = bool(values) and values[0] > 0 and values[-1] > LOG_FROM_RATIO * values[0]
    if logarithmic:
        axes.set_xscale("log")
    are_round = all(float(f"{v:.3g}") == v for v in values)
    if len(values) <= _MAX_TICKS and are_round:  # of others, matplotlib chooses some round ones
        axes.set_xticks(_apart([math.log(v) if logarithmic else v for v in values], values), minor=False)
        axes.set_xticks([], minor=True)  # those of a logarithmic axis are labelled too
    # Not as powers of ten, whose notation only matplotlib's own text shows as such.
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _apart(places: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the values whose labels do not overlap: each at least 6 % of the axis from the one before."""
    chosen: list[int] = []
    for i, place in enumerate(places):
        if not chosen or place - places[chosen[-1]] > 0.06 * (places[-1] - places[0]):
            chosen.append(i)
    return [values[i] for i in chosen]


@dataclass(frozen=True)
class HeatTable:
    """Accuracies over two settings as a table.

    Attributes:
        title: What all cells have in common.
        corner: The names of both settings, that of the rows first.
        columns: The values of the second setting.
        rows: Each value of the first setting with, for each column, the accuracy in percent and its shade,
            from 0 for the lowest of the table to 100 for the highest.
    """

    title: str
    corner: tuple[str, str]
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]


def heat_table(heat_map: HeatMap, axes: Sequence[str]) -> HeatTable:
    """Return a map of accuracies as a table that is shaded by them.

    Args:
        heat_map: The accuracies.
        axes: The names of both settings, that of the rows first.
    """
    known = [mean for row in heat_map.means for mean in row if mean is not None]
    low = min(known, default=0.0)
    span = (max(known, default=0.0) - low) or 1.0  # all alike are all unshaded
    rows = []
    for value, means in zip(heat_map.rows, heat_map.means, strict=True):
        cells = [("–", 0.0) if m is None else (percent(m), 100 * (m - low) / span) for m in means]
        rows.append((f"{value:g}", cells))
    return HeatTable(heat_map.title, (axes[0], axes[1]), [f"{value:g}" for value in heat_map.columns], rows)
