"""Result rows summed up: a cell for each variant and architecture, and accuracies along an axis."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moe_distill.errors import InputError
from moe_distill.results.frames import COLUMNS, Row, as_text
from moe_distill.results.intervals import SEEDS, mean_of_means
from moe_distill.results.question import Question, published, require_unique_students, to_frame
from moe_distill.results.wording import count

if TYPE_CHECKING:
    import polars as pl

AVERAGE = "average"
_ABOUT = ("method", "noe", "budget", "recipe", "scale")
_CELL = ("dataset", "variant", "architecture")
_POINT = ["dataset", "line", "x"]


def aggregate(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return a line for each variant and architecture of a data set, and their averages.

    A line stands there whether or not it has rows.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: What is asked of them.

    Returns:
        Columns ``dataset, method, noe, budget, recipe, scale, variant, architecture``; ``mean`` and ``sd``
        (of the sample) of the students' accuracies, fractions, null where there are too few; ``students`` and
        how many of them ``diverged``, which are in no mean; ``distillations``, the number of distillation
        seeds, and ``asked``, that with those to come; ``values``, the accuracies; ``paper``, what the paper
        has, or null. In lines of the architecture ``average``, mean, values and paper are of the
        architectures' means, null where one is missing.

    Raises:
        InputError: See :func:`~moe_distill.results.question.published`.
    """
    import polars as pl

    trained, finite = pl.col("accuracy").is_not_null(), pl.col("accuracy").is_finite()
    cells = frame.group_by(_CELL, maintain_order=True).agg(
        pl.col("accuracy").filter(finite).mean().alias("mean"),
        pl.col("accuracy").filter(finite).std().alias("sd"),
        trained.sum().cast(pl.Int64).alias("students"),
        (trained & ~finite).sum().cast(pl.Int64).alias("diverged"),
        pl.col("distill_seed").filter(trained).n_unique().cast(pl.Int64).alias("distillations"),
        pl.col("distill_seed").n_unique().cast(pl.Int64).alias("asked"),
        pl.col("accuracy").filter(finite).alias("values"),
    )
    about = [pl.col(c).first() for c in _ABOUT]
    variants = frame.group_by("dataset", "variant", maintain_order=True).agg(about)
    architectures = frame.select("dataset", "architecture").unique(maintain_order=True)
    grid = variants.join(architectures, on="dataset", maintain_order="left_right")
    full = grid.join(cells, on=_CELL, how="left", maintain_order="left").with_columns(
        pl.col("students", "diverged", "distillations", "asked").fill_null(0), pl.col("values").fill_null([])
    )
    full = full.join(_paper(frame, question), on=_CELL, how="left", maintain_order="left")
    numbers = ("mean", "sd", "students", "diverged", "distillations", "asked", "values", "paper")
    return pl.concat([full, _averages(full)], how="diagonal").select("dataset", *_ABOUT, *_CELL[1:], *numbers)


def _averages(full: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    def of_all(column: str) -> pl.Expr:
        return pl.when(pl.col(column).null_count() == 0).then(pl.col(column).mean()).alias(column)

    return full.group_by("dataset", "variant", maintain_order=True).agg(
        *(pl.col(c).first() for c in _ABOUT),
        pl.lit(AVERAGE).alias("architecture"),
        of_all("mean"),
        of_all("paper"),
        pl.col("students", "diverged").sum(),
        pl.col("distillations", "asked").max(),
        pl.col("mean").drop_nulls().alias("values"),
    )


def _paper(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return the paper's accuracies by cell, null where rows of one cell meet different conditions."""
    import polars as pl

    named = {column for line in question.paper for column in line} - {"accuracy", *_CELL}
    forms = frame.select("dataset", "variant", *sorted(named)).unique(maintain_order=True)
    architectures = frame.select("architecture").unique(maintain_order=True)
    every = forms.join(architectures, how="cross")  # also where a cell has no rows yet
    every = every.with_columns(published(every, question))
    of_all = pl.when(pl.col("paper").n_unique() == 1).then(pl.col("paper").first())
    return every.group_by(_CELL).agg(of_all.alias("paper"))


def accuracy_curve(frame: "pl.DataFrame", question: Question, by: str) -> "pl.DataFrame":
    """Return accuracies along the question's axis.

    A line is named by the question's lines without the axis, or by the method where it names none.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: What is asked of them; its axis is a column of numbers.
        by: ``variant`` for averages over architectures, ``architecture`` for a line for each of them too.

    Returns:
        Columns ``dataset, line, x, mean, half, n, over``, sorted by ``x`` within a line: fractions, half of
        the 95 % interval (null where there is one value), the number of values and what they are. With
        several distillation seeds the values are the seeds' means, with one the students. An average leaves
        out whoever lacks an architecture; a point without values is left out.

    Raises:
        InputError: The question has no axis, or one that is not of numbers.
    """
    import polars as pl

    rows, names = _lined(frame, question, by)
    networks = pl.lit(1) if by == "architecture" else pl.col("architecture").n_unique().over("dataset")
    values = _replicates(rows.with_columns(networks=networks).filter(pl.col("accuracy").is_finite()))
    cells = values.group_by(*_POINT, "several", maintain_order=True).agg(
        mean=pl.col("accuracy").mean(), variance=pl.col("accuracy").var(), n=pl.len().cast(pl.Int64)
    )
    found = mean_of_means(cells, [*_POINT, "several"])
    over = [
        f"{n} {SEEDS}" if several else f"{count([n], 'student')}, one distillation seed"
        for n, several in found.select("n", "several").iter_rows()
    ]
    found = found.select(*_POINT, "mean", "half", "n", pl.Series("over", over, pl.String))
    return found.sort("dataset", pl.col("line").cast(pl.Enum(names)), "x")


def _replicates(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Return what a point's interval is over: distillation seeds' means where it has several, else students.

    Args:
        rows: Students of a finite accuracy, with ``networks``, the number of networks that a mean needs.

    Returns:
        The columns of a point, ``accuracy`` and ``several``, whether the point has several distillation
        seeds.
    """
    import polars as pl

    of_seed, of_student = [*_POINT, "distill_seed"], [*_POINT, "distill_seed", "seed"]
    # A seed's, or a student's, mean weighs networks alike and needs all of them.
    networks = pl.col("networks").first()
    of_network = [*of_seed, "architecture"]
    by_network = rows.group_by(of_network, maintain_order=True).agg(pl.col("accuracy").mean(), networks)
    whole = pl.len() == networks
    seeds = by_network.group_by(of_seed, maintain_order=True).agg(pl.col("accuracy").mean(), whole=whole)
    seeds = seeds.filter("whole").with_columns(several=pl.len().over(_POINT) > 1)
    students = rows.group_by(of_student, maintain_order=True).agg(pl.col("accuracy").mean(), whole=whole)
    alone = seeds.filter(~pl.col("several")).select(of_seed)
    students = students.filter("whole").join(alone, on=of_seed, how="semi", nulls_equal=True)
    values = pl.concat([seeds.filter("several"), students.with_columns(several=False)], how="diagonal")
    return values.select(*_POINT, "accuracy", "several")


def require_answerable(rows: Sequence[Row], question: Question) -> None:
    """Refuse a question that rows to come cannot answer.

    Args:
        rows: Rows with the columns that are known before their students are trained.
        question: What is asked of them.

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame` and :func:`accuracy_curve`.
    """
    trained = [{**dict.fromkeys(COLUMNS, ""), **row, "accuracy_last": "0"} for row in rows]
    frame = to_frame(trained, question)
    if trained and question.axis is not None:
        accuracy_curve(frame, question, "variant")


def _lined(frame: "pl.DataFrame", question: Question, by: str) -> "tuple[pl.DataFrame, list[str]]":
    """Return trained rows with ``x`` and ``line``, and the lines' names in the order first met."""
    import polars as pl

    if question.axis is None:
        raise InputError("question.axis", None, "a column of numbers")
    axis = pl.col(question.axis)
    if not frame.schema[question.axis].is_numeric():
        axis = as_text(question.axis).replace("", None)  # as it is of baselines, which the axis is not about
    try:
        frame = frame.with_columns(axis.cast(pl.Float64).alias("x")).drop_nulls(["accuracy", "x"])
    except pl.exceptions.PolarsError as error:
        raise InputError("question.axis", question.axis, "a column of numbers") from error
    named = [c for c in question.lines or ("method", "recipe") if c != question.axis]
    shown = [c for c in named if frame[c].n_unique() > 1] or named[:1]
    if by == "architecture":
        shown = [*(c for c in named if frame[c].n_unique() > 1), "architecture"]
    words = [as_text(c).fill_null("") for c in shown]
    if (frame.group_by(*shown, "x").agg(pl.col("budget").n_unique())["budget"] > 1).any():
        words.append(pl.format("budget {}", "budget"))  # several shares of several budgets
    frame = frame.with_columns(pl.concat_str(words, separator=" ").alias("line"))
    require_unique_students(frame, ("line", "x"))
    return frame, frame["line"].unique(maintain_order=True).to_list()


def finite(values: Sequence[float]) -> list[float]:
    """Return the values that are neither infinite nor NaN."""
    return [v for v in values if math.isfinite(v)]
