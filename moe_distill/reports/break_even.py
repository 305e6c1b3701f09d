"""After how many trainings distilling pays: what a set costs to make, against trainings on all real data."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moe_distill.results.rows import Row
from moe_distill.results.set_names import set_of

FULL = "full_dataset"
_DATA = ("dataset", "data_variant", "data.size")
_Of = tuple[str, ...]  # data, and last the network


@dataclass(frozen=True)
class BreakEven:
    """What a set costs and saves on one network; seconds.

    Attributes:
        variant: The set's name.
        network: Of the students.
        made: Teachers and distilling.
        training: Of one student on the set.
        full: Of one student on all real data.
    """

    variant: str
    network: str
    made: float
    training: float
    full: float

    @property
    def after(self) -> float:
        """The fewest trainings n for which made + n · training ≤ n · full; infinite where a training saves
        nothing.
        """
        saved = self.full - self.training
        return math.ceil(self.made / saved) if saved > 0 else math.inf


def break_even(
    rows: Sequence[Row], variants: Sequence[str], teachers: Mapping[str, float]
) -> list[BreakEven]:
    """Return what each set costs and saves, for networks also trained on all data of the same set and size.

    Args:
        rows: Result rows, with ``data.size`` where the command line set it.
        variants: What each row's set is called.
        teachers: Seconds that the networks trained beforehand took, by the set's fingerprint; sets of which
            that is not known are left out.
    """
    full: dict[_Of, list[float]] = {}
    of_sets: dict[tuple[_Of, str, str], list[tuple[float, float]]] = {}
    for row, variant in zip(rows, variants, strict=True):
        of = (*(str(row.get(c) or "") for c in _DATA), str(row["architecture"]))
        if row["method"] == FULL:
            full.setdefault(of, []).append(float(row["train_seconds"]))
        elif row["distill_seconds"] not in ("", None) and set_of(row) in teachers:
            made = float(row["distill_seconds"]) + teachers[set_of(row)]
            of_sets.setdefault((of, variant, str(row["method"])), []).append(
                (made, float(row["train_seconds"]))
            )
    lines = []
    for (of, variant, _), costs in of_sets.items():
        if of in full:
            made, training = (statistics.mean(column) for column in zip(*costs, strict=True))
            lines.append(BreakEven(variant, of[-1], made, training, statistics.mean(full[of])))
    return lines
