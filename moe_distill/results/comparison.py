"""Each variant against its opponents, by students of equal network and seeds."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moe_distill.results.aggregate import AVERAGE, half_width
from moe_distill.results.question import Question, framed, meets
from moe_distill.results.rows import RANDOM, RANDOM_TILED, Row, budget_of, is_random, settings_of, variant_names
from moe_distill.results.wording import count

if TYPE_CHECKING:
    import polars as pl

SEEDS = "distillation seeds"
_FAIR = ("dataset", "recipe", "recipe_key", "budget")
_ALIKE = ("data_variant", "noe", "partition", "init", "iterations", "diversity", "regulariser", "fusion", "width")


@dataclass(frozen=True)
class Interval:
    """A mean difference (a fraction), half of its 95 % interval, the number of replicates, and what they are."""

    difference: float | None
    half: float | None
    n: int
    over: str


def comparisons(rows: Sequence[Row], question: Question) -> "pl.DataFrame":
    """Compare each variant with its opponents and with random selection, also tiled where it tiles.

    An opponent has the same data set, recipe and budget, the method too where the question does not name one; of
    several it is the one that is like the variant in most else. For pairs and intervals see :func:`interval`.

    Args:
        rows: Result rows.
        question: What is asked of them.

    Returns:
        Columns ``dataset, budget, variant, kind`` (what the opponent was named by, as :func:`named`, or ``random``
        and ``random_tiled``), ``opponent, architecture, difference, half, n, over``; fractions, null where there are
        no pairs. The line of the architecture ``average`` is over all architectures of the data set, and null where
        one has no pairs.

    Raises:
        InputError: See :func:`~moe_distill.results.question.framed`.
    """
    import polars as pl

    frame = framed(rows, question)
    variants = frame.unique(["dataset", "variant"], keep="first", maintain_order=True).to_dicts()
    students: dict[tuple[str, str], list[Row]] = {}
    for row in frame.drop_nulls("accuracy").to_dicts():
        students.setdefault((row["dataset"], row["variant"]), []).append(row)
    found = []
    for variant in variants:
        networks = frame.filter(dataset=variant["dataset"])["architecture"].unique(maintain_order=True).to_list()
        own = students.get((variant["dataset"], variant["variant"]), [])
        for kind, opponent in opponents_of(variant, variants, question):
            other = students.get((opponent["dataset"], opponent["variant"]), [])
            for architecture in (*networks, AVERAGE):
                of = networks if architecture == AVERAGE else [architecture]
                about = {"kind": kind, "opponent": opponent["variant"], "architecture": architecture}
                shared = {c: variant[c] for c in ("dataset", "budget", "variant")}
                found.append({**shared, **about, **vars(interval(own, other, of))})
    texts = dict.fromkeys(("dataset", "variant", "kind", "opponent", "architecture", "over"), pl.String)
    numbers = {"budget": pl.Int64, "difference": pl.Float64, "half": pl.Float64, "n": pl.Int64}
    order = ("dataset", "budget", "variant", "kind", "opponent", "architecture", "difference", "half", "n", "over")
    return pl.from_dicts(found, schema={c: {**texts, **numbers}[c] for c in order})


def losing(rows: Sequence[Row], question: Question) -> "pl.DataFrame":
    """Return the lines of :func:`comparisons` in which a variant is behind on an architecture, the furthest first."""
    import polars as pl

    behind = (pl.col("difference") < 0) & (pl.col("architecture") != AVERAGE)
    return comparisons(rows, question).filter(behind).sort("difference", maintain_order=True)


def named(conditions: Mapping[str, Any]) -> str:
    """Return conditions as words: ``noe=1``, ``diversity=none, fusion=none``, a method by its name alone."""
    return ", ".join(str(v) if c == "method" else f"{c}={v}" for c, v in conditions.items())


def opponents_of(variant: Row, variants: Sequence[Row], question: Question) -> Iterator[tuple[str, Row]]:
    """Yield kind and first row of a variant's opponents; random selection has none, its tiled form that alone.

    Of the question's conditions, those count that come before the one which the variant meets itself. Tiled random
    images are an opponent of what decodes as many images as they do (where that is known).
    """
    if variant["method"] == RANDOM:
        return
    fair = [v for v in variants if all(v[c] == variant[c] for c in _FAIR) and v["variant"] != variant["variant"]]
    found: list[Row] = []
    for conditions in question.rivals if not is_random(variant) else ():
        if meets(variant, conditions):
            break
        alike = [v for v in fair if meets(v, conditions)]
        if "method" not in conditions:
            alike = [v for v in alike if v["method"] == variant["method"]]
        if alike:
            found.append(_closest(variant, alike, [c for c in _ALIKE if c not in conditions]))
            yield named(conditions), found[-1]
    if random := [v for v in fair if v["method"] == RANDOM and v not in found]:
        yield RANDOM, _closest(variant, random, _ALIKE)
    tiled = [v for v in fair if is_random(v) and v["method"] != RANDOM and v not in found]
    if alike := [v for v in tiled if len({str(n) for w in (v, variant) if (n := w.get("images_decoded"))}) < 2]:
        yield RANDOM_TILED, _closest(variant, alike, _ALIKE)


def _closest(variant: Row, others: Sequence[Row], columns: Sequence[str]) -> Row:
    """Return what is like a variant in most columns and settings, in the fusion first; of several, what is not mixed.

    Settings of the command line tell apart what no column does, such as the network that distilled.
    """
    asked = settings_of(variant).items()

    def likeness(other: Row) -> tuple[Any, ...]:
        alike = sum(other[c] == variant[c] for c in columns) + len(asked & settings_of(other).items())
        fused = "fusion" in columns and other["fusion"] == variant["fusion"]
        return fused, alike, other["fusion"] == "none"

    return max(sorted(others, key=lambda other: str(other["variant"])), key=likeness)


def interval(own: Sequence[Row], other: Sequence[Row], architectures: Sequence[str]) -> Interval:
    """Return by how much a variant's students are ahead of an opponent's, as a fraction, with its 95 % interval.

    Students of equal architecture and seed are paired, of equal distillation seed too unless the students of a side
    have a set each; a set that no seed decides (``distill_seed`` is empty) goes with every one. Architectures weigh
    alike. With pairs of several distillation seeds, replicates are the means of each that has all architectures
    (Student's t). With one, they are the pairs of students, and the interval is for this very set and these
    architectures: what others differ by is no part of it (the sum of the architectures' variances, Welch's degrees of
    freedom).

    Args:
        own: Rows of the variant's students, with ``architecture``, ``seed``, ``distill_seed`` and ``accuracy``.
        other: Rows of the opponent's.
        architectures: Those that are averaged.
    """
    differences = _differences(own, other)
    seeds = dict.fromkeys(seed for by in differences.values() for seed in by)
    whole = [s for s in seeds if all(differences.get(a, {}).get(s) for a in architectures)]
    if len(whole) > 1:
        values = [statistics.mean(statistics.mean(differences[a][s]) for a in architectures) for s in whole]
        return Interval(statistics.mean(values), half_width([values]), len(values), f"{len(whole)} {SEEDS}")
    parts = [differences[a][s] for s in whole for a in architectures]
    if not parts:
        return Interval(None, None, 0, "no pairs of students")
    n = sum(map(len, parts))
    over = f"{count([n], 'pair')} of students, one distillation seed"
    return Interval(statistics.mean(map(statistics.mean, parts)), half_width(parts), n, over)


def _differences(own: Sequence[Row], other: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Return differences of paired students by architecture and distillation seed."""
    single = all(len({row["distill_seed"] for row in rows}) == 1 for rows in (own, other))
    by_set = single or _of_several_sets(own) or _of_several_sets(other)
    partners: dict[tuple[str, str], list[Row]] = {}
    for row in other:
        partners.setdefault((row["architecture"], str(row["seed"])), []).append(row)
    held: dict[str, dict[str, list[float]]] = {}
    for row in own:
        for partner in partners.get((row["architecture"], str(row["seed"])), ()):
            seeds = [r["distill_seed"] for r in (row, partner) if r["distill_seed"] != ""]
            alike = not by_set or len(set(seeds)) < 2
            if alike and math.isfinite(lead := float(row["accuracy"]) - float(partner["accuracy"])):
                held.setdefault(row["architecture"], {}).setdefault(str(*seeds[:1]), []).append(lead)
    return held


def _of_several_sets(rows: Sequence[Row]) -> bool:
    """Say whether a student of one seed was trained on several sets; else each may have images of its own."""
    students = [(row["architecture"], str(row["seed"])) for row in rows]
    return len(set(students)) < len(students)


def leads_over_random(rows: Sequence[Row]) -> dict[str, dict[str, tuple[str, Interval]]]:
    """Return for each variant's name (see ``variant_names``) the random selections it is held against, and its leads.

    Args:
        rows: Result rows of one run.

    Returns:
        By variant, then by kind (``random``, ``random_tiled``): the opponent's name and the lead over it.
    """
    own = [
        {**r, "variant": name, "budget": budget_of(r), "accuracy": r["accuracy_last"]}
        for r, name in zip(rows, variant_names(rows), strict=True)
    ]
    students: dict[str, list[Row]] = {}
    for row in own:
        students.setdefault(row["variant"], []).append(row)
    networks = list(dict.fromkeys(str(r["architecture"]) for r in own))
    firsts = [of[0] for of in students.values()]
    leads: dict[str, dict[str, tuple[str, Interval]]] = {}
    for first in firsts:
        for kind, random in opponents_of(first, firsts, Question()):
            lead = interval(students[first["variant"]], students[random["variant"]], networks)
            leads.setdefault(first["variant"], {})[kind] = (random["variant"], lead)
    return leads


def said(line: Mapping[str, Any]) -> str:
    """Return a difference in points, ``+1.3 ± 0.9``, of a line of :func:`comparisons`; ``–`` where it has none."""
    if line["difference"] is None:
        return "–"
    half = "" if line["half"] is None else f" ± {100 * line['half']:.1f}"
    return f"{100 * line['difference']:+.1f}{half}"


def spans(overs: Iterable[str]) -> str:
    """Return what intervals are over in words, several numbers of distillation seeds as one span."""
    told = list(dict.fromkeys(overs))
    seeds = sorted(int(over.split()[0]) for over in told if over.endswith(SEEDS))
    apart = [over for over in told if not over.endswith(SEEDS)]
    return " or ".join([*([count(seeds, "distillation seed")] if seeds else []), *apart])
