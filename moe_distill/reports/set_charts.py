"""Charts of sets: curves of their distillation, features of their images, and one quantity against
another.
"""

import math
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
# Experts are told apart by shape, as all have their set's colour.
_SHAPES = "osD^vpPX"
_MAX_CLASSES = 30

Points = Sequence[tuple[int, float]]
"""Pairs of an iteration and a finite value."""


def curve_svg(name: str, curves: Mapping[str, Points], look: Look, y: str) -> Markup:
    """Return curves against iterations as SVG text, told apart by their dashes.

    The axis is logarithmic where positive values span more than a factor of 30.

    Args:
        name: Unique on the page; prefix of every id.
        curves: (iteration, finite value) pairs by the legend's label.
        look: Of the set; all curves have its colour.
        y: The label of the axis.
    """
    rows = -(-len(curves) // 4)
    with axes_of(name, f"{y} against iterations", (4.2, 2.5 + 0.2 * rows)) as (axes, svg):
        for place, (label, points) in enumerate(curves.items()):
            x, values = [i for i, _ in points], [v for _, v in points]
            style = {"linestyle": _DASHES[place % len(_DASHES)], "alpha": max(0.35, 1 - 0.16 * place)}
            marker = "o" if len(points) == 1 else ""
            axes.plot(x, values, color=look.mark, label=label, lw=1.5, marker=marker, **style)
        every = [v for points in curves.values() for _, v in points]
        if min(every) > 0 and max(every) > LOG_FROM_RATIO * min(every):
            axes.set_yscale("log")
        axes.locator_params("x", integer=True)  # there is no iteration 1.25
        axes.set_xlabel("iteration")
        axes.set_ylabel(y)
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0.2}
        axes.legend(**above, ncols=4, frameon=False, fontsize=8, labelcolor=INK, handlelength=2.2)
    return svg[0]


def curve_panels(name: str, rows: Sequence[tuple[int, str, float]], look: Look) -> list[Markup]:
    """Return the charts that (iteration, name, value) rows allow: matching losses, dependence of experts.

    Args:
        name: Unique on the page; prefix of every id.
        rows: What was logged.
        look: Of the set.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for iteration, curve, value in rows:
        if math.isfinite(value):
            curves.setdefault(curve, []).append((iteration, value))
    losses = {k.removesuffix("/loss").replace("_", " "): v for k, v in curves.items() if k.endswith("/loss")}
    labels = {"diversity/measure": "measure", "diversity/dcor2_unbiased": "dCor² unbiased"}
    dependence = {label: curves[k] for k, label in labels.items() if k in curves}
    panels = {"matching loss": losses, "dependence of experts": dependence}
    return [curve_svg(f"{name}-{n}", lines, look, y) for n, (y, lines) in enumerate(panels.items()) if lines]


@dataclass(frozen=True)
class Place:
    """Where an image lies on the two principal axes of the features: of which class, and which expert's."""

    x: float
    y: float
    label: str
    expert: str


def features_svg(name: str, places: Sequence[Place], look: Look) -> Markup:
    """Return where images lie: small dots, above them the mean of each class of each expert; axes of equal
    scale.

    Experts are told apart by shape and by a filled or hollow mark. Lines join the means that experts have of
    a class, so that long lines show experts that differ.

    Args:
        name: Unique on the page; prefix of every id.
        places: The images.
        look: Of the set.
    """
    experts = list(dict.fromkeys(p.expert for p in places))
    classes = list(dict.fromkeys(p.label for p in places))
    with axes_of(name, "features of the experts on two principal axes", (7.4, 5.6)) as (axes, svg):
        means: dict[str, list[tuple[float, float]]] = {}
        for number, expert in enumerate(experts):
            own = [p for p in places if p.expert == expert]
            shape: dict[str, Any] = {
                "marker": _SHAPES[number % len(_SHAPES)],
                "ls": "none",
                "color": look.mark,
            }
            axes.plot([p.x for p in own], [p.y for p in own], ms=2.6, alpha=0.4, mew=0, **shape)
            for label in classes:
                of_class = [p for p in own if p.label == label]
                if of_class:
                    mean = statistics.mean(p.x for p in of_class), statistics.mean(p.y for p in of_class)
                    means.setdefault(label, []).append(mean)
                    _class_mark(
                        axes, mean, label if len(classes) <= _MAX_CLASSES else "", shape, number % 2 == 0
                    )
            filled = look.mark if number % 2 == 0 else CARD
            axes.plot([], [], label=expert, ms=7, mfc=filled, **shape)
        for joined in means.values():
            axes.plot(*zip(*joined, strict=True), color=INK, lw=0.7, alpha=0.35, zorder=2)
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(axis="x", lw=0.7)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.legend(**ABOVE, ncols=6, fontsize=9, labelcolor=INK, handletextpad=0.1)
    return svg[0]


def _class_mark(
    axes: "Axes", at: tuple[float, float], label: str, shape: Mapping[str, Any], is_filled: bool
) -> None:
    """Draw the mean of a class with its label within, which has the page's colour where the mark is
    filled.
    """
    size = 13 if label else 6
    axes.plot(*at, ms=size, zorder=3, mew=1.2, mfc=shape["color"] if is_filled else CARD, **shape)
    text = axes.annotate(
        label, at, ha="center", va="center_baseline", fontsize=9 if len(label) < 3 else 6, zorder=4
    )
    text.set(color=CARD if is_filled else INK, in_layout=False)


@dataclass(frozen=True)
class Dot:
    """A point of :func:`scatter_svg`; dots of one kind share a colour."""

    label: str
    x: float
    y: float
    kind: str = ""


def scatter_svg(name: str, dots: Sequence[Dot], x: str, y: str) -> Markup:
    """Return one quantity against another as labelled dots, coloured by kind; what is not finite is left out.

    Args:
        name: Unique on the page; prefix of every id.
        dots: The points.
        x: The label of the axis.
        y: See ``x``.
    """
    shown = [d for d in dots if finite([d.x, d.y]) == [d.x, d.y]]
    kinds = list(dict.fromkeys(d.kind for d in shown))
    looks = looks_of(kinds)
    inches = (9.2, 4.0)
    with axes_of(name, f"{y} against {x}", inches) as (axes, svg):
        for kind in kinds:
            own = [d for d in shown if d.kind == kind]
            axes.plot([d.x for d in own], [d.y for d in own], "o", color=looks[kind].mark, label=kind, ms=5.5)
        axes.margins(0.08, 0.1)
        for dot, (right, points) in zip(shown, _label_places(shown, inches), strict=True):
            text = axes.annotate(
                dot.label, (dot.x, dot.y), (7 if right else -7, points), textcoords="offset points"
            )
            text.set(ha="left" if right else "right", va="center", fontsize=8)
        axes.grid(axis="x", lw=0.7)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(kinds) > 1:
            axes.legend(**ABOVE, ncols=6, fontsize=8, labelcolor=INK, handletextpad=0.3)
    return svg[0]


def _label_places(dots: Sequence[Dot], inches: tuple[float, float]) -> list[tuple[bool, float]]:
    """Return for each dot whether its label stands at its right, and how many points above it so that none
    overlap.

    Labels of dots in the right third stand at the left. A label moves down below those already placed that it
    touches.
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
        while touched := [
            h for left, rest, h in taken if left < end and rest > start and abs(h - height) < 9
        ]:
            height = min(touched) - 10
        taken.append((start, end, height))
        places[i] = (right, height - y)
    return places
