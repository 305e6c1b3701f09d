"""Each variant against its opponents, by students of equal network and seeds."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moe_distill.pipelines.layout import count
from moe_distill.pipelines.question import Question, framed, meets
from moe_distill.pipelines.rows import Row
from moe_distill.pipelines.summary import AVERAGE, half_width

if TYPE_CHECKING:
    import polars as pl

RANDOM = "random"
_FAIR = ("dataset", "recipe", "recipe_key", "budget")
_ALIKE = ("data_variant", "noe", "partition", "init", "iterations", "diversity", "regulariser", "fusion", "width")

Differences = Mapping[str, Mapping[str, Sequence[float]]]
"""Differences of students (fractions) by architecture and distillation seed."""


@dataclass(frozen=True)
class Interval:
    """A mean difference (a fraction), half of its 95 % interval, the number of replicates, and what they are."""

    difference: float | None
    half: float | None
    n: int
    over: str


def comparisons(rows: Sequence[Row], question: Question, expected: Sequence[Row] = ()) -> "pl.DataFrame":
    """Compare each variant with its opponent and with random selection.

    An opponent has the same data set, recipe and budget, the method too where the question does not name one; of
    several it is the one that is like the variant in most else. Students of equal architecture and seed are paired,
    of equal distillation seed where the opponent has several. With several distillation seeds of the variant the
    replicates are the means of each, with one they are the pairs of students (Student's t, 95 %).

    Args:
        rows: Result rows.
        question: What is asked of them.
        expected: Cells to come, see :func:`~moe_distill.pipelines.question.framed`.

    Returns:
        Columns ``dataset, budget, variant, kind`` (``against`` or ``random``), ``opponent, architecture, difference,
        half, n, over``; fractions, null where there are no pairs. The line of the architecture ``average`` is over all
        architectures of the data set, and null where one of them has no pairs.

    Raises:
        InputError: See :func:`~moe_distill.pipelines.question.framed`.
    """
    import polars as pl

    frame = framed(rows, question, expected)
    variants = frame.unique(["dataset", "variant"], keep="first", maintain_order=True).to_dicts()
    found = []
    for variant in variants:
        networks = frame.filter(dataset=variant["dataset"])["architecture"].unique(maintain_order=True).to_list()
        for kind, opponent in opponents_of(variant, variants, question):
            differences, several = _differences(frame, variant, opponent)
            for architecture in (*networks, AVERAGE):
                own = interval(differences, networks if architecture == AVERAGE else [architecture], several)
                about = {"kind": kind, "opponent": opponent["variant"], "architecture": architecture}
                found.append({**{c: variant[c] for c in ("dataset", "budget", "variant")}, **about, **vars(own)})
    texts = dict.fromkeys(("dataset", "variant", "kind", "opponent", "architecture", "over"), pl.String)
    numbers = {"budget": pl.Int64, "difference": pl.Float64, "half": pl.Float64, "n": pl.Int64}
    order = ("dataset", "budget", "variant", "kind", "opponent", "architecture", "difference", "half", "n", "over")
    return pl.from_dicts(found, schema={c: {**texts, **numbers}[c] for c in order})


def losing(rows: Sequence[Row], question: Question, expected: Sequence[Row] = ()) -> "pl.DataFrame":
    """Return the lines of :func:`comparisons` in which a variant is behind on an architecture, the furthest first."""
    import polars as pl

    behind = (pl.col("difference") < 0) & (pl.col("architecture") != AVERAGE)
    return comparisons(rows, question, expected).filter(behind).sort("difference", maintain_order=True)


def opponents_of(variant: Row, variants: Sequence[Row], question: Question) -> Iterator[tuple[str, Row]]:
    """Yield kind and first row of a variant's opponents; random selection has none."""
    if variant["method"] == RANDOM:
        return
    fair = [v for v in variants if all(v[c] == variant[c] for c in _FAIR) and v["variant"] != variant["variant"]]
    named = [v for v in fair if question.against and meets(v, question.against)]
    if "method" not in question.against:
        named = [v for v in named if v["method"] == variant["method"]]
    if named and not meets(variant, question.against):
        yield "against", _closest(variant, named, question)
    if random := [v for v in fair if v["method"] == RANDOM and v not in named]:
        yield RANDOM, _closest(variant, random, question)


def _closest(variant: Row, others: Sequence[Row], question: Question) -> Row:
    columns = [c for c in _ALIKE if c not in question.against]
    return max(others, key=lambda other: sum(other[c] == variant[c] for c in columns))


def _differences(frame: "pl.DataFrame", variant: Row, opponent: Row) -> tuple[dict[str, dict[str, list[float]]], bool]:
    """Return the differences of pairs, and whether the opponent has several distillation seeds."""
    trained = frame.drop_nulls("accuracy")
    own, other = (trained.filter(dataset=v["dataset"], variant=v["variant"]) for v in (variant, opponent))
    several = other["distill_seed"].n_unique() > 1
    keys = ["architecture", "seed", *(["distill_seed"] if several else [])]
    pairs = own.join(other, on=keys, suffix="_other", maintain_order="left")
    held: dict[str, dict[str, list[float]]] = {}
    told = pairs.select("architecture", "distill_seed", "accuracy", "accuracy_other")
    for architecture, seed, a, b in told.iter_rows():
        if math.isfinite(a) and math.isfinite(b):
            held.setdefault(architecture, {}).setdefault(seed, []).append(a - b)
    return held, several


def interval(differences: Differences, architectures: Sequence[str], several: bool) -> Interval:
    """Return mean and interval of differences, of the distillation seeds that have all architectures.

    Args:
        differences: Of pairs of students, by architecture and the variant's distillation seed.
        architectures: Those that are averaged, each weighing the same where seeds are the replicates.
        several: Whether the opponent has several distillation seeds, which is told.
    """
    every = dict.fromkeys(seed for by in differences.values() for seed in by)
    seeds = [s for s in every if all(differences.get(a, {}).get(s) for a in architectures)]
    if len(seeds) > 1:
        values = [statistics.mean(statistics.mean(differences[a][s]) for a in architectures) for s in seeds]
        over = f"{len(seeds)} distillation seeds" + ("" if several else " against one")
    else:
        values = [d for s in seeds for a in architectures for d in differences[a][s]]
        over = f"{count([len(values)], 'pair')} of students, one distillation seed"
    if not values:
        return Interval(None, None, 0, "no pairs of students")
    return Interval(statistics.mean(values), half_width(values), len(values), over)


def said(line: Mapping[str, Any]) -> str:
    """Return a difference in points, ``+1.3 ± 0.9``, of a line of :func:`comparisons`; ``–`` where it has none."""
    if line["difference"] is None:
        return "–"
    half = "" if line["half"] is None else f" ± {100 * line['half']:.1f}"
    return f"{100 * line['difference']:+.1f}{half}"
