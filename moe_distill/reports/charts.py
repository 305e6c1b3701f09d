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
# Networks are told apart by shape, as colours are the variants'.
_SHAPES = "os^vpPX*h"


@dataclass(frozen=True)
class Bar:
    """A mean accuracy, in percent of the width that the longest bar of the chart has.

    Attributes:
        variant: Whose it is.
        text: The mean accuracy in percent.
        length: Of the bar.
        low: Where the whisker begins, and ``high`` where it ends: one standard deviation to either side.
        high: See ``low``; equal to it where there is a single student.
    """

    variant: Variant
    text: str
    length: float
    low: float
    high: float


@dataclass(frozen=True)
class Bars:
    """A group of bars for each network, of one data set (an empty title where there is one)."""

    title: str
    groups: Mapping[str, Sequence[Bar]]


def bars_of(
    title: str, variants: Sequence[Variant], values: Mapping[tuple[str, str], Sequence[float]]
) -> Bars:
    """Return bars of mean accuracies, which lie, a group for each network.

    Args:
        title: What all have in common.
        variants: In order; the bars of a group are in the same.
        values: Accuracies (fractions, one a student) by variant and network; what is not finite is left out.
    """
    networks = dict.fromkeys(network for _, network in values)
    kept = {of: known for of, v in values.items() if (known := finite(v))}
    spreads = {of: statistics.stdev(v) if len(v) > 1 else 0.0 for of, v in kept.items()}
    longest = max((statistics.mean(v) + spreads[of] for of, v in kept.items()), default=0.0) or 1.0
    groups: dict[str, list[Bar]] = {}
    for network in networks:
        for variant in variants:
            of = (variant.name, network)
            if of in kept:
                mean, spread = statistics.mean(kept[of]), spreads[of]
                ends = (100 * max(0.0, mean - spread) / longest, 100 * (mean + spread) / longest)
                groups.setdefault(network, []).append(
                    Bar(variant, percent(mean), 100 * mean / longest, *ends)
                )
    return Bars(title, groups)


def leads_svg(
    name: str, leads: Sequence[Lead], looks: Mapping[str, Look], unit: str = "points of test accuracy"
) -> Markup:
    """Return leads over opponents: a dot with its 95 % interval for each variant and network.

    Variants go by colour, networks by shape, the average by a large diamond; a hollow mark has no interval.

    Args:
        name: Unique on the page; prefix of every id.
        leads: The leads, in the order of the variants; those without pairs are left out.
        looks: Looks by variant.
        unit: What a hundredth is.
    """
    shown = [c for c in leads if c.difference is not None]
    pairs = list(dict.fromkeys((c.dataset, c.variant, c.opponent) for c in shown))
    networks = list(dict.fromkeys(c.architecture for c in shown))
    height = max(0.36, 0.13 * len(networks))
    with axes_of(name, "lead over the opponent in points", (7.4, 0.9 + len(pairs) * height)) as (axes, svg):
        for c in shown:
            shift = (networks.index(c.architecture) - (len(networks) - 1) / 2) * 0.72 / len(networks)
            _dot(axes, c, pairs.index((c.dataset, c.variant, c.opponent)) + shift, networks, looks[c.variant])
        axes.axvline(0, color=INK, lw=0.8, alpha=0.6, zorder=1)
        for border in range(1, len(pairs)):
            axes.axhline(border - 0.5, color=INK, lw=0.5, alpha=0.15)
        several = len({dataset for dataset, _, _ in pairs}) > 1
        axes.set_yticks(range(len(pairs)), [lead_name(*pair, with_dataset=several) for pair in pairs])
        axes.set_ylim(max(1, len(pairs)) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(f"lead in {unit}, 95 % interval")
        _shape_legend(axes, networks)
    return svg[0]


def _dot(axes: "Axes", lead: Lead, y: float, networks: Sequence[str], look: Look) -> None:
    half = None if lead.half is None else 100 * lead.half
    average = lead.architecture == AVERAGE
    style: dict[str, Any] = {"marker": _shape(lead.architecture, networks), "color": look.mark, "ls": "none"}
    style |= {
        "ms": 6.5 if average else 4.5,
        "elinewidth": 2.0 if average else 1.2,
        "alpha": 1 if average else 0.75,
    }
    filled = "none" if half is None else look.mark
    axes.errorbar(100 * (lead.difference or 0.0), y, xerr=half, mfc=filled, **style)


def _shape(network: str, networks: Sequence[str]) -> str:
    others = [n for n in networks if n != AVERAGE]
    return "D" if network == AVERAGE else _SHAPES[others.index(network) % len(_SHAPES)]


def _shape_legend(axes: "Axes", networks: Sequence[str]) -> None:
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
    """Return accuracies along an axis, a line each with its 95 % band.

    The axis is logarithmic where its positive values span more than a factor of 30.

    Args:
        name: Unique on the page; prefix of every id.
        panel: The lines.
        axis: What the axis shows.
        looks: Looks by line.
    """
    label = f"test accuracy of {panel.network} against {axis}"
    with axes_of(name, label, (4.6, 2.8 + 0.2 * -(-len(panel.lines) // 3))) as (axes, svg):
        for line, points in panel.lines.items():
            x, mean = [p.x for p in points], [100 * p.mean for p in points]
            half = [100 * (p.half or 0.0) for p in points]
            low, high = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
            look: dict[str, Any] = {"color": looks[line].mark, "linestyle": looks[line].dash, "label": line}
            axes.plot(x, mean, marker="o" if looks[line].fill == 0 else "s", lw=1.6, ms=4, **look)
            if len(points) > 1:
                axes.fill_between(x, low, high, color=look["color"], alpha=0.13, lw=0)
            elif half[0]:
                axes.errorbar(x, mean, half, color=look["color"], elinewidth=1.2, capsize=3)
        _tick_at(axes, sorted({p.x for points in panel.lines.values() for p in points}))
        axes.set_xlabel(axis)
        axes.set_ylabel("test accuracy, %")
        if panel.lines:
            axes.legend(**ABOVE, ncols=3, fontsize=8, labelcolor=INK, handlelength=1.8)
    return svg[0]


def _tick_at(axes: "Axes", values: Sequence[float]) -> None:
    """Put the ticks of an axis where its values are, if they are few and apart."""
    logarithmic = bool(values) and values[0] > 0 and values[-1] > LOG_FROM_RATIO * values[0]
    if logarithmic:
        axes.set_xscale("log")
    if len(values) <= _MAX_TICKS:
        axes.set_xticks(_apart([math.log(v) if logarithmic else v for v in values], values), minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _apart(places: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return the values whose places are not too near the last one's that was kept."""
    kept: list[int] = []
    for i, place in enumerate(places):
        if not kept or place - places[kept[-1]] > 0.06 * (places[-1] - places[0]):
            kept.append(i)
    return [values[i] for i in kept]


@dataclass(frozen=True)
class HeatTable:
    """Accuracies over two settings as a table.

    Attributes:
        title: What all have in common.
        corner: The names of both settings, that of the rows first.
        columns: The values of the second setting.
        rows: A value of the first with, for each column, the accuracy in percent and how strongly it is
            shaded, from 0 for the lowest of the table to 100 for the highest.
    """

    title: str
    corner: tuple[str, str]
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]


def heat_table(heat_map: HeatMap, axes: Sequence[str]) -> HeatTable:
    """Return a map of accuracies as a table that is shaded by them."""
    known = [mean for row in heat_map.means for mean in row if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    rows = []
    for value, means in zip(heat_map.rows, heat_map.means, strict=True):
        cells = [
            ("–", 0.0) if m is None else (percent(m), 100 * (m - low) / ((high - low) or 1.0)) for m in means
        ]
        rows.append((f"{value:g}", cells))
    return HeatTable(heat_map.title, (axes[0], axes[1]), [f"{value:g}" for value in heat_map.columns], rows)
