"""Accuracies over the settings that a sweep varied, whether or not its experiment names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moe_distill.errors import InputError
from moe_distill.results.aggregate import AVERAGE, accuracy_curve
from moe_distill.results.frames import as_text
from moe_distill.results.question import Question, to_frame
from moe_distill.results.settings import parse_settings

if TYPE_CHECKING:
    import polars as pl

# Settings that are not properties of a set: which of several equal ones it is, and how it is computed.
_NO_AXIS = ("seed", "seeds", "threads")


@dataclass(frozen=True)
class Point:
    """An accuracy at a value of a swept setting.

    Attributes:
        x: The value.
        mean: The accuracy, a fraction.
        half: Half of its 95 % interval; None where there is a single value.
    """

    x: float
    mean: float
    half: float | None


@dataclass(frozen=True)
class Panel:
    """Accuracies along one setting.

    Attributes:
        dataset: The data set.
        network: The network, or ``average``.
        lines: Points by the line's name.
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
        columns: The values of the second setting.
        means: The accuracies by row and column; None where there is none.
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


def swept(rows: "pl.DataFrame", frame: "pl.DataFrame", question: Question) -> Swept:
    """Return accuracies along the question's axis, or else over the numeric settings that jobs vary.

    Args:
        rows: Result rows.
        frame: The same rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: The experiment's question.

    Raises:
        InputError: The question's axis is not a column of numbers.
    """
    if question.axis is not None:
        return Swept([question.axis], _panels(rows, question))
    numeric, others = _varied(frame)
    # Three or more have no chart.
    if len(numeric) == 2:
        return Swept(numeric, heat_maps=_heat_maps(frame, numeric, others))
    if len(numeric) == 1:
        # Columns that do not vary are left out of the lines' names again.
        lines = question.lines or [*dict.fromkeys(("method", "recipe", *others, "ipc", "noe", *numeric))]
        try:
            return Swept(numeric, _panels(rows, replace(question, axis=numeric[0], lines=lines)))
        except InputError:  # nobody asked for this axis: if rows do not fit it, the page goes without
            return Swept()
    return Swept()


def _varied(frame: "pl.DataFrame") -> tuple[list[str], list[str]]:
    """Return the settings that command lines vary: the numeric ones, and all others."""
    overrides = frame["overrides"].unique(maintain_order=True).to_list()
    # Rows without settings are baselines, which vary in nothing.
    jobs = [settings for text in overrides if (settings := parse_settings(text))]
    keys = dict.fromkeys(key for settings in jobs for key in settings if key not in _NO_AXIS)
    numeric: list[str] = []
    others: list[str] = []
    for key in keys:
        values = {settings.get(key, "") for settings in jobs}
        if len(values) > 1:
            (numeric if all(map(_is_number, values)) else others).append(key)
    return numeric, others


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _panels(rows: "pl.DataFrame", question: Question) -> list[Panel]:
    """Return accuracies along the question's axis: the average over networks, then each network."""
    # From the rows again: the axis and the lines of the question decide what variants are.
    frame = to_frame(rows, question)
    averages = accuracy_curve(frame, question, "variant").to_dicts()
    networks = rows["architecture"].unique(maintain_order=True).to_list()
    single = accuracy_curve(frame, question, "architecture").to_dicts() if len(networks) > 1 else []
    names = list(dict.fromkeys(point["line"] for point in averages))
    panels: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for point in averages:
        lines = panels.setdefault((point["dataset"], AVERAGE), {})
        lines.setdefault(point["line"], []).append(Point(point["x"], point["mean"], point["half"]))
    for point in single:
        words = point["line"].split(" ")
        network = next(n for n in networks if n in words)
        # If there is a single line of averages, the lines of networks do not repeat its name.
        line = " ".join(word for word in words if word != network) or names[0]
        lines = panels.setdefault((point["dataset"], network), {})
        lines.setdefault(line, []).append(Point(point["x"], point["mean"], point["half"]))
    return [Panel(dataset, network, lines) for (dataset, network), lines in panels.items()]


def _heat_maps(frame: "pl.DataFrame", axes: Sequence[str], others: Sequence[str]) -> list[HeatMap]:
    """Return mean accuracies over two settings, one map for each combination of what else differs."""
    import polars as pl

    students = frame.filter((pl.col("overrides") != "") & pl.col("accuracy").is_finite())
    # Not strict: experts of unlike sizes such as 7+3 have no number, and no place on the map.
    numbers = [as_text(axis).cast(pl.Float64, strict=False) for axis in axes]
    students = students.with_columns(numbers).drop_nulls([*axes])
    same = [c for c in dict.fromkeys(("dataset", "method", *others, "recipe")) if c not in axes]
    titles = [c for c in same if students[c].n_unique() > 1] or ["method"]
    maps = []
    for _, members in students.group_by(*same, maintain_order=True):
        # By network first, so that networks weigh alike however many students each has.
        by_network = members.group_by(*axes, "architecture").agg(pl.col("accuracy").mean())
        means = by_network.group_by(*axes).agg(pl.col("accuracy").mean())
        known = {(x, y): mean for x, y, mean in means.iter_rows()}
        down, across = (sorted(means[axis].unique().to_list()) for axis in axes)
        table = [[known.get((x, y)) for y in across] for x in down]
        maps.append(HeatMap(" ".join(str(members[c][0]) for c in titles), down, across, table))
    return maps
