"""Figures of an experiment as SVG text: accuracies along an axis, and quantities in pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moe_distill.reports.svg import ABOVE, INK, LOG_FROM_RATIO, axes_of, colours_of, mark
from moe_distill.results.aggregate import finite
from moe_distill.results.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 9


@dataclass(frozen=True)
class Dot:
    """A point of :func:`scatter_svg`; dots of one kind share a colour."""

    label: str
    x: float
    y: float
    kind: str = ""


def along_svg(name: str, points: Sequence[Row], axis: str) -> str:
    """Return accuracies along an axis, a line each with its 95 % band.

    The axis is logarithmic where its positive values span more than a factor of 30.

    Args:
        name: Unique on the page; prefix of every id.
        points: Lines of :func:`~moe_distill.results.aggregate.accuracy_curve` of one data set.
        axis: The name of the axis.
    """
    lines: dict[str, list[Row]] = {}
    for point in points:
        lines.setdefault(point["line"], []).append(point)
    colours = colours_of([*lines])
    rows = -(-len(lines) // 4)
    with axes_of(name, f"test accuracy against {axis}", (5.4, 3.0 + 0.2 * rows)) as (axes, svg):
        for line, own in lines.items():
            x, mean = [p["x"] for p in own], [100 * p["mean"] for p in own]
            half = [100 * (p["half"] or 0.0) for p in own]
            low, high = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
            colour = mark(colours[line])
            axes.plot(x, mean, color=colour, label=line, lw=1.6, marker="o", ms=4)
            if len(own) > 1:
                axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
            elif half[0]:
                axes.errorbar(x, mean, half, color=colour, elinewidth=1.2, capsize=3)
        _numbered(axes, sorted({p["x"] for p in points}))
        axes.set_xlabel(axis)
        axes.set_ylabel("test accuracy, %")
        if lines:
            axes.legend(**ABOVE, ncols=4, fontsize=8, labelcolor=INK, handlelength=1.6)
    return svg[0]


def _numbered(axes: "Axes", values: Sequence[float]) -> None:
    """Put the ticks of an axis where its values are, if they are few and apart."""
    logarithmic = bool(values) and values[0] > 0 and values[-1] > LOG_FROM_RATIO * values[0]
    if logarithmic:
        axes.set_xscale("log")
    if len(values) <= _MOST_TICKS:
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


def scatter_svg(name: str, dots: Sequence[Dot], x: str, y: str) -> str:
    """Return one quantity against another as labelled dots, coloured by kind; what is not finite is left out.

    Args:
        name: Unique on the page; prefix of every id.
        dots: The points.
        x: The label of the axis.
        y: See ``x``.
    """
    shown = [d for d in dots if finite([d.x, d.y]) == [d.x, d.y]]
    kinds = list(dict.fromkeys(d.kind for d in shown))
    colours = colours_of(kinds)
    inches = (9.2, 4.0)
    with axes_of(name, f"{y} against {x}", inches) as (axes, svg):
        for kind in kinds:
            own = [d for d in shown if d.kind == kind]
            axes.plot([d.x for d in own], [d.y for d in own], "o", color=mark(colours[kind]), label=kind, ms=5.5)
        axes.margins(0.08, 0.1)
        for dot, (right, points) in zip(shown, _label_places(shown, inches), strict=True):
            text = axes.annotate(dot.label, (dot.x, dot.y), (7 if right else -7, points), textcoords="offset points")
            text.set(ha="left" if right else "right", va="center", fontsize=8)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(kinds) > 1:
            axes.legend(**ABOVE, ncols=6, fontsize=8, labelcolor=INK, handletextpad=0.3)
    return svg[0]


def _label_places(dots: Sequence[Dot], inches: tuple[float, float]) -> list[tuple[bool, float]]:
    """Return for each dot whether its label stands at its right, and how many points above it so that none overlap.

    Labels of dots in the right third stand at the left. A label moves down below those already placed that it touches.
    """
    if not dots:
        return []
    low, high = min(d.x for d in dots), max(d.x for d in dots)
    bottom, top = min(d.y for d in dots), max(d.y for d in dots)
    across, up = 72 * 0.8 * inches[0] / ((high - low) or 1.0), 72 * 0.66 * inches[1] / ((top - bottom) or 1.0)
    spots = [((d.x - low) * across, (d.y - bottom) * up) for d in dots]
    taken = [(x - 4, x + 4, y) for x, y in spots]
    places = [(True, 0.0)] * len(dots)
    for i in sorted(range(len(dots)), key=lambda i: -dots[i].y):
        x, y = spots[i]
        right, width = dots[i].x <= low + 0.67 * (high - low), 7 + 4.6 * len(dots[i].label)
        start, end = (x + 5, x + width) if right else (x - width, x - 5)
        height = y
        while touched := [h for left, rest, h in taken if left < end and rest > start and abs(h - height) < 9]:
            height = min(touched) - 10
        taken.append((start, end, height))
        places[i] = (right, height - y)
    return places


def flat_svg(name: str, dots: Sequence[Dot]) -> str:
    """Return points of a plane that bear their labels, coloured by kind; of equal scale on both axes.

    Args:
        name: Unique on the page; prefix of every id.
        dots: The points; labels of more than two letters are drawn as dots.
    """
    kinds = list(dict.fromkeys(d.kind for d in dots))
    colours = colours_of(kinds)
    with axes_of(name, "features of the experts on two principal axes", (4.6, 4.3)) as (axes, svg):
        for kind in kinds:
            own = [d for d in dots if d.kind == kind]
            short = all(len(d.label) <= 2 for d in own)
            look: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 0.1 if short else 3.5}
            axes.plot([d.x for d in own], [d.y for d in own], color=mark(colours[kind]), **look)
            letter: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5, "in_layout": False}
            for d in own if short else ():
                axes.text(d.x, d.y, d.label, color=mark(colours[kind]), **letter)
            axes.plot([], [], "o", color=mark(colours[kind]), label=kind, ms=5)
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(axis="x", lw=0.7)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.legend(**ABOVE, ncols=6, fontsize=8, labelcolor=INK, handletextpad=0.1)
    return svg[0]
