"""Result rows summed up: a cell for each variant and architecture, and accuracies along an axis."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moe_distill.errors import InputError
from moe_distill.results.question import Question, framed, published, require_told_apart
from moe_distill.results.rows import COLUMNS, Row
from moe_distill.results.wording import count

if TYPE_CHECKING:
    import polars as pl

AVERAGE = "average"
_ABOUT = ("method", "noe", "budget", "recipe", "scale")
_CELL = ("dataset", "variant", "architecture")


def cells(rows: Sequence[Row], question: Question) -> "pl.DataFrame":
    """Return a line for each variant and architecture of a data set, whether or not it has rows, and averages of them.

    Args:
        rows: Result rows.
        question: What is asked of them.

    Returns:
        Columns ``dataset, method, noe, budget, recipe, scale, variant, architecture``; ``mean`` and ``sd`` (of the
        sample) of the students' accuracies, fractions, null where there are too few; ``students`` and how many of them
        ``diverged``, which are in no mean; ``distillations``, the number of distillation seeds, and ``asked``, that
        with those to come; ``values``, the accuracies; ``paper``, what the paper has, or null. In lines of the
        architecture ``average``, mean, values and paper are of the architectures' means, null where one is missing.

    Raises:
        InputError: See :func:`~moe_distill.results.question.framed` and ``published``.
    """
    import polars as pl

    frame = framed(rows, question).with_columns(pl.col("noe").cast(pl.Int64))
    trained, finite = pl.col("accuracy").is_not_null(), pl.col("accuracy").is_finite()
    own = frame.group_by(_CELL, maintain_order=True).agg(
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
    full = grid.join(own, on=_CELL, how="left", maintain_order="left").with_columns(
        pl.col("students", "diverged", "distillations", "asked").fill_null(0), pl.col("values").fill_null([])
    )
    paper = _of_paper(frame, question)
    found = [paper.get(cell) for cell in full.select(_CELL).iter_rows()]
    full = full.with_columns(pl.Series("paper", found, pl.Float64))
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


def _of_paper(frame: "pl.DataFrame", question: Question) -> dict[tuple[str, str, str], float]:
    """Return the paper's accuracies by cell, left out where rows of one cell meet different conditions."""
    named = dict.fromkeys(c for row in question.paper for c in row if c not in ("accuracy", "architecture"))
    forms: dict[tuple[str, str], list[Row]] = {}
    for form in frame.select(*dict.fromkeys(("dataset", "variant", *named))).unique(maintain_order=True).to_dicts():
        forms.setdefault((form["dataset"], form["variant"]), []).append(form)
    found: dict[tuple[str, str, str], float] = {}
    for (dataset, variant), own in forms.items():
        for architecture in frame["architecture"].unique():
            given = {published({**form, "architecture": architecture}, question) for form in own}
            if len(given) == 1 and (accuracy := given.pop()) is not None:
                found[dataset, variant, architecture] = accuracy
    return found


def half_width(parts: Sequence[Sequence[float]]) -> float | None:
    """Return half of the 95 % interval of the mean of several samples' means.

    Student's t; the means' variances are added up, the degrees of freedom are Welch's and Satterthwaite's. None where a
    sample has fewer than two values.
    """
    from scipy.stats import t

    if any(len(values) < 2 for values in parts):
        return None
    squares = [statistics.variance(values) / len(values) for values in parts]
    if not (total := sum(squares)):
        return 0.0
    freedom = total**2 / sum(v**2 / (len(values) - 1) for v, values in zip(squares, parts, strict=True))
    return float(t.ppf(0.975, freedom)) * math.sqrt(total) / len(parts)


def along(rows: Sequence[Row], question: Question, by: str) -> "pl.DataFrame":
    """Return accuracies along the question's axis.

    A line is named by the question's lines without the axis, or by the method where it names none.

    Args:
        rows: Result rows.
        question: What is asked of them; its axis is a column of numbers.
        by: ``variant`` for averages over architectures, ``architecture`` for a line for each of them too.

    Returns:
        Columns ``dataset, line, x, mean, half, n, over``, sorted by ``x`` within a line: fractions, half of the 95 %
        interval (null where there is one value), the number of values and what they are. With several distillation
        seeds the values are the seeds' means, with one the students. An average leaves out whoever lacks an
        architecture; a point without values is left out.

    Raises:
        InputError: The question has no axis, or one that is not of numbers.
    """
    import polars as pl

    frame, names = _lined(rows, question, by)
    points = []
    for (dataset, line, x), own in frame.group_by("dataset", "line", "x", maintain_order=True):
        every = own if by == "architecture" else frame.filter(dataset=dataset)
        values, over = _replicates(own, every["architecture"].unique().to_list())
        if values:
            told = {"mean": statistics.mean(values), "half": half_width([values]), "n": len(values), "over": over}
            points.append({"dataset": dataset, "line": line, "x": x, **told})
    schema = {"dataset": pl.String, "line": pl.String, "x": pl.Float64, "mean": pl.Float64, "half": pl.Float64}
    found = pl.from_dicts(points, schema={**schema, "n": pl.Int64, "over": pl.String})
    return found.sort("dataset", pl.col("line").cast(pl.Enum(names)), "x")


def require_answerable(rows: Sequence[Row], question: Question) -> None:
    """Refuse a question that rows to come cannot answer.

    Args:
        rows: Rows with the columns that are known before their students are trained.
        question: What is asked of them.

    Raises:
        InputError: See :func:`~moe_distill.results.question.framed` and :func:`along`.
    """
    trained = [{**dict.fromkeys(COLUMNS, ""), **row, "accuracy_last": "0"} for row in rows]
    framed(trained, question)
    if trained and question.axis is not None:
        along(trained, question, "variant")


def _lined(rows: Sequence[Row], question: Question, by: str) -> "tuple[pl.DataFrame, list[str]]":
    """Return rows with ``x`` and ``line``, and the lines' names in the order first met."""
    import polars as pl

    frame = framed(rows, question)
    if question.axis is None:
        raise InputError("question.axis", None, "a column of numbers")
    # Of baselines, that the axis is not about, it is empty.
    frame = frame.drop_nulls("accuracy").filter(pl.col(question.axis).cast(pl.String) != "")
    try:
        frame = frame.with_columns(pl.col(question.axis).cast(pl.Float64).alias("x"))
    except pl.exceptions.InvalidOperationError as error:
        raise InputError("question.axis", question.axis, "a column of numbers") from error
    named = [c for c in question.lines or ("method", "recipe") if c != question.axis]
    shown = [c for c in named if frame[c].n_unique() > 1] or named[:1]
    if by == "architecture":
        shown = [*(c for c in named if frame[c].n_unique() > 1), "architecture"]
    words = [pl.col(c).cast(pl.String) for c in shown]
    if (frame.group_by(*shown, "x").agg(pl.col("budget").n_unique())["budget"] > 1).any():
        words.append(pl.format("budget {}", "budget"))  # several shares of several budgets
    frame = frame.with_columns(pl.concat_str(words, separator=" ").alias("line"))
    require_told_apart(frame, ("line", "x"))
    return frame, frame["line"].unique(maintain_order=True).to_list()


def _replicates(own: "pl.DataFrame", architectures: Sequence[str]) -> tuple[list[float], str]:
    """Return what an interval is over: distillation seeds' means where there are several, else students."""
    held: dict[str, dict[str, dict[str, float]]] = {}
    for seed, student, architecture, accuracy in own.select(
        "distill_seed", "seed", "architecture", "accuracy"
    ).iter_rows():
        if math.isfinite(accuracy):
            held.setdefault(seed, {}).setdefault(student, {})[architecture] = accuracy
    seeds = {}
    for seed, students in held.items():
        by = [[s[a] for s in students.values() if a in s] for a in architectures]
        if all(by):
            seeds[seed] = statistics.mean(map(statistics.mean, by))
    if len(seeds) > 1:
        return list(seeds.values()), f"{len(seeds)} distillation seeds"
    whole = [s for seed in seeds for s in held[seed].values() if all(a in s for a in architectures)]
    values = [statistics.mean(s[a] for a in architectures) for s in whole]
    return values, f"{count([len(values)], 'student')}, one distillation seed"


def finite(values: Sequence[float]) -> list[float]:
    """Return the values that are neither infinite nor NaN."""
    return [v for v in values if math.isfinite(v)]
