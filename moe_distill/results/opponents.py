"""The opponents that each variant is compared with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from moe_distill.results.question import Question, meets
from moe_distill.results.rows import RANDOM, RANDOM_TILED, are_random

if TYPE_CHECKING:
    import polars as pl

# An opponent is equal in all of these, so that the comparison is fair ...
_FAIR = ["dataset", "recipe", "recipe_key", "budget"]
# ... and of several candidates the one is taken that is equal in most of these.
_ALIKE = (
    *("data_variant", "noe", "partition", "init", "iterations"),
    *("diversity", "regulariser", "fusion", "width"),
)
_LINE = ["dataset", "budget", "variant", "kind", "opponent"]
_OTHER = " of the other"


def format_conditions(conditions: Mapping[str, object]) -> str:
    """Return conditions as words, a method by its name alone.

    >>> format_conditions({"diversity": "none", "noe": 1}), format_conditions({"method": "idm"})
    ('diversity=none, noe=1', 'idm')
    """
    return ", ".join(str(v) if c == "method" else f"{c}={v}" for c, v in conditions.items())


def opponents_of(frame: "pl.DataFrame", question: Question) -> "pl.DataFrame":
    """Return the opponents of each variant; random images have none, tiled ones only plain random images.

    An opponent has the same data set, recipe and budget, and the same method unless the question names one;
    of several candidates it is the one that is most like the variant otherwise. The question's conditions are
    rungs of a ladder: a variant is compared with those before the first one that it meets itself. Tiled
    random images are an opponent of variants that decode as many images as they do (where that is known).

    Args:
        frame: Result rows, with ``variant`` and ``budget``.
        question: The experiment's question, which names the opponents.

    Returns:
        Columns ``dataset, budget, variant, kind, opponent``: variants in the order of the rows, opponents in
        that of the question's conditions.
    """
    import polars as pl

    variants = frame.unique(["dataset", "variant"], keep="first", maintain_order=True).with_row_index("place")
    rungs = [meets(variants, conditions) for conditions in question.rivals]
    met_first = (pl.when(met).then(rung) for rung, met in enumerate(rungs))
    variants = variants.with_columns(
        climbed=pl.min_horizontal(*met_first, pl.lit(len(rungs))),
        is_random=are_random(),
        **{f"meets {rung}": met for rung, met in enumerate(rungs)},
    )
    pairs = _pairs(variants)
    by_question = _named_by(question, pairs)
    # An opponent that the question names already is not listed again as a random selection.
    listed = by_question.select("place", pl.col("opponent").alias(f"variant{_OTHER}"))
    others = pairs.join(listed, on=listed.columns, how="anti")
    is_plain = pl.col(f"method{_OTHER}") == RANDOM
    decoded = [pl.col(f"images_decoded{side}") for side in ("", _OTHER)]
    as_many = (decoded[0] == decoded[1]).fill_null(True)
    plain = _closest(others.filter(is_plain), _ALIKE, RANDOM)
    tiled = others.filter(pl.col(f"is_random{_OTHER}") & ~is_plain & as_many)
    lines = pl.concat([by_question, plain, _closest(tiled, _ALIKE, RANDOM_TILED)])
    return lines.sort("place", maintain_order=True).select(_LINE)


def _named_by(question: Question, pairs: "pl.DataFrame") -> "pl.DataFrame":
    """Return the opponents that a question names, by conditions that a variant does not meet yet."""
    import polars as pl

    lines = [_closest(pairs.clear(), _ALIKE, "")]  # gives the columns where there are no conditions
    for rung, conditions in enumerate(question.rivals):
        above = ~pl.col("is_random") & (pl.col("climbed") > rung)
        candidates = pairs.filter(above, pl.col(f"meets {rung}{_OTHER}"))
        if "method" not in conditions:
            candidates = candidates.filter(pl.col("method") == pl.col(f"method{_OTHER}"))
        columns = [c for c in _ALIKE if c not in conditions]
        lines.append(_closest(candidates, columns, format_conditions(conditions)))
    return pl.concat(lines)


def _pairs(variants: "pl.DataFrame") -> "pl.DataFrame":
    """Return all pairs of a variant and another one that it may be compared with."""
    import polars as pl

    variants = variants.select(
        *("place", "variant", "method", "is_random", "climbed", "images_decoded", "settings"),
        *(*_FAIR, *_ALIKE),
        pl.selectors.starts_with("meets "),
    )
    pairs = variants.filter(pl.col("method") != RANDOM).join(
        variants, on=_FAIR, suffix=_OTHER, nulls_equal=True, maintain_order="left_right"
    )
    return pairs.filter(pl.col("variant") != pl.col(f"variant{_OTHER}"))


def _closest(pairs: "pl.DataFrame", columns: Sequence[str], kind: str) -> "pl.DataFrame":
    """Return for each variant the pair that is alike in most columns and settings, in the fusion first.

    Ties go to the opponent that is not mixed, then to the first by name.

    Args:
        pairs: What may be compared.
        columns: The columns that count.
        kind: What the opponents are called by.
    """
    import polars as pl

    def equal(column: str) -> pl.Expr:
        return pl.col(column).eq_missing(pl.col(f"{column}{_OTHER}"))

    def equal_setting(key: str) -> pl.Expr:
        sides = [pl.col(f"settings{side}").struct.field(key) for side in ("", _OTHER)]
        return (sides[0] == sides[1]).fill_null(False)

    # Settings distinguish what no column does, such as the network that distilled.
    settings = pairs["settings"].struct.fields
    alike = pl.sum_horizontal(*map(equal, columns), *map(equal_setting, settings))
    likeness = [*map(equal, {"fusion"} & {*columns}), alike, pl.col(f"fusion{_OTHER}") == "none"]
    descending = [*(True for _ in likeness), False]
    ordered = pairs.sort(*likeness, f"variant{_OTHER}", descending=descending, maintain_order=True)
    best = ordered.unique("place", keep="first", maintain_order=True)
    return best.select("place", *_LINE[:3], kind=pl.lit(kind), opponent=f"variant{_OTHER}")
