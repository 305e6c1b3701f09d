"""Means of replicates with their 95 % intervals, for many cells at once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

SEEDS = "distillation seeds"
COVERAGE = 0.95


def half_width(variance: "pl.Series", freedom: "pl.Series") -> "pl.Series":
    """Return half of the 95 % interval of each mean (Student's t); null where it has no variance.

    Args:
        variance: The variance of each mean; for a sample of n values s²/n.
        freedom: Its degrees of freedom; ignored where the variance is 0, whose interval has no width.
    """
    import numpy as np
    import polars as pl
    from scipy.special import stdtrit  # Student's quantile of scipy.stats, which takes a second to import

    squares = variance.to_numpy()
    # Without variance the degrees of freedom are 0/0; any number gives the interval of no width.
    degrees = np.where(squares == 0, 1.0, freedom.to_numpy())
    half = stdtrit(degrees, (1 + COVERAGE) / 2) * np.sqrt(squares)
    return pl.Series("half", half).fill_nan(None)


def mean_of_means(cells: "pl.DataFrame", by: list[str]) -> "pl.DataFrame":
    """Return the mean of several samples' means with its 95 % interval.

    The samples' variances add up. The degrees of freedom are those of Welch and Satterthwaite (Welch,
    Biometrika 34, 1947), which for one sample are Student's n − 1.

    Args:
        cells: One sample a line: ``mean``, ``variance`` (of the sample, null for one value), ``n``, and the
            columns that say what it is of.
        by: The columns that say what a mean is of; samples alike in these are averaged.

    Returns:
        These columns, ``mean``, ``half`` (null where a sample has fewer than two values), ``n`` (of all
        samples) and ``samples``.
    """
    import polars as pl

    of_mean = pl.col("variance") / pl.col("n")
    sums = cells.group_by(by, maintain_order=True).agg(
        pl.col("mean").mean(),
        pl.col("n").sum(),
        pl.len().alias("samples"),
        # A sum would skip nulls, and the interval would leave out a sample whose spread is unknown.
        pl.when(pl.col("variance").null_count() == 0).then(of_mean.sum()).alias("variances"),
        (of_mean**2 / (pl.col("n") - 1)).sum().alias("squares"),
    )
    half = half_width(sums["variances"] / sums["samples"] ** 2, sums["variances"] ** 2 / sums["squares"])
    return sums.select(*by, "mean", half, "n", "samples")
