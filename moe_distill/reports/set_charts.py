"""Charts of sets: curves of their distillation, features of their images, and scatter plots."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.svg import ABOVE, CARD, INK, LOG_FROM_RATIO, axes_of
from moe_distill.results.aggregate import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
# Experts are distinguished by shape, as all have their set's colour.
_SHAPES = "osD^vpPX"
_LONG_LABEL = 14  # letters
_MAX_CLASSES = 30  # more labels would cover one another

Points = Sequence[tuple[int, float]]
"""Pairs of an iteration and a finite value."""


def curve_svg(name: str, curves: Mapping[str, Points], look: Look, y: str) -> Markup:
    """Return a chart of curves against iterations, distinguished by their dashes.

    The axis is logarithmic if positive values span more than a factor of 30.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        curves: (iteration, finite value) pairs by the legend's label.
        look: The set's look; all curves have its colour.
        y: The label of the axis.
    """
    # Of the legend: four long labels would leave the curves no width.
    columns = 2 if max(map(len, curves)) > _LONG_LABEL else 4
    rows = -(-len(curves) // columns)
    with axes_of(name, f"{y} against iterations", (4.2, 2.5 + 0.2 * rows)) as (axes, svg):
        for place, (label, points) in enumerate(curves.items()):
            x, values = [i for i, _ in points], [v for _, v in points]
            style = {"linestyle": _DASHES[place % len(_DASHES)], "alpha": max(0.35, 1 - 0.16 * place)}
            marker = "o" if len(points) == 1 else ""  # a line of a single point is invisible
            axes.plot(x, values, color=look.mark, label=label, lw=1.5, marker=marker, **style)
        heights = [v for points in curves.values() for _, v in points]
        if min(heights) > 0 and max(heights) > LOG_FROM_RATIO * min(heights):
            axes.set_yscale("log")
        axes.locator_params("x", integer=True)  # there is no iteration 1.25
        axes.set_xlabel("iteration")
        axes.set_ylabel(y)
        axes.legend(**ABOVE, ncols=columns, fontsize=8, labelcolor=INK, handlelength=2.2)
    return svg[0]


def curve_panels(name: str, rows: Sequence[tuple[int, str, float]], look: Look) -> list[Markup]:
    """Return charts of the matching losses and of the dependence of the experts, if these were logged.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        rows: The logged values as (iteration, curve, value).
        look: The set's look.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for iteration, curve, value in rows:
        if math.isfinite(value):
            curves.setdefault(curve, []).append((iteration, value))
    losses = {
        re.sub("[_/]", " ", curve.removesuffix("/loss")): points
        for curve, points in curves.items()
        if curve.endswith("/loss")
    }
    labels = {"diversity/measure": "measure", "diversity/dcor2_unbiased": "dCor² unbiased"}
    dependence = {label: curves[curve] for curve, label in labels.items() if curve in curves}
    panels = {"matching loss": losses, "dependence of experts": dependence}
    return [curve_svg(f"{name}-{n}", lines, look, y) for n, (y, lines) in enumerate(panels.items()) if lines]


@dataclass(frozen=True)
class Place:
    """The position of an image on the two principal axes of the features, its class, and its expert."""

    x: float
    y: float
    label: str
    expert: str


def features_svg(name: str, places: Sequence[Place], look: Look) -> Markup:
    """Return a chart of the features: small dots are images, large marks the means of each expert's classes.

    Experts are distinguished by shape and by a filled or hollow mark. Lines join the experts' means of a
    class, so that long lines show experts that differ.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        places: The images.
        look: The set's look.
    """
    experts = list(dict.fromkeys(p.expert for p in places))
    classes = list(dict.fromkeys(p.label for p in places))
    with axes_of(name, "features of the experts on two principal axes", (7.4, 5.6)) as (axes, svg):
        means: dict[str, list[tuple[float, float]]] = {}
        for number, expert in enumerate(experts):
            images = [p for p in places if p.expert == expert]
            style: dict[str, Any] = {
                "marker": _SHAPES[number % len(_SHAPES)],
                "color": look.mark,
                "ls": "none",
            }
            axes.plot([p.x for p in images], [p.y for p in images], ms=2.6, alpha=0.4, mew=0, **style)
            is_filled = number % 2 == 0
            style["mfc"] = look.mark if is_filled else CARD
            for label in classes:
                of_class = [p for p in images if p.label == label]
                if of_class:
                    mean = statistics.mean(p.x for p in of_class), statistics.mean(p.y for p in of_class)
                    means.setdefault(label, []).append(mean)
                    text = label if len(classes) <= _MAX_CLASSES else ""
                    axes.plot(*mean, ms=13 if text else 6, zorder=3, mew=1.2, **style)
                    _label_mark(axes, mean, text, CARD if is_filled else INK)
            axes.plot([], [], label=expert, ms=7, **style)
        for joined in means.values():
            axes.plot(*zip(*joined, strict=True), color=INK, lw=0.7, alpha=0.35, zorder=2)
        # Equal scales, as distances between features are what the chart is about.
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(axis="x", lw=0.7)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.legend(**ABOVE, ncols=6, fontsize=9, labelcolor=INK, handletextpad=0.1)
    return svg[0]


def _label_mark(axes: "Axes", at: tuple[float, float], label: str, color: str) -> None:
    """Write the label of a class within its mark."""
    size = 9 if len(label) < 3 else 6
    text = axes.annotate(label, at, ha="center", va="center_baseline", fontsize=size, zorder=4)
    # A text within a mark needs no room of its own in the layout.
    text.set(color=color, in_layout=False)


@dataclass(frozen=True)
class Dot:
    """A point of :func:`scatter_svg`; dots of one kind share a colour."""

    label: str
    x: float
    y: float
    kind: str = ""


def scatter_svg(name: str, dots: Sequence[Dot], x: str, y: str) -> Markup:
    """Return a scatter plot of labelled dots, coloured by kind; dots that are not finite are left out.

    Args:
        name: A name that is unique on the page, the prefix of every id.
        dots: The points.
        x: The label of the horizontal axis.
        y: The label of the vertical axis.
    """
    drawn = [d for d in dots if len(finite([d.x, d.y])) == 2]
    kinds = list(dict.fromkeys(d.kind for d in drawn))
    looks = looks_of(kinds)
    inches = (9.2, 4.0)
    with axes_of(name, f"{y} against {x}", inches) as (axes, svg):
        for kind in kinds:
            x_values, y_values = ([getattr(d, axis) for d in drawn if d.kind == kind] for axis in "xy")
            axes.plot(x_values, y_values, "o", color=looks[kind].mark, label=kind, ms=5.5)
        axes.margins(0.08, 0.1)
        for dot, (right, points) in zip(drawn, _label_places(drawn, inches), strict=True):
            offset = (7 if right else -7, points)
            text = axes.annotate(dot.label, (dot.x, dot.y), offset, textcoords="offset points")
            text.set(ha="left" if right else "right", va="center", fontsize=8)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(kinds) > 1:
            axes.legend(**ABOVE, ncols=6, fontsize=8, labelcolor=INK, handletextpad=0.3)
    return svg[0]


def _label_places(dots: Sequence[Dot], inches: tuple[float, float]) -> list[tuple[bool, float]]:
    """Return for each dot whether its label is at its right, and how many points to move it up.

    From the highest dot to the lowest, a label that would touch a dot or a label already placed moves down
    below it.
    """
    if not dots:
        return []
    low, high = min(d.x for d in dots), max(d.x for d in dots)
    bottom, top = min(d.y for d in dots), max(d.y for d in dots)
    # Points (1/72 inch) per unit: the axes take about 80 % of the width and 66 % of the height.
    across = 72 * 0.8 * inches[0] / ((high - low) or 1.0)
    up = 72 * 0.66 * inches[1] / ((top - bottom) or 1.0)
    spots = [((d.x - low) * across, (d.y - bottom) * up) for d in dots]
    occupied = [(x - 4, x + 4, y) for x, y in spots]  # left, right, height
    places = [(True, 0.0)] * len(dots)
    for i in sorted(range(len(dots)), key=lambda i: -dots[i].y):
        x, y = spots[i]
        right = dots[i].x <= low + 0.67 * (high - low)  # in the right third a label would leave the chart
        width = 7 + 4.6 * len(dots[i].label)
        start, end = (x + 5, x + width) if right else (x - width, x - 5)
        height = y
        while touched := [
            other for left, rest, other in occupied if left < end and rest > start and abs(other - height) < 9
        ]:
            height = min(touched) - 10
        occupied.append((start, end, height))
        places[i] = (right, height - y)
    return places
