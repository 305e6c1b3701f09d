"""The schemas of the tables that pipelines leave: their columns, what they hold, and their types in a frame.

Rows of earlier versions lack some columns: of these, an empty text is taken.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from moe_distill.errors import FieldError
from moe_distill.validation.misfits import annotations_of, misfit
from moe_distill.validation.values import Count, NotNegative, Positive, Share, Text, Whole
from moe_distill.validation.wording import Where, bounds_of, options_of

if TYPE_CHECKING:
    import polars as pl

Schema = Callable[..., Any]
"""A class whose parameters are the columns of a table, ``config_hash`` among them, and say what they take.

What only two of them together show is refused when it is built. A column that takes an empty text may be
missing, as older tables lack some.
"""
Value = int | float | str | list[int] | None
"""What a cell of a table holds; None where a column of numbers is empty."""

Empty = Annotated[str, Where(lambda cell: cell == "", "nothing")]
Nan = Annotated[str, Where(lambda cell: cell == "nan", "nan")]

Number = float | Nan
Accuracy = Share | Nan  # a student that diverged has none
Sizes = Annotated[
    str,
    Where(
        lambda cell: re.fullmatch(r"[1-9]\d*(\+[1-9]\d*)*", cell) is not None,
        "images per class, as 10 or 7+3",
    ),
]
Seed = Annotated[int, Ge(-(2**63)), Le(2**63 - 1)]  # what a column of whole numbers can hold

SCORES = ("hlr", "ior", "alpha", "lrs", "beta", "ars")
TRAININGS = ("syn_any", "rnd_any", "syn_hard", "real_hard", "syn_plain", "rnd_plain")
# What a row of scores says about each of these trainings, in columns such as syn_any_mean.
_OF_TRAINING = {
    **{
        "mean": Share | Empty,
        "std": NotNegative | Empty,
        "lr": Positive | Empty,
        "lr_from": str,
        "recipe": str,
    },
    **{"epochs": Count | Empty, "steps": Count | Empty, "batch_size": str, "labels": str},
}


@dataclass(frozen=True)
class ResultRow:
    """A student's row."""

    experiment: str
    scale: str
    method: Text
    roster: Text
    dataset: Text
    data_variant: str
    partition: str
    init: str
    ipc: Sizes
    noe: Count
    iterations: Whole | Empty
    diversity: str
    dcor2_unbiased: Number | Empty
    regulariser: str
    fusion: str
    recipe: Text
    recipe_key: str
    architecture: Text
    width: Positive | Empty
    distill_seed: Seed | Empty
    seed: Seed
    accuracy_last: Accuracy
    accuracy_best: Accuracy
    lr: Positive | Empty
    epochs: Count
    steps: Count
    images_decoded: Count
    distill_seconds: NotNegative | Empty
    train_seconds: NotNegative
    peak_memory_mb: NotNegative
    device: str
    dtype: str
    hardware: str
    set_fingerprint: Text
    config_hash: Text
    commit: str
    overrides: str
    preset_row: str

    def __post_init__(self) -> None:
        """Refuse a best accuracy that is not the best."""
        if float(self.accuracy_best) < float(self.accuracy_last):  # as a student that diverged has not
            raise FieldError(
                "accuracy_best", self.accuracy_best, f"at least accuracy_last, {self.accuracy_last}"
            )


def _until(column: str) -> dict[str, Any]:
    """Return the columns of a student's row before one of them; older tables of other kinds may lack any."""
    of_student = annotations_of(ResultRow)
    return {name: of_student[name] | Empty for name in [*of_student][: [*of_student].index(column)]}


def _schema(name: str, columns: Mapping[str, Any]) -> Schema:
    return make_dataclass(name, columns.items(), frozen=True)


_SEED, _KEYED = Seed | Empty, {"config_hash": Text, "commit": str}
_OF_SET = {"set_fingerprint": str, **_KEYED, "overrides": str, "preset_row": str}

MeasureRow = _schema(
    "MeasureRow",
    {
        **_until("data_variant"),
        **{
            "ipc": Sizes | Empty,
            "noe": Count | Empty,
            "diversity": str,
            "distill_seed": _SEED,
            "set_fingerprint": str,
        },
        **{"architecture": str, "width": Positive | Empty, "measure": Text, "value": Number},
        **{"real_mean": Number | Empty, "real_sd": Number | Empty, "draws": Whole | Empty},
        **{"networks": Count | Empty, "network_seed": _SEED, "network_accuracy": Share | Empty},
        **_KEYED,
    },
)
ProbeRow = _schema(
    "ProbeRow",
    {
        **_until("architecture"),
        **{
            "onto": str,
            "images_per_class": Count | Empty,
            "architecture": Text,
            "distill_seed": _SEED,
            "seed": _SEED,
        },
        **{"accuracy": Share, "accuracy_untrained": Share | Empty},
        **_OF_SET,
    },
)
ScoreRow = _schema(
    "ScoreRow",
    {
        **_until("fusion"),
        **{"distill_seed": _SEED, "architecture": Text, "width": Positive | Empty, "students": Count | Empty},
        **dict.fromkeys(SCORES, float | Empty),
        **{f"{training}_{what}": takes for training in TRAININGS for what, takes in _OF_TRAINING.items()},
        **{
            "w": Share | Empty,
            "gamma": Share | Empty,
            "select_on": str,
            "held_out": Share | Empty,
            "lrs_tried": str,
        },
        **dict.fromkeys(("fusion", "augmentation", "normalisation", "teacher"), str),
        **_OF_SET,
    },
)
SCHEMAS = {
    "results.csv": ResultRow,
    "measures.csv": MeasureRow,
    "probe.csv": ProbeRow,
    "scores.csv": ScoreRow,
}


def columns_of(schema: Schema) -> tuple[str, ...]:
    """Return the columns of a table in order."""
    return tuple(annotations_of(schema))


def dtypes_of(schema: Schema) -> "dict[str, pl.DataType]":
    """Return the polars type of each column of a table: whole numbers, numbers, a list of sizes, or text."""
    import polars as pl

    types = {int: pl.Int64(), float: pl.Float64(), list: pl.List(pl.Int64()), str: pl.String()}
    return {column: types[kind_of(schema, column)] for column in columns_of(schema)}


@functools.cache
def kind_of(schema: Schema, column: str) -> type:
    """Return what a column holds: ``int``, ``float``, ``list`` (of sizes) or ``str``, as any other column."""
    options = options_of(annotations_of(schema).get(column, str))
    kinds = [bounds_of(option)[0] for option in options]
    return list if Sizes in options else next((kind for kind in (float, int) if kind in kinds), str)


def value_of(schema: Schema, column: str, cell: str) -> Value:
    """Return what a cell of a table says, as its column's type; None where a column of numbers is empty.

    Raises:
        FieldError: The column does not take it.
    """
    annotation, kind = annotations_of(schema)[column], kind_of(schema, column)
    value = _number_in(cell, annotation)
    if (wrong := misfit(annotation, "nan" if value != value else value)) is not None:
        raise FieldError(column, cell, wrong[2])
    if kind is str:
        return cell
    if cell == "":
        return None
    return sizes_of(cell) if kind is list else value


def sizes_of(cell: str) -> list[int]:
    """Return the images per class of each expert, of ``7+3`` 7 and 3; one number is that of every expert."""
    return [int(size) for size in cell.split("+")]


def as_stored(value: Value) -> int | float | str:
    """Return a value as files have it: sizes as ``7+3``, and an empty text for none."""
    if value is None:
        return ""
    return "+".join(map(str, value)) if isinstance(value, list) else value


def _number_in(cell: str, annotation: Any) -> int | float | str:
    """Return a cell as a number where its column takes one and it is one."""
    kinds = [bounds_of(option)[0] for option in options_of(annotation)]
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(cell)
    return cell


def impossible(row: Any) -> str | None:
    """Return what is wrong with a student's row of the store, such as a claim of more than 100 %; or None."""
    if not isinstance(row, Mapping):
        return "holds no row"
    for column in ("accuracy_last", "accuracy_best"):
        value = row.get(column, 0.0 if column == "accuracy_best" else None)
        if misfit(Accuracy, "nan" if value != value else value) is not None:
            return f"claims an accuracy of {value} ({column})"
    return None
