"""The schemas of the tables that pipelines write: their columns, allowed values, and types in a frame.

Tables of earlier versions lack some columns, which then count as empty.
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
"""A class with one annotated parameter for each column of a table, ``config_hash`` among them.

The annotations are the allowed values; building an instance refuses columns that contradict one another. A
column that allows an empty text may be missing from a file.
"""
Value = int | float | str | list[int] | None
"""The value of a cell; None where a column of numbers is empty."""

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
Seed = Annotated[int, Ge(-(2**63)), Le(2**63 - 1)]  # the range of a polars column of whole numbers

SCORES = ("hlr", "ior", "alpha", "lrs", "beta", "ars")
TRAININGS = ("syn_any", "rnd_any", "syn_hard", "real_hard", "syn_plain", "rnd_plain")
# The columns for each of these trainings in a row of scores, such as syn_any_mean.
_OF_TRAINING = {
    "mean": Share | Empty,
    "std": NotNegative | Empty,
    "lr": Positive | Empty,
    "lr_from": str,
    "recipe": str,
    "epochs": Count | Empty,
    "steps": Count | Empty,
    "batch_size": str,
    "labels": str,
}


@dataclass(frozen=True)
class ResultRow:
    """The row of one student; its fields are the columns of ``results.csv``.

    :class:`~moe_distill.evaluation.columns.StudentRow` says what each one holds.
    """

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
    teacher_seconds: NotNegative | Empty
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
        """Refuse a best accuracy below the last one.

        Raises:
            FieldError: It is below.
        """
        # NaN, of a student that diverged, is below nothing.
        if float(self.accuracy_best) < float(self.accuracy_last):
            raise FieldError(
                "accuracy_best", self.accuracy_best, f"at least accuracy_last, {self.accuracy_last}"
            )


def _until(column: str) -> dict[str, Any]:
    """Return the columns of a student's row before a column, each of which may be empty."""
    of_student = annotations_of(ResultRow)
    names = [*of_student]
    return {name: of_student[name] | Empty for name in names[: names.index(column)]}


def _schema(name: str, columns: Mapping[str, object]) -> Schema:
    return make_dataclass(name, columns.items(), frozen=True)


_SEED = Seed | Empty
_KEYED = {"config_hash": Text, "commit": str}
_OF_SET = {"set_fingerprint": str, **_KEYED, "overrides": str, "preset_row": str}

MeasureRow = _schema(
    "MeasureRow",
    {
        **_until("data_variant"),
        "ipc": Sizes | Empty,
        "noe": Count | Empty,
        "diversity": str,
        "distill_seed": _SEED,
        "set_fingerprint": str,
        "architecture": str,
        "width": Positive | Empty,
        "measure": Text,
        "value": Number,
        "real_mean": Number | Empty,
        "real_sd": Number | Empty,
        "draws": Whole | Empty,
        "networks": Count | Empty,
        "network_seed": _SEED,
        "network_accuracy": Share | Empty,
        **_KEYED,
    },
)
ProbeRow = _schema(
    "ProbeRow",
    {
        **_until("architecture"),
        "onto": str,
        "images_per_class": Count | Empty,
        "architecture": Text,
        "distill_seed": _SEED,
        "seed": _SEED,
        "accuracy": Share,
        "accuracy_untrained": Share | Empty,
        **_OF_SET,
    },
)
ScoreRow = _schema(
    "ScoreRow",
    {
        **_until("fusion"),
        "distill_seed": _SEED,
        "architecture": Text,
        "width": Positive | Empty,
        "students": Count | Empty,
        **dict.fromkeys(SCORES, float | Empty),
        **{f"{training}_{name}": allowed for training in TRAININGS for name, allowed in _OF_TRAINING.items()},
        "w": Share | Empty,
        "gamma": Share | Empty,
        "select_on": str,
        "held_out": Share | Empty,
        "lrs_tried": str,
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
    """Return the columns of a table in order.

    >>> columns_of(ResultRow)[:4]
    ('experiment', 'scale', 'method', 'roster')
    """
    return tuple(annotations_of(schema))


def dtypes_of(schema: Schema) -> "dict[str, pl.DataType]":
    """Return the polars type of each column: whole numbers, numbers, a list of sizes, or text."""
    import polars as pl

    types = {int: pl.Int64(), float: pl.Float64(), list: pl.List(pl.Int64()), str: pl.String()}
    return {column: types[kind_of(schema, column)] for column in columns_of(schema)}


@functools.cache
def kind_of(schema: Schema, column: str) -> type:
    """Return the type of a column's values: ``int``, ``float``, ``list`` (of sizes) or ``str``.

    A column that the schema does not know is text.

    >>> kind_of(ResultRow, "ipc"), kind_of(ResultRow, "lr"), kind_of(ResultRow, "onto")
    (<class 'list'>, <class 'float'>, <class 'str'>)
    """
    options = options_of(annotations_of(schema).get(column, str))
    kinds = [bounds_of(option)[0] for option in options]
    if Sizes in options:
        return list
    # Floats first: they can represent the whole numbers of a column that allows both.
    return next((kind for kind in (float, int) if kind in kinds), str)


def value_of(schema: Schema, column: str, cell: str) -> Value:
    """Return a cell as its column's type; None where a column of numbers is empty.

    Raises:
        FieldError: The column does not allow it.

    >>> value_of(ResultRow, "ipc", "7+3"), value_of(ResultRow, "lr", "0.01"), value_of(ResultRow, "lr", "")
    ([7, 3], 0.01, None)
    """
    annotation, kind = annotations_of(schema)[column], kind_of(schema, column)
    value = _number_in(cell, annotation)
    # NaN has to be allowed by its name: every comparison with a bound is false for it.
    if (wrong := misfit(annotation, "nan" if value != value else value)) is not None:
        raise FieldError(column, cell, wrong[2])
    if kind is str:
        return cell
    if cell == "":
        return None
    return sizes_of(cell) if kind is list else value


def sizes_of(cell: str) -> list[int]:
    """Return the images per class of each expert; a single number is that of every expert.

    >>> sizes_of("7+3"), sizes_of("10")
    ([7, 3], [10])
    """
    return [int(size) for size in cell.split("+")]


def as_stored(value: Value) -> int | float | str:
    """Return a value as files store it: sizes as ``7+3``, and None as an empty text.

    >>> as_stored([7, 3]), as_stored(0.5), as_stored(None)
    ('7+3', 0.5, '')
    """
    if value is None:
        return ""
    return "+".join(map(str, value)) if isinstance(value, list) else value


def _number_in(cell: str, annotation: Any) -> int | float | str:
    """Return a cell as a number if its column allows numbers and the cell is one; else unchanged."""
    kinds = [bounds_of(option)[0] for option in options_of(annotation)]
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(cell)
    return cell


def impossible(row: object) -> str | None:
    """Return what is wrong with a student's row in the store, such as an accuracy above 100 %; else None.

    >>> impossible({"accuracy_last": 0.5}), impossible({"accuracy_last": 1.5})
    (None, 'claims an accuracy of 1.5 (accuracy_last)')
    """
    if not isinstance(row, Mapping):
        return "holds no row"
    for column in ("accuracy_last", "accuracy_best"):
        # A row may lack the best accuracy, but not the last one.
        value = row.get(column, 0.0 if column == "accuracy_best" else None)
        if misfit(Accuracy, "nan" if value != value else value) is not None:
            return f"claims an accuracy of {value} ({column})"
    return None
