"""The tables that pipelines leave: their columns, and what stands in them.

Rows of earlier versions lack some columns: of these, an empty text is taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

from moe_distill.errors import FieldError
from moe_distill.results.row_files import Empty, Nan, Schema
from moe_distill.validation.misfits import annotations_of, misfit
from moe_distill.validation.values import Count, NotNegative, Positive, Share, Text, Whole
from moe_distill.validation.wording import Where

Number = float | Nan
Accuracy = Share | Nan  # a student that diverged has none
Sizes = Annotated[
    str, Where(lambda cell: re.fullmatch(r"[1-9]\d*(\+[1-9]\d*)*", cell) is not None, "images per class, as 10 or 7+3")
]

SCORES = ("hlr", "ior", "alpha", "lrs", "beta", "ars")
TRAININGS = ("syn_any", "rnd_any", "syn_hard", "real_hard", "syn_plain", "rnd_plain")
# What a score tells of each of these.
TOLD = {
    **{"mean": Share | Empty, "std": NotNegative | Empty, "lr": Positive | Empty, "lr_from": str, "recipe": str},
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
    distill_seed: int | Empty
    seed: int
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
            raise FieldError("accuracy_best", self.accuracy_best, f"at least accuracy_last, {self.accuracy_last}")


def _until(column: str) -> dict[str, Any]:
    """Return the columns of a student's row before one of them, any of which older tables of other kinds may lack."""
    of_student = annotations_of(ResultRow)
    return {name: of_student[name] | Empty for name in [*of_student][: [*of_student].index(column)]}


def _schema(name: str, columns: Mapping[str, Any]) -> Schema:
    return make_dataclass(name, columns.items(), frozen=True)


_SEED, _KEYED = int | Empty, {"config_hash": Text, "commit": str}
_OF_SET = {"set_fingerprint": str, **_KEYED, "overrides": str, "preset_row": str}

MeasureRow = _schema(
    "MeasureRow",
    {
        **_until("data_variant"),
        **{"ipc": Sizes | Empty, "noe": Count | Empty, "diversity": str, "distill_seed": _SEED, "set_fingerprint": str},
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
        **{"onto": str, "images_per_class": Count | Empty, "architecture": Text, "distill_seed": _SEED, "seed": _SEED},
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
        **{f"{training}_{told}": annotation for training in TRAININGS for told, annotation in TOLD.items()},
        **{"w": Share | Empty, "gamma": Share | Empty, "select_on": str, "held_out": Share | Empty, "lrs_tried": str},
        **dict.fromkeys(("fusion", "augmentation", "normalisation", "teacher"), str),
        **_OF_SET,
    },
)
SCHEMAS = {"results.csv": ResultRow, "measures.csv": MeasureRow, "probe.csv": ProbeRow, "scores.csv": ScoreRow}


def columns_of(schema: Schema) -> tuple[str, ...]:
    """Return the columns of a table in order."""
    return tuple(annotations_of(schema))


def impossible(row: Any) -> str | None:
    """Return what is wrong with a student's row of the store, such as that it claims what none can reach; or None."""
    if not isinstance(row, Mapping):
        return "holds no row"
    for column in ("accuracy_last", "accuracy_best"):
        value = row.get(column, 0.0 if column == "accuracy_best" else None)
        if misfit(Accuracy, "nan" if value != value else value) is not None:
            return f"claims an accuracy of {value} ({column})"
    return None
