"""Result rows aggregated: one cell for each variant and architecture, and accuracies along an axis."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moe_distill.errors import InputError
from moe_distill.results.frames import as_text
from moe_distill.results.intervals import SEEDS, mean_of_means
from moe_distill.results.question import Question, published, require_unique_students, to_frame
from moe_distill.results.wording import count

if TYPE_CHECKING:
    import polars as pl

AVERAGE = "average"
_DESCRIPTION = ("method", "noe", "budget", "recipe", "scale")
_CELL = ("dataset", "variant", "architecture")
_COUNTS = ("students", "diverged", "distillations", "planned")
_POINT = ["dataset", "line", "x"]


def aggregate(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return one line for each data set, variant and architecture, and the variants' averages.

    Combinations without rows have a line too, so that a table shows what is missing.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: The experiment's question, with the paper's accuracies.

    Returns:
        Columns ``dataset, method, noe, budget, recipe, scale, variant, architecture``; ``mean`` and ``sd``
        (of the sample) of the students' accuracies, fractions, null where there are too few; ``students`` and
        how many of them ``diverged``, which no mean includes; ``distillations``, the number of distillation
        seeds of trained students, and ``planned``, the number including students to come;
        ``values``, the accuracies; ``paper``, the paper's accuracy or null. In lines of the architecture
        ``average``, mean, values and paper are of the architectures' means, null where one is missing.

    Raises:
        InputError: See :func:`~moe_distill.results.question.published`.
    """
    import polars as pl

    # A student that diverged has the accuracy NaN, one that is not trained yet has null.
    trained, finite = pl.col("accuracy").is_not_null(), pl.col("accuracy").is_finite()
    cells = frame.group_by(_CELL, maintain_order=True).agg(
        pl.col("accuracy").filter(finite).mean().alias("mean"),
        pl.col("accuracy").filter(finite).std().alias("sd"),
        trained.sum().cast(pl.Int64).alias("students"),
        (trained & ~finite).sum().cast(pl.Int64).alias("diverged"),
        pl.col("distill_seed").filter(trained).n_unique().cast(pl.Int64).alias("distillations"),
        pl.col("distill_seed").n_unique().cast(pl.Int64).alias("planned"),
        pl.col("accuracy").filter(finite).alias("values"),
    )
    description = [pl.col(c).first() for c in _DESCRIPTION]
    variants = frame.group_by("dataset", "variant", maintain_order=True).agg(description)
    architectures = frame.select("dataset", "architecture").unique(maintain_order=True)
    # The full grid, also where a variant has no student of an architecture.
    grid = variants.join(architectures, on="dataset", maintain_order="left_right")
    full = grid.join(cells, on=_CELL, how="left", maintain_order="left").with_columns(
        pl.col(_COUNTS).fill_null(0), pl.col("values").fill_null([])
    )
    full = full.join(_paper(frame, question), on=_CELL, how="left", maintain_order="left")
    numbers = ("mean", "sd", *_COUNTS, "values", "paper")
    lines = pl.concat([full, _averages(full)], how="diagonal")
    return lines.select("dataset", *_DESCRIPTION, "variant", "architecture", *numbers)


def _averages(full: "pl.DataFrame") -> "pl.DataFrame":
    """Return one line for each variant: the averages over its architectures."""
    import polars as pl

    def mean_if_complete(column: str) -> pl.Expr:
        # A mean over fewer architectures would not compare with the other variants' means.
        return pl.when(pl.col(column).null_count() == 0).then(pl.col(column).mean()).alias(column)

    return full.group_by("dataset", "variant", maintain_order=True).agg(
        *(pl.col(c).first() for c in _DESCRIPTION),
        pl.lit(AVERAGE).alias("architecture"),
        mean_if_complete("mean"),
        mean_if_complete("paper"),
        pl.col("students", "diverged").sum(),
        pl.col("distillations", "planned").max(),
        pl.col("mean").drop_nulls().alias("values"),
    )


def _paper(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return the paper's accuracies by cell, null where rows of one cell meet different conditions."""
    import polars as pl

    conditions = {column for line in question.paper for column in line} - {"accuracy", *_CELL}
    variants = frame.select("dataset", "variant", *sorted(conditions)).unique(maintain_order=True)
    architectures = frame.select("architecture").unique(maintain_order=True)
    cells = variants.join(architectures, how="cross")  # also where a cell has no rows yet
    cells = cells.with_columns(published(cells, question))
    unanimous = pl.when(pl.col("paper").n_unique() == 1).then(pl.col("paper").first())
    return cells.group_by(_CELL).agg(unanimous.alias("paper"))


def accuracy_curve(frame: "pl.DataFrame", question: Question, by: str) -> "pl.DataFrame":
    """Return accuracies along the question's axis.

    A line is named by the question's ``lines`` without the axis, or by the method if it has none. Along the
    costs of sets, one line holds the sets of all lengths.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: The experiment's question; its axis is a column of numbers.
        by: ``variant`` for averages over architectures, ``architecture`` for one line for each of them.

    Returns:
        Columns ``dataset, line, x, mean, half, n, over``, sorted by ``x`` within a line: fractions, half of
        the 95 % interval (null where there is one value), the number of values and what they are. With
        several distillation seeds the values are the seeds' means, with one they are the students. An average
        leaves out seeds and students that lack an architecture; a point without values is left out.

    Raises:
        InputError: The question has no axis, or one that is not a column of numbers.
    """
    import polars as pl

    rows, names = _with_lines(frame, question, by)
    networks = pl.lit(1) if by == "architecture" else pl.col("architecture").n_unique().over("dataset")
    values = _replicates(rows.with_columns(networks=networks).filter(pl.col("accuracy").is_finite()))
    cells = values.group_by(*_POINT, "several", maintain_order=True).agg(
        mean=pl.col("accuracy").mean(), variance=pl.col("accuracy").var(), n=pl.len().cast(pl.Int64)
    )
    points = mean_of_means(cells, [*_POINT, "several"])
    over = [
        f"{n} {SEEDS}" if several else f"{count([n], 'student')}, one distillation seed"
        for n, several in points.select("n", "several").iter_rows()
    ]
    points = points.select(*_POINT, "mean", "half", "n", pl.Series("over", over, pl.String))
    return points.sort("dataset", pl.col("line").cast(pl.Enum(names)), "x")


def _replicates(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Return the values that a point's interval is taken over.

    These are the means of its distillation seeds where it has several, else its students.

    Args:
        rows: Students of a finite accuracy, with ``networks``, the number of networks that a mean needs.

    Returns:
        The columns of a point, ``accuracy`` and ``several``, whether the point has several distillation
        seeds.
    """
    import polars as pl

    of_seed, of_student = [*_POINT, "distill_seed"], [*_POINT, "distill_seed", "seed"]
    networks = pl.col("networks").first()
    # Averaged by network first, so that networks weigh alike however many students each has.
    of_network = [*of_seed, "architecture"]
    by_network = rows.group_by(of_network, maintain_order=True).agg(pl.col("accuracy").mean(), networks)
    complete = pl.len() == networks
    mean = (pl.col("accuracy").mean(), complete.alias("complete"))
    seeds = by_network.group_by(of_seed, maintain_order=True).agg(mean).filter("complete")
    seeds = seeds.with_columns(several=pl.len().over(_POINT) > 1)
    students = rows.group_by(of_student, maintain_order=True).agg(mean).filter("complete")
    single_seeds = seeds.filter(~pl.col("several")).select(of_seed)
    # Real images have no distillation seed: null has to match null.
    students = students.join(single_seeds, on=of_seed, how="semi", nulls_equal=True)
    values = pl.concat([seeds.filter("several"), students.with_columns(several=False)], how="diagonal")
    return values.select(*_POINT, "accuracy", "several")


def require_answerable(frame: "pl.DataFrame", question: Question) -> None:
    """Refuse a question that the rows of students to come cannot answer.

    Args:
        frame: Rows with the columns that are known before their students are trained (see ``frame_of``).
        question: The experiment's question.

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame` and :func:`accuracy_curve`.
    """
    import polars as pl

    # Students count as trained, of any accuracy, so that everything is checked that will be once they are.
    trained = frame.with_columns(pl.col(pl.String).fill_null(""), accuracy_last=pl.lit(0.0))
    rows = to_frame(trained, question)
    if len(rows) and question.axis is not None:
        accuracy_curve(rows, question, "variant")


def _with_lines(frame: "pl.DataFrame", question: Question, by: str) -> "tuple[pl.DataFrame, list[str]]":
    """Return trained rows with ``x`` and ``line``, and the lines' names in the order first met."""
    import polars as pl

    if question.axis is None:
        raise InputError("question.axis", None, "a column of numbers")
    axis = pl.col(question.axis)
    if not frame.schema[question.axis].is_numeric():
        axis = as_text(question.axis).replace("", None)  # empty for baselines, which no setting applies to
    try:
        frame = frame.with_columns(axis.cast(pl.Float64).alias("x")).drop_nulls(["accuracy", "x"])
    except pl.exceptions.PolarsError as error:
        # Text that is no number, such as the name of a measure.
        raise InputError("question.axis", question.axis, "a column of numbers") from error
    apart = ("length", "iterations") if question.axis == "core_seconds" else (question.axis,)
    candidates = [c for c in question.lines or ("method", "recipe") if c not in apart]
    varying = [c for c in candidates if frame[c].n_unique() > 1]
    # Averages need a name even where nothing varies; a network's line already has the network's.
    columns = [*varying, "architecture"] if by == "architecture" else varying or candidates[:1]
    words = [as_text(c).fill_null("") for c in columns]
    if (frame.group_by(*columns, "x").agg(pl.col("budget").n_unique())["budget"] > 1).any():
        words.append(pl.format("budget {}", "budget"))  # several ways to share several budgets
    frame = frame.with_columns(pl.concat_str(words, separator=" ").alias("line"))
    require_unique_students(frame, ("line", "x"))
    return frame, frame["line"].unique(maintain_order=True).to_list()


def finite(values: Sequence[float]) -> list[float]:
    """Return the values that are neither infinite nor NaN.

    >>> finite([0.5, float("nan"), float("inf")])
    [0.5]
    """
    return [v for v in values if math.isfinite(v)]
