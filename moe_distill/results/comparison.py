"""Each variant compared with its opponents, by students of the same network and seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.frames import Rows, frame_of
from moe_distill.results.intervals import SEEDS, mean_of_means
from moe_distill.results.opponents import opponents_of
from moe_distill.results.question import Question
from moe_distill.results.rows import budget, variant_names
from moe_distill.results.wording import count

if TYPE_CHECKING:
    import polars as pl

_LINE = ["dataset", "variant", "kind", "opponent"]
_STUDENT = ["architecture", "seed"]
_COLUMNS = ["dataset", "budget", "variant", "kind", "opponent", "architecture"]
_COLUMNS += ["difference", "half", "n", "over"]


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % interval.

    Attributes:
        difference: The mean, a fraction; None where there are no pairs.
        half: Half of the interval; None where there is a single pair.
        n: The number of replicates.
        over: What the replicates are, in words.
    """

    difference: float | None
    half: float | None
    n: int
    over: str

    def __str__(self) -> str:
        """Return it in points: ``+1.3 ± 0.9``."""
        return format_difference(self.difference, self.half)


def compare(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Compare each variant with its opponents and with random selection, also tiled where it tiles.

    For the opponents see :func:`~moe_distill.results.opponents.opponents_of`, for pairs and intervals
    :func:`intervals`.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: The experiment's question, which names the opponents.

    Returns:
        Columns ``dataset, budget, variant, kind`` (the condition that named the opponent, as
        :func:`~moe_distill.results.opponents.format_conditions` writes it, or ``random`` or
        ``random_tiled``), ``opponent, architecture, difference, half, n, over``; fractions, null where there
        are no pairs. The line of the architecture ``average`` is over all architectures of the data set, and
        null where one has no pairs.
    """
    import polars as pl

    lines = opponents_of(frame, question)
    networks = frame.select("dataset", "architecture").unique(maintain_order=True)
    # The grid has a line also where there are no pairs, so that tables say so.
    average = networks.unique("dataset", maintain_order=True).with_columns(architecture=pl.lit(AVERAGE))
    grid = lines.join(pl.concat([networks, average]), on="dataset", maintain_order="left_right")
    leads = intervals(_differences(frame.drop_nulls("accuracy"), lines), networks)
    comparisons = grid.join(leads, on=[*_LINE, "architecture"], how="left", maintain_order="left")
    without_pairs = (pl.col("n").fill_null(0), pl.col("over").fill_null("no pairs of students"))
    return comparisons.with_columns(without_pairs).select(_COLUMNS)


def losing(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return the lines of :func:`compare` in which a variant is behind on an architecture, worst first."""
    import polars as pl

    behind = (pl.col("difference") < 0) & (pl.col("architecture") != AVERAGE)
    return compare(frame, question).filter(behind).sort("difference", maintain_order=True)


def _differences(students: "pl.DataFrame", lines: "pl.DataFrame") -> "pl.DataFrame":
    """Return by how much a variant's students are ahead of their partners among an opponent's.

    Students of equal architecture and seed are paired; of equal distillation seed too, unless either side has
    a separate set for each student. A set that does not depend on a seed is paired with every seed.

    Args:
        students: Rows of trained students.
        lines: Variants and their opponents.

    Returns:
        The columns of a line, ``architecture``, ``distill_seed`` and ``difference``, where it is finite.
    """
    import polars as pl

    students = students.select("dataset", "variant", *_STUDENT, "distill_seed", "accuracy").with_columns(
        one_seed=(pl.col("distill_seed").n_unique() == 1).over("dataset", "variant"),
        # A student seed that occurs with several sets; else each student may have images of its own, and
        # their distillation seeds do not correspond to those of the other side.
        several_sets=pl.struct(_STUDENT).is_duplicated().any().over("dataset", "variant"),
    )
    ahead = lines.select(_LINE).join(students, on=["dataset", "variant"], maintain_order="left_right")
    partners = students.rename({"variant": "opponent"})
    on = ["dataset", "opponent", *_STUDENT]
    pairs = ahead.join(partners, on=on, suffix=" partner", nulls_equal=True, maintain_order="left_right")
    one_seed = pl.col("one_seed") & pl.col("one_seed partner")
    by_set = one_seed | pl.col("several_sets") | pl.col("several_sets partner")
    # Null means that the set depends on no seed: it is then paired with every seed of the other side.
    equal = (pl.col("distill_seed") == pl.col("distill_seed partner")).fill_null(True)
    difference = pl.col("accuracy") - pl.col("accuracy partner")
    return pairs.filter(~by_set | equal, difference.is_finite()).select(
        *_LINE, "architecture", pl.coalesce("distill_seed", "distill_seed partner"), difference=difference
    )


def intervals(differences: "pl.DataFrame", networks: "pl.DataFrame") -> "pl.DataFrame":
    """Return mean differences with their 95 % intervals, by architecture and on average.

    Architectures weigh alike. With pairs of several distillation seeds, the replicates are the means of the
    seeds that have all architectures (Student's t). With one seed they are the pairs of students, and the
    interval holds for this one set and these architectures: it does not cover what other sets or
    architectures would differ by (the sum of the architectures' variances, Welch's degrees of freedom).

    Args:
        differences: Those of paired students: ``dataset, variant, kind, opponent, architecture, distill_seed,
            difference``.
        networks: ``dataset`` and ``architecture`` of all networks that an average needs.

    Returns:
        The first five columns, ``difference``, ``half``, ``n`` and ``over`` (see :class:`Interval`), where
        there are pairs.
    """
    import polars as pl

    cells = differences.group_by(*_LINE, "architecture", "distill_seed", maintain_order=True).agg(
        mean=pl.col("difference").mean(), variance=pl.col("difference").var(), n=pl.len().cast(pl.Int64)
    )
    # Every cell counts twice, by itself and in the average: ``scope`` says in which line.
    counts = networks.group_by("dataset").agg(networks=pl.len())
    single = cells.with_columns(scope=pl.col("architecture"), networks=pl.lit(1, pl.UInt32))
    average = cells.with_columns(scope=pl.lit(AVERAGE)).join(counts, on="dataset", maintain_order="left")
    cells = pl.concat([single, average], how="diagonal_relaxed")
    line = [*_LINE, "scope"]
    # A seed that lacks an architecture would shift the average by what that architecture differs by.
    cells = cells.filter(pl.len().over(*line, "distill_seed") == pl.col("networks"))
    seeds = pl.col("distill_seed").n_unique().over(line)
    several = cells.filter(seeds > 1)
    by_seed = several.group_by(*line, "distill_seed", maintain_order=True).agg(pl.col("mean").mean())
    by_line = by_seed.group_by(line, maintain_order=True).agg(
        pl.col("mean").mean(), variance=pl.col("mean").var(), n=pl.len().cast(pl.Int64)
    )
    over_seeds = mean_of_means(by_line, line).with_columns(over=pl.format(f"{{}} {SEEDS}", "n"))
    over_pairs = mean_of_means(cells.filter(seeds == 1), line)
    pairs = [f"{count([n], 'pair')} of students, one distillation seed" for n in over_pairs["n"]]
    both = pl.concat([over_seeds, over_pairs.with_columns(pl.Series("over", pairs, pl.String))])
    return both.rename({"scope": "architecture", "mean": "difference"}).drop("samples")


def lead(ahead: Rows, behind: Rows, architectures: Sequence[str] = ()) -> Interval:
    """Return by how much the students of some rows are ahead of those of others, on average over networks.

    For pairs and the interval see :func:`intervals`.

    Args:
        ahead: Result rows of one set, or of one set for each distillation seed.
        behind: Result rows of the set that it is compared with.
        architectures: The networks to average over; none means all that both sides have.
    """
    import polars as pl

    sides = {"ahead": frame_of(ahead), "behind": frame_of(behind)}
    of_both = set(sides["ahead"]["architecture"]) & set(sides["behind"]["architecture"])
    shared = [name for name in dict.fromkeys(sides["ahead"]["architecture"]) if name in of_both]
    networks = pl.DataFrame({"dataset": "", "architecture": [*(architectures or shared)]})
    # The two sides become variants of one made-up data set, as ``intervals`` takes them.
    students = pl.concat(
        frame.select(
            *("architecture", "seed", "distill_seed"),
            dataset=pl.lit(""),
            variant=pl.lit(side),
            accuracy=pl.col("accuracy_last"),
        )
        for side, frame in sides.items()
    ).filter(pl.col("architecture").is_in(networks["architecture"].to_list()))
    line = pl.DataFrame({"dataset": [""], "variant": ["ahead"], "kind": [""], "opponent": ["behind"]})
    averages = intervals(_differences(students, line), networks).filter(architecture=AVERAGE)
    values = averages.select("difference", "half", "n", "over").rows()
    return Interval(*values[0]) if values else Interval(None, None, 0, "no pairs of students")


def leads_over_random(rows: Rows) -> dict[str, dict[str, tuple[str, Interval]]]:
    """Return for each variant's name (see ``variant_names``) its leads over random selections.

    Args:
        rows: Result rows of one run.

    Returns:
        By variant, then by kind (``random``, ``random_tiled``): the opponent's name and the lead over it.
    """
    import polars as pl

    frame = frame_of(rows)
    variants = frame.with_columns(
        pl.Series("variant", variant_names(frame), pl.String),
        budget=budget(),
        accuracy=pl.col("accuracy_last"),
    )
    averages = compare(variants, Question()).filter(architecture=AVERAGE)
    leads: dict[str, dict[str, tuple[str, Interval]]] = {}
    columns = ("variant", "kind", "opponent", "difference", "half", "n", "over")
    for variant, kind, opponent, *interval in averages.select(columns).iter_rows():
        leads.setdefault(variant, {})[kind] = (opponent, Interval(*interval))
    return leads


def format_difference(difference: float | None, half: float | None) -> str:
    """Return a lead and half of its interval, both fractions, in points; ``–`` where there is none.

    >>> format_difference(0.0126, 0.0093), format_difference(-0.0126, None), format_difference(None, None)
    ('+1.3 ± 0.9', '-1.3', '–')
    """
    if difference is None:
        return "–"
    interval = "" if half is None else f" ± {100 * half:.1f}"
    return f"{100 * difference:+.1f}{interval}"


def describe_replicates(overs: Iterable[str]) -> str:
    """Return in words what intervals are taken over, several numbers of distillation seeds as one range.

    >>> describe_replicates(["3 distillation seeds", "5 distillation seeds", "2 pairs of students"])
    '3 to 5 distillation seeds or 2 pairs of students'
    """
    unique = list(dict.fromkeys(overs))
    seeds = sorted(int(over.split()[0]) for over in unique if over.endswith(SEEDS))
    others = [over for over in unique if not over.endswith(SEEDS)]
    return " or ".join([*([count(seeds, "distillation seed")] if seeds else []), *others])
