"""Measure: how much the experts of a set depend on one another, by the features of several architectures."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.measures import Measure as DiversityMeasure
from moe_distill.errors import InputError
from moe_distill.evaluation.measurements import MeasuredCells, Measurement, compared_sizes, sizes_of
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import NetworkFactory
from moe_distill.pipelines.evaluate import require_plans_set
from moe_distill.pipelines.finish import write_stages
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.needed_trainings import pool_trainings
from moe_distill.pipelines.stage import Pipeline, Stage, make_all
from moe_distill.pipelines.trainings import PoolTraining
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.rank_correlation import AGREEMENT, agreement
from moe_distill.results.row_files import merge_rows, write_csv
from moe_distill.results.run_tables import is_job, publish
from moe_distill.results.schema import MeasureRow, columns_of
from moe_distill.results.set_names import set_name
from moe_distill.store.locks import locked
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.terminal import say, show
from moe_distill.validation.values import Count, Text, Whole, checked

# Measures are only compared between sets that agree in these. The method is one of them: methods that decode
# more images of a stored one give more rows of features, with which the biased measures decrease.
CONDITIONS = ("dataset", "method", "ipc", "noe")
COLUMNS = columns_of(MeasureRow)


@checked
@dataclass(frozen=True)
class Measure(Pipeline):
    """Measure the dependence between the experts of a plan's set, or of the set at a path.

    Writes ``measures.csv``. The plan's set is distilled first if it is missing.

    Args:
        plan: The distillation, and the data.
        judges: Builders, by name, of the networks that compute the features; all are trained as φ is.
        measures: The measures of dependence, by name.
        networks: Number of networks of each architecture.
        seed: Seed of the networks.
        draws: Number of random draws of real training images, divided like the set among as many experts.
            They show what experts give that are independent of one another. 0 draws none.
        path: A set's file or folder instead of the plan's set.
    """

    plan: Distillation
    judges: Mapping[str, NetworkFactory]
    measures: Mapping[str, DiversityMeasure]
    networks: Count
    seed: int
    draws: Whole
    path: Text | None = None

    @property
    def pools(self) -> dict[str, PretrainedNetworks]:
        """The networks of each architecture, by its name."""
        pool = replace(self.plan.features, networks=self.networks, seed=self.seed)
        return {name: replace(pool, network=network) for name, network in self.judges.items()}

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the stages that make the set and the networks; computing the measures is quick and left out.

        Raises:
            UnknownCost: The set is at a path.
        """
        require_plans_set(self.path)
        yield from set_stages(self.plan, results)
        for pool in self.pools.values():
            yield from self._trainings(pool, results)

    def _trainings(self, pool: PretrainedNetworks, results: FinishedRows) -> list[PoolTraining]:
        train, test = self.plan.data.load(results.store.cache)
        return pool_trainings([(pool, *pool.sets(train, test, results.store.cache))])

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make what is missing, measure it, and write the table.

        Returns:
            ``rows``: a row for each architecture and measure.

        Raises:
            InputError: There is no such set, it has a single expert or too few images for any measure, or
                there are too few real images to compare with.
        """
        train, _ = self.plan.data.load(runtime.cache)
        training_set, measures = self._obtained(train, runtime)
        rows: list[MeasuredCells] = []
        for name, pool in self.pools.items():
            accuracies: list[float | None] = []
            for stage in self._trainings(pool, runtime.results):
                accuracies += stage.accuracies(runtime)
            tested = [accuracy for accuracy in accuracies if accuracy is not None]
            network_columns: MeasuredCells = {
                "architecture": name,
                "networks": self.networks,
                "network_seed": self.seed,
                "network_accuracy": statistics.mean(tested) if tested else "",
                "draws": self.draws,
            }
            measurement = Measurement(training_set, pool, measures, self.draws, train, runtime)
            rows += [{**network_columns, **row} for row in measurement.rows()]
        publish(rows, runtime.output, "measures.csv")
        write_stages(runtime)
        # A single run has one set, whose order among others is unknown.
        if is_job(runtime.output):
            _write_agreement(runtime.output.parent)
        _show(rows, runtime)
        return {"rows": rows}

    def _obtained(
        self, train: RealSet, runtime: Runtime
    ) -> tuple[TrainingSet, Mapping[str, DiversityMeasure]]:
        """Return the set, distilled now if it is missing, and the measures that it has enough images for.

        A set that cannot be measured is refused before any work.
        """
        if self.path is not None:
            training_set = training_set_of(self.plan, runtime, self.path)
            # Its sizes are only known once it is loaded; a plan knows them before it is distilled.
            sizes = sizes_of(training_set)
            _require_comparable("pipeline.path", self.path, sizes, self.draws, train)
            return training_set, _computable(self.measures, sizes, train)
        roster = self.plan.roster
        _require_comparable("noe", roster.num_experts, roster.decoded_per_class, self.draws, train)
        computable = _computable(self.measures, roster.decoded_per_class, train)
        make_all(set_stages(self.plan, runtime.results), runtime)
        return training_set_of(self.plan, runtime), computable


def _require_comparable(
    setting: str, value: int | str, sizes: Sequence[int], draws: int, train: RealSet
) -> None:
    """Refuse a single expert, and a comparison with more real images of a class than there are."""
    if len(sizes) < 2:
        raise InputError(setting, value, "a set of at least 2 experts, whose dependence can be measured")
    smallest, needed = int(train.counts().min()), sum(compared_sizes(sizes, train))
    if draws < 0 or (draws and needed > smallest):
        allowed = (
            f"0, or at least 1 where a class has {needed} real images to draw (the smallest has {smallest})"
        )
        raise InputError("pipeline.draws", draws, allowed)


def _computable(
    measures: Mapping[str, DiversityMeasure], sizes: Sequence[int], train: RealSet
) -> Mapping[str, DiversityMeasure]:
    """Return the measures that the experts have enough images for; refuse a set with too few for any."""
    rows = len(train.classes) * min(compared_sizes(sizes, train))
    enough = {name: measure for name, measure in measures.items() if measure.least_rows <= rows}
    if not enough:
        least = min(measure.least_rows for measure in measures.values())
        allowed = f"at least {least} images of each expert, or another measure; here are {rows}"
        raise InputError("pipeline.measures", ", ".join(measures), allowed)
    # Not an error, as the other measures work with fewer rows.
    if left_out := ", ".join(name for name in measures if name not in enough):
        say(f"left out, as the set has too few images for them: {left_out}")
    return enough


def _write_agreement(sweep: Path) -> None:
    """Write ``agreement.csv``: how far measures agree on the order of a sweep's sets so far."""
    # Jobs of a sweep may end at the same time, and each writes this file.
    with locked(sweep / ".lock", "paths.runs"):
        measured = merge_rows([sweep / "measures.csv"], MeasureRow).with_columns(set_name())
        rows = []
        for group in measured.partition_by(CONDITIONS, maintain_order=True):
            (conditions,) = texts_of(group.select(CONDITIONS).head(1))
            rows += [{**conditions, **pair} for pair in agreement(group)]
        write_csv(sweep / "agreement.csv", rows, (*CONDITIONS, *AGREEMENT))


def _show(rows: Sequence[MeasuredCells], runtime: Runtime) -> None:
    """Print the value of each measure and architecture, and that of real images if they were drawn."""
    table = Table(
        title=f"{runtime.experiment}: dependence of the experts of {rows[0]['roster']} / of real images"
    )
    table.add_column("measure")
    for architecture in dict.fromkeys(str(row["architecture"]) for row in rows):
        table.add_column(architecture, justify="right")
    for measure in dict.fromkeys(str(row["measure"]) for row in rows):
        cells = []
        for row in rows:
            if row["measure"] == measure:
                # Without draws there is no value of real images.
                numbers = [float(row[column]) for column in ("value", "real_mean") if row[column] != ""]
                cells.append(" / ".join(f"{number:.3g}" for number in numbers))
        table.add_row(measure, *cells)
    show(table)
    say(f"rows: {runtime.output / 'measures.csv'}")
