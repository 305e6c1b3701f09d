"""Result rows: their columns, and the tables they make."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moe_distill.results.schema import ResultRow, columns_of
from moe_distill.results.set_names import set_of

# Methods whose images are real ones, drawn at random: what others are compared with.
RANDOM, RANDOM_TILED = REAL = "random", "random_tiled"
COLUMNS = columns_of(ResultRow)

_APART = (
    *("dataset", "partition", "init", "diversity", "regulariser", "fusion", "recipe"),
    *("data_variant", "iterations", "images_decoded", "epochs"),
)
_STUDENT = (*COLUMNS[1 : COLUMNS.index("distill_seed")], "seed")
# What is known of a row before its set is made, but for the student; and what of its set is seen after it is judged.
_FORESEEN = (
    *("scale", "method", "roster", "dataset", "data_variant", "partition", "init", "ipc", "noe", "diversity"),
    *("regulariser", "fusion", "recipe", "recipe_key", "distill_seed"),
)
_SEEN = ("iterations", "dcor2_unbiased", "epochs", "images_decoded", "set_fingerprint")
# Settings of which the columns say all that reached the student.
_DESCRIBED = {"fusion", "mixup_alpha", "seed", "students"}

Row = Mapping[str, Any]


def is_random(row: Row) -> bool:
    """Say whether a row's images are real ones drawn at random, as they are or tiled."""
    return set(str(row["method"]).split("+")) <= {*REAL}


def is_trained(row: Row) -> bool:
    """Say whether a row tells of a student that was trained; others stand for students to come."""
    return row["accuracy_last"] not in ("", None)


def distinct(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows once a student, the first of each, one that was trained before one to come.

    Two tell of one student where two cells differ in what cannot touch it, such as in how they mix images across
    experts where there is a single expert. Where both were trained, their accuracies may differ in the last digits, by
    threads or by a device's order of sums. A student that several distillation seeds lead to, as a selection draws
    nothing, is told as of none of them (``distill_seed`` is empty).

    Of students to come, what is not known beforehand is taken from one that was trained on the same set; else it stays
    None, and what names the set is made up of the job's settings.
    """
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    seeds: dict[tuple[Any, ...], set[str]] = {}
    for row in _completed(rows):
        of = (*(str(row.get(c) or "") for c in _STUDENT), set_of(row), _settings_left(row))
        if of not in first or (is_trained(row) and not is_trained(first[of])):
            first[of] = dict(row)
        seeds.setdefault(of, set()).add(str(row["distill_seed"]))
    return [{**row, "distill_seed": ""} if len(seeds[of]) > 1 else row for of, row in first.items()]


def _settings_left(row: Row) -> frozenset[tuple[str, str]]:
    """Return what a row's job set on its command line, but what the columns tell in full."""
    return frozenset((k, v) for k, v in settings_of(row).items() if k not in _DESCRIBED)


def _completed(rows: Sequence[Row]) -> list[Row]:
    def set_of(row: Row) -> tuple[Any, ...]:
        return (*(str(row.get(c) or "") for c in _FORESEEN), _settings_left(row))

    kin = {set_of(row): row for row in rows if is_trained(row)}
    found: list[Row] = []
    for row in rows:
        if not is_trained(row):
            made_by = sorted(_settings_left(row) | {("seed", str(row["distill_seed"]))})
            unknown = {**dict.fromkeys(_SEEN), "set_fingerprint": str(made_by)}
            like = kin.get(set_of(row), unknown)
            row = {**row, **{c: like[c] for c in _SEEN}}
        found.append(row)
    return found


def variant_names(rows: Sequence[Row], within: Sequence[str] = ()) -> list[str]:
    """Name what each row's student was trained on and how: the roster, and what else tells its rows apart.

    What no column in words tells apart goes by a number: a recipe by its settings', a set by its fingerprint where one
    distillation seed has several. A value that is None is not known yet and tells nothing apart.

    Args:
        rows: The rows, with the columns of :data:`COLUMNS`.
        within: Columns that are told elsewhere: names need to be unique among rows alike in these only.
    """
    names = [""] * len(rows)
    for roster in _parted(rows, [list(range(len(rows)))], ("roster",)):
        groups, shown = _parted(rows, [roster], within), ["roster"]
        for column in (*_APART, "recipe_key"):
            if any(len({rows[i][column] for i in group} - {None}) > 1 for group in groups):
                shown.append(column)
                groups = _parted(rows, groups, (column,))
        for group in groups:
            apart = _asked_apart([rows[i] for i in group])
            for i in group:
                words = (str(rows[i][c]) for c in shown if rows[i][c] is not None)
                names[i] = " ".join([*words, *apart.get(set_of(rows[i]), ())])
    return names


def _asked_apart(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return what tells sets of one distillation seed apart: what their jobs' command lines set, else a fingerprint."""
    by_seed: dict[Any, set[str]] = {}
    for row in rows:
        by_seed.setdefault(row["distill_seed"], set()).add(set_of(row))
    if all(len(prints) == 1 for prints in by_seed.values()):
        return {}
    asked = {set_of(row): settings_of(row) for row in rows}
    common = set.intersection(*(set(settings.items()) for settings in asked.values()))
    words = {p: [f"{k}={v}" for k, v in s.items() if (k, v) not in common and k != "seed"] for p, s in asked.items()}
    told = all(len({tuple(words[p]) for p in prints}) == len(prints) for prints in by_seed.values())
    return words if told else {p: [p[:8]] for p in asked}


def settings_of(row: Row) -> dict[str, str]:
    """Return what a row's job set on its command line, by key; a comma in brackets parts nothing."""
    parts = re.split(r",(?![^\[{]*[\]}])", str(row.get("overrides") or ""))
    return {key.lstrip("+"): value for key, _, value in (part.partition("=") for part in parts if part)}


def _parted(rows: Sequence[Row], groups: Sequence[list[int]], columns: Sequence[str]) -> list[list[int]]:
    """Part groups of places by what stands in some columns, in the order first met."""
    parts: dict[tuple[Any, ...], list[int]] = {}
    for number, group in enumerate(groups):
        for i in group:
            parts.setdefault((number, *(rows[i][c] for c in columns)), []).append(i)
    return list(parts.values())


def table(rows: Sequence[Row]) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Return architectures in order and, by variant and architecture, last-epoch accuracies (fractions)."""
    architectures = list(dict.fromkeys(str(r["architecture"]) for r in rows))
    cells: dict[str, dict[str, list[float]]] = {}
    for name, row in zip(variant_names(rows), rows, strict=True):
        cell = cells.setdefault(name, {}).setdefault(str(row["architecture"]), [])
        cell.append(float(row["accuracy_last"]))
    return architectures, cells


def budget_of(row: Row) -> int:
    """Return the images per class of all experts together."""
    sizes = [int(size) for size in str(row["ipc"]).split("+")]
    return sum(sizes) if len(sizes) > 1 else sizes[0] * int(row["noe"])
