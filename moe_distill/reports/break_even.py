"""After how many trainings distilling pays: the cost of making a set against trainings on all real data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_distill.results.set_names import set_name

if TYPE_CHECKING:
    import polars as pl

FULL = "full_dataset"
# Trainings are compared on the same images and network; another image size changes their cost.
_SAME_TASK = ("dataset", "data_variant", "data.size", "architecture")


@dataclass(frozen=True)
class BreakEven:
    """What a set costs and saves on one network; times in seconds.

    Attributes:
        variant: The set's name.
        network: The students' network.
        made: Training the teachers and distilling.
        training: Training one student on the set.
        full: Training one student on all real data.
    """

    variant: str
    network: str
    made: float
    training: float
    full: float

    @property
    def after(self) -> float:
        """The fewest trainings n with made + n · training ≤ n · full; infinite if a training saves nothing.

        >>> BreakEven("dm5x2", "convnet3", made=100.0, training=1.0, full=11.0).after
        10
        """
        saved = self.full - self.training
        return math.ceil(self.made / saved) if saved > 0 else math.inf


def break_even(frame: "pl.DataFrame", teachers: Mapping[str, float]) -> list[BreakEven]:
    """Return what each set costs and saves on networks that were also trained on all of the same data.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them: with ``variant``,
            and with ``data.size`` where any command line set it.
        teachers: Seconds that training the teachers of a set took, by the set's name (``set_of``); sets that
            it lacks are left out.
    """
    import polars as pl

    if "data.size" not in frame.columns:
        frame = frame.with_columns(pl.lit("").alias("data.size"))
    rows = frame.with_columns(
        set_name(),
        pl.col("data.size", "data_variant").fill_null(""),  # null never equals null in a join
    ).drop_nulls("train_seconds")  # students to come
    of_full = rows.filter(pl.col("method") == FULL)
    full = of_full.group_by(_SAME_TASK).agg(full=pl.col("train_seconds").mean())
    # With its types: a set without teachers costs the whole number 0, and there may be no set at all.
    types = {"set_fingerprint": pl.String, "teachers": pl.Float64}
    costs = pl.DataFrame([[*teachers], [float(seconds) for seconds in teachers.values()]], schema=types)
    sets = rows.filter(pl.col("method") != FULL).drop_nulls("distill_seconds")
    sets = sets.join(costs, on="set_fingerprint", maintain_order="left")
    # By method too, as sets of several may share a variant's name.
    sets = sets.group_by(*_SAME_TASK, "variant", "method", maintain_order=True).agg(
        made=(pl.col("distill_seconds") + pl.col("teachers")).mean(), training=pl.col("train_seconds").mean()
    )
    # An inner join: networks that were not trained on all data have nothing to compare with.
    lines = sets.join(full, on=_SAME_TASK, maintain_order="left")
    return [
        BreakEven(*line)
        for line in lines.select("variant", "architecture", "made", "training", "full").rows()
    ]
