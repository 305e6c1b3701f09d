"""Accuracies along the settings that a sweep varied, whether or not its experiment names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moe_distill.errors import InputError
from moe_distill.results.aggregate import AVERAGE, accuracy_curve
from moe_distill.results.frames import as_text
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rows import Row
from moe_distill.results.settings import parse_settings

if TYPE_CHECKING:
    import polars as pl

# Of a command line, what is no property of a set: which of several equal ones it is, and how many judge it.
_NO_AXIS = ("seed", "seeds", "threads")


@dataclass(frozen=True)
class Point:
    """An accuracy (a fraction) at a value of a swept setting, with half of its 95 % interval where it has
    one.
    """

    x: float
    mean: float
    half: float | None


@dataclass(frozen=True)
class Panel:
    """Accuracies along one setting, a line each by its name, of one data set and network or the networks'
    average.
    """

    dataset: str
    network: str
    lines: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class HeatMap:
    """Accuracies (fractions) over two settings.

    Attributes:
        title: What the sets have in common.
        rows: The values of the first setting.
        columns: The values of the second.
        means: By row and column; None where there is none.
    """

    title: str
    rows: Sequence[float]
    columns: Sequence[float]
    means: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Swept:
    """Accuracies over the settings that were swept: along one, or over two.

    Attributes:
        axes: The settings: none, one or two.
        panels: Accuracies along one.
        heat_maps: Accuracies over two.
    """

    axes: Sequence[str] = ()
    panels: Sequence[Panel] = ()
    heat_maps: Sequence[HeatMap] = ()


def swept(rows: Sequence[Row], frame: "pl.DataFrame", question: Question) -> Swept:
    """Return accuracies along the question's axis, or where it names none over the numeric settings that jobs
    vary.

    Args:
        rows: Result rows.
        frame: The same as :func:`~moe_distill.results.question.framed` returns them.
        question: What is asked of them.

    Raises:
        InputError: The question's axis is no column of numbers.
    """
    if question.axis is not None:
        return Swept([question.axis], _panels(rows, question))
    numeric, others = _varied(frame)
    if len(numeric) == 2:
        return Swept(numeric, heat_maps=_heat_maps(frame, numeric, others))
    if len(numeric) == 1:
        # Those that do not vary stand in no line's name.
        lines = question.lines or [*dict.fromkeys(("method", "recipe", *others, "ipc", "noe", *numeric))]
        try:
            return Swept(numeric, _panels(rows, replace(question, axis=numeric[0], lines=lines)))
        except InputError:  # nobody asked for this axis: where rows do not fit it, the page goes without
            return Swept()
    return Swept()


def _varied(frame: "pl.DataFrame") -> tuple[list[str], list[str]]:
    """Return the settings that command lines vary: those of numbers alone, and all others."""
    overrides = frame["overrides"].unique(maintain_order=True).to_list()
    asked = [settings for text in overrides if (settings := parse_settings(text))]
    keys = dict.fromkeys(key for settings in asked for key in settings if key not in _NO_AXIS)
    numeric: list[str] = []
    others: list[str] = []
    for key in keys:
        values = {settings.get(key, "") for settings in asked}
        if len(values) > 1:
            (numeric if all(map(_is_number, values)) else others).append(key)
    return numeric, others


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _panels(rows: Sequence[Row], question: Question) -> list[Panel]:
    """Return accuracies along the question's axis: the average over networks, then each network."""
    frame = to_frame(rows, question)
    averages = accuracy_curve(frame, question, "variant").to_dicts()
    networks = list(dict.fromkeys(str(row["architecture"]) for row in rows))
    single = accuracy_curve(frame, question, "architecture").to_dicts() if len(networks) > 1 else []
    names = list(dict.fromkeys(point["line"] for point in averages))
    found: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for point in averages:
        own = found.setdefault((point["dataset"], AVERAGE), {})
        own.setdefault(point["line"], []).append(Point(point["x"], point["mean"], point["half"]))
    for point in single:
        words = point["line"].split(" ")
        network = next(n for n in networks if n in words)
        # Where a single line is of the average, its name stands in no other line's.
        line = " ".join(word for word in words if word != network) or names[0]
        own = found.setdefault((point["dataset"], network), {})
        own.setdefault(line, []).append(Point(point["x"], point["mean"], point["half"]))
    return [Panel(dataset, network, lines) for (dataset, network), lines in found.items()]


def _heat_maps(frame: "pl.DataFrame", axes: Sequence[str], others: Sequence[str]) -> list[HeatMap]:
    """Return mean accuracies over two settings, networks weighing alike, apart for what else differs."""
    import polars as pl

    asked = frame.filter((pl.col("overrides") != "") & pl.col("accuracy").is_finite())
    numbers = [
        as_text(axis).cast(pl.Float64, strict=False) for axis in axes
    ]  # experts of unlike sizes have none
    asked = asked.with_columns(numbers).drop_nulls([*axes])
    alike = [c for c in dict.fromkeys(("dataset", "method", *others, "recipe")) if c not in axes]
    told = [c for c in alike if asked[c].n_unique() > 1] or ["method"]
    maps = []
    for _, own in asked.group_by(*alike, maintain_order=True):
        by_network = own.group_by(*axes, "architecture").agg(pl.col("accuracy").mean())
        means = by_network.group_by(*axes).agg(pl.col("accuracy").mean())
        known: dict[tuple[Any, Any], float] = {(x, y): mean for x, y, mean in means.iter_rows()}
        down, across = (sorted(means[axis].unique().to_list()) for axis in axes)
        table = [[known.get((x, y)) for y in across] for x in down]
        maps.append(HeatMap(" ".join(str(own[c][0]) for c in told), down, across, table))
    return maps
