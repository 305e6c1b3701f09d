"""What the sets of a sweep cost to make, beside the accuracies that they give."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_TIMES = ("distill_seconds", "teacher_seconds", "core_seconds")


@dataclass(frozen=True)
class Spent:
    """What a variant's sets cost on average.

    Attributes:
        variant: The variant's name, with its data set's where there are several.
        accuracy: The mean over networks, a fraction.
        distilling: Wall time, in seconds.
        teachers: That of all networks whose training a set waits for.
        core: Core time of both, in seconds.
        memory: The most that a set or its students took, in MiB.
    """

    variant: str
    accuracy: float
    distilling: float
    teachers: float
    core: float
    memory: float


def spent(frame: "pl.DataFrame") -> list[Spent]:
    """Return what each variant's sets cost, the cheapest first; those of unknown cost are left out.

    Args:
        frame: Result rows as :func:`~moe_distill.results.question.to_frame` returns them.
    """
    import polars as pl

    known = frame.filter(pl.col("accuracy").is_finite()).drop_nulls("core_seconds")
    name = pl.col("variant")
    if known["dataset"].n_unique() > 1:
        name = pl.format("{} {}", "dataset", "variant")
    figures = pl.col("accuracy", *_TIMES).mean(), pl.col("peak_memory_mb").max()
    # By network first, so that networks weigh alike however many students each has.
    by_network = known.group_by(name.alias("name"), "architecture", maintain_order=True).agg(figures)
    sets = by_network.group_by("name", maintain_order=True).agg(figures)
    columns = ("name", "accuracy", *_TIMES, "peak_memory_mb")
    return [Spent(*line) for line in sets.sort("core_seconds", maintain_order=True).select(columns).rows()]
