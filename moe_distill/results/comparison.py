"""Each variant against its opponents, by students of equal network and seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """A mean difference (a fraction), half of its 95 % interval, how many replicates it has, and of what."""

    difference: float | None
    half: float | None
    n: int
    over: str

    def __str__(self) -> str:
        """Return it in points: ``+1.3 ± 0.9``."""
        return format_difference(vars(self))


def compare(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Compare each variant with its opponents and with random selection, also tiled where it tiles.

    For the opponents see :func:`~moe_distill.results.opponents.opponents_of`, for pairs and intervals
    :func:`intervals`.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
        question: What is asked of them.

    Returns:
        Columns ``dataset, budget, variant, kind`` (what the opponent was named by, as
        :func:`~moe_distill.results.opponents.format_conditions`, or ``random`` and ``random_tiled``),
        ``opponent, architecture, difference, half, n, over``; fractions, null where there are no pairs. The
        line of the architecture ``average`` is over all architectures of the data set, and null where one has
        no pairs.
    """
    import polars as pl

    lines = opponents_of(frame, question)
    networks = frame.select("dataset", "architecture").unique(maintain_order=True)
    average = networks.unique("dataset", maintain_order=True).with_columns(architecture=pl.lit(AVERAGE))
    grid = lines.join(pl.concat([networks, average]), on="dataset", maintain_order="left_right")
    leads = intervals(_differences(frame.drop_nulls("accuracy"), lines), networks)
    found = grid.join(leads, on=[*_LINE, "architecture"], how="left", maintain_order="left")
    without_pairs = (pl.col("n").fill_null(0), pl.col("over").fill_null("no pairs of students"))
    return found.with_columns(without_pairs).select(_COLUMNS)


def losing(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return the lines of :func:`compare` in which a variant is behind on an architecture, worst first."""
    import polars as pl

    behind = (pl.col("difference") < 0) & (pl.col("architecture") != AVERAGE)
    return compare(frame, question).filter(behind).sort("difference", maintain_order=True)


def _differences(students: "pl.DataFrame", lines: "pl.DataFrame") -> "pl.DataFrame":
    """Return by how much a variant's students are ahead of their partners among an opponent's.

    Students of equal architecture and seed are paired, of equal distillation seed too unless the students of
    a side have a set each; a set that no seed decides goes with every one.

    Args:
        students: Those that were trained.
        lines: Variants and their opponents.

    Returns:
        The columns of a line, ``architecture``, ``distill_seed`` and ``difference``, where it is finite.
    """
    import polars as pl

    students = students.select("dataset", "variant", *_STUDENT, "distill_seed", "accuracy").with_columns(
        one_seed=(pl.col("distill_seed").n_unique() == 1).over("dataset", "variant"),
        # A student of one seed was trained on several sets; else each may have images of its own.
        several_sets=pl.struct(_STUDENT).is_duplicated().any().over("dataset", "variant"),
    )
    ahead = lines.select(_LINE).join(students, on=["dataset", "variant"], maintain_order="left_right")
    partners = students.rename({"variant": "opponent"})
    on = ["dataset", "opponent", *_STUDENT]
    pairs = ahead.join(partners, on=on, suffix=" partner", nulls_equal=True, maintain_order="left_right")
    one_seed = pl.col("one_seed") & pl.col("one_seed partner")
    by_set = one_seed | pl.col("several_sets") | pl.col("several_sets partner")
    # Null, so neither equal nor unequal, where a set goes with every seed.
    equal = (pl.col("distill_seed") == pl.col("distill_seed partner")).fill_null(True)
    difference = pl.col("accuracy") - pl.col("accuracy partner")
    return pairs.filter(~by_set | equal, difference.is_finite()).select(
        *_LINE, "architecture", pl.coalesce("distill_seed", "distill_seed partner"), difference=difference
    )


def intervals(differences: "pl.DataFrame", networks: "pl.DataFrame") -> "pl.DataFrame":
    """Return mean differences with their 95 % intervals, by architecture and on average.

    Architectures weigh alike. With pairs of several distillation seeds, replicates are the means of each that
    has all architectures (Student's t). With one, they are the pairs of students, and the interval is for
    this very set and these architectures: what others differ by is no part of it (the sum of the
    architectures' variances, Welch's degrees of freedom).

    Args:
        differences: Those of paired students: ``dataset, variant, kind, opponent, architecture, distill_seed,
            difference``.
        networks: ``dataset`` and ``architecture`` of all networks, which an average needs.

    Returns:
        The first five columns, ``difference``, ``half``, ``n`` and ``over`` (see :class:`Interval`), where
        there are pairs.
    """
    import polars as pl

    cells = differences.group_by(*_LINE, "architecture", "distill_seed", maintain_order=True).agg(
        mean=pl.col("difference").mean(), variance=pl.col("difference").var(), n=pl.len().cast(pl.Int64)
    )
    counts = networks.group_by("dataset").agg(networks=pl.len())
    alone = cells.with_columns(of=pl.col("architecture"), networks=pl.lit(1, pl.UInt32))
    together = cells.with_columns(of=pl.lit(AVERAGE)).join(counts, on="dataset", maintain_order="left")
    cells = pl.concat([alone, together], how="diagonal_relaxed")
    line = [*_LINE, "of"]
    cells = cells.filter(pl.len().over(*line, "distill_seed") == pl.col("networks"))
    seeds = pl.col("distill_seed").n_unique().over(line)
    of_several = cells.filter(seeds > 1)
    by_seed = of_several.group_by(*line, "distill_seed", maintain_order=True).agg(pl.col("mean").mean())
    by_seed = by_seed.group_by(line, maintain_order=True).agg(
        pl.col("mean").mean(), variance=pl.col("mean").var(), n=pl.len().cast(pl.Int64)
    )
    of_seeds, of_pairs = mean_of_means(by_seed, line), mean_of_means(cells.filter(seeds == 1), line)
    over_pairs = [f"{count([n], 'pair')} of students, one distillation seed" for n in of_pairs["n"]]
    found = pl.concat(
        [
            of_seeds.with_columns(over=pl.format(f"{{}} {SEEDS}", "n")),
            of_pairs.with_columns(pl.Series("over", over_pairs, pl.String)),
        ]
    )
    return found.rename({"of": "architecture", "mean": "difference"}).drop("samples")


def lead(ahead: Rows, behind: Rows, architectures: Sequence[str] = ()) -> Interval:
    """Return by how much the students of some rows are ahead of those of others, on average over networks.

    For pairs and the interval see :func:`intervals`.

    Args:
        ahead: Result rows of one set, or of one for each distillation seed.
        behind: Those of another.
        architectures: The networks that are averaged; none takes all that the rows of both have.
    """
    import polars as pl

    sides = {"ahead": frame_of(ahead), "behind": frame_of(behind)}
    of_both = set(sides["ahead"]["architecture"]) & set(sides["behind"]["architecture"])
    shared = [name for name in dict.fromkeys(sides["ahead"]["architecture"]) if name in of_both]
    networks = pl.DataFrame({"dataset": "", "architecture": [*(architectures or shared)]})
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
    found = intervals(_differences(students, line), networks).filter(architecture=AVERAGE)
    values = found.select("difference", "half", "n", "over").rows()
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
    named = frame.with_columns(
        pl.Series("variant", variant_names(frame), pl.String),
        budget=budget(),
        accuracy=pl.col("accuracy_last"),
    )
    lines = compare(named, Question())
    leads: dict[str, dict[str, tuple[str, Interval]]] = {}
    columns = ("variant", "kind", "opponent", "difference", "half", "n", "over")
    for variant, kind, opponent, *lead in lines.filter(architecture=AVERAGE).select(columns).iter_rows():
        leads.setdefault(variant, {})[kind] = (opponent, Interval(*lead))
    return leads


def format_difference(line: Mapping[str, Any]) -> str:
    """Return the lead in a line of :func:`compare` in points, ``+1.3 ± 0.9``; ``–`` where it has none."""
    if line["difference"] is None:
        return "–"
    half = "" if line["half"] is None else f" ± {100 * line['half']:.1f}"
    return f"{100 * line['difference']:+.1f}{half}"


def describe_replicates(overs: Iterable[str]) -> str:
    """Return what intervals are over in words, several numbers of distillation seeds as one span."""
    every = list(dict.fromkeys(overs))
    seeds = sorted(int(over.split()[0]) for over in every if over.endswith(SEEDS))
    others = [over for over in every if not over.endswith(SEEDS)]
    return " or ".join([*([count(seeds, "distillation seed")] if seeds else []), *others])
