"""Measure: how much the experts of a set depend on one another, as networks of several architectures see
them.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.dependence import MAX_ROWS, Part, mean_dependences
from moe_distill.diversity.measures import Measure as DiversityMeasure
from moe_distill.errors import InputError
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.pipelines.evaluate import require_plans_set
from moe_distill.pipelines.finish import write_stages
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.pretrain import PoolTraining, pool_trainings
from moe_distill.pipelines.stage import Pipeline, Stage, make_all
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import Results
from moe_distill.results.rank_correlation import AGREEMENT, agreement
from moe_distill.results.row_files import merge_rows, write_csv
from moe_distill.results.run_tables import is_job, publish
from moe_distill.results.schema import MeasureRow, columns_of
from moe_distill.results.set_names import set_name
from moe_distill.seeding import stream
from moe_distill.store.identity import describe, key
from moe_distill.store.locks import locked
from moe_distill.store.store import commit, write_json
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.terminal import say, show
from moe_distill.validation.values import Count, Text, Whole, checked

KIND, KIND_REAL = "measure", "measure_real"
# Sets of methods that decode more of an image have more rows, and biased measures fall with them.
CONDITIONS = ("dataset", "method", "ipc", "noe")
_OF_SET = (*("method", "roster", "dataset", "ipc", "noe"), *("diversity", "distill_seed", "set_fingerprint"))
COLUMNS = columns_of(MeasureRow)


@checked
@dataclass(frozen=True)
class Measure(Pipeline):
    """Measure a plan's set, distilled first where it is not yet, or the set at a path; leaves
    ``measures.csv``.

    Args:
        plan: The distillation, and the data.
        judges: Builders, by name, of the networks that the experts are seen through; all trained as φ is.
        measures: By name.
        networks: Networks of each architecture.
        seed: Their seed.
        draws: How often as many real training images, dealt out at random as the set is to its experts, are
            measured for comparison: what experts that know nothing of one another give. 0 leaves this out.
        path: A set's file or folder.
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
        alike = replace(self.plan.features, networks=self.networks, seed=self.seed)
        return {name: replace(alike, network=network) for name, network in self.judges.items()}

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield what makes the set, and the networks that judge it; what the measures take of them is left
        out.

        Raises:
            UnknownCost: The set is at a path.
        """
        require_plans_set(self.path)
        yield from set_stages(self.plan, results)
        for pool in self.pools.values():
            yield from self._judging(pool, results)

    def _judging(self, pool: PretrainedNetworks, results: Results) -> list[PoolTraining]:
        train, test = self.plan.data.load(results.store.cache)
        return pool_trainings([(pool, *pool.sets(train, test, results.store.cache))])

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make what is missing, measure it, and write the table.

        Returns:
            ``rows``: a row for each architecture and measure.

        Raises:
            InputError: A single expert, too few real images to compare with, too few of the set's for all
                measures, or no such set.
        """
        train, _ = self.plan.data.load(runtime.cache)
        training_set, measures = self._obtained(train, runtime)
        rows = []
        for name, pool in self.pools.items():
            accuracies = [
                a for stage in self._judging(pool, runtime.results) for a in stage.accuracies(runtime)
            ]
            about = {
                "architecture": name,
                "networks": self.networks,
                "network_seed": self.seed,
                "draws": self.draws,
            }
            about["network_accuracy"] = statistics.mean(accuracies)
            rows += [
                {**about, **row} for row in _rows(training_set, pool, measures, self.draws, train, runtime)
            ]
        publish(rows, runtime.output, "measures.csv")
        write_stages(runtime)
        if is_job(runtime.output):
            _agree(runtime.output.parent)
        _show(rows, runtime)
        return {"rows": rows}

    def _obtained(
        self, train: RealSet, runtime: Runtime
    ) -> tuple[TrainingSet, Mapping[str, DiversityMeasure]]:
        """Return the set, distilled now where it is not yet, and what it can be measured by.

        What cannot be measured is refused before any work.
        """
        if self.path is not None:
            training_set = training_set_of(self.plan, runtime, self.path)
            _require("pipeline.path", self.path, _sizes(training_set), self.draws, train)
            return training_set, _computable(self.measures, _sizes(training_set), train)
        roster = self.plan.roster
        _require("noe", roster.num_experts, roster.decoded_per_class, self.draws, train)
        computable = _computable(self.measures, roster.decoded_per_class, train)
        make_all(set_stages(self.plan, runtime.results), runtime)
        return training_set_of(self.plan, runtime), computable


def _sizes(training_set: TrainingSet) -> list[int]:
    """Return the decoded images per class of each expert."""
    return (training_set.pool.experts_M.bincount() // training_set.pool.classes).tolist()


def _require(name: str, value: Any, sizes: Sequence[int], draws: int, train: RealSet) -> None:
    """Refuse a single expert, and a comparison with more real images of a class than there are."""
    if len(sizes) < 2:
        raise InputError(name, value, "a set of at least 2 experts, whose dependence can be measured")
    smallest, wanted = int(train.counts().min()), sum(_compared(sizes, train))
    if draws < 0 or (draws and wanted > smallest):
        allowed = (
            f"0, or at least 1 where a class has {wanted} real images to draw (the smallest has {smallest})"
        )
        raise InputError("pipeline.draws", draws, allowed)


def _computable(
    measures: Mapping[str, DiversityMeasure], sizes: Sequence[int], train: RealSet
) -> Mapping[str, DiversityMeasure]:
    """Return the measures for which the experts have images enough; refuse a set that has enough for none."""
    rows = len(train.classes) * min(_compared(sizes, train))
    enough = {name: measure for name, measure in measures.items() if measure.least_rows <= rows}
    if not enough:
        least = min(measure.least_rows for measure in measures.values())
        allowed = f"at least {least} images of each expert, or another measure; here are {rows}"
        raise InputError("pipeline.measures", ", ".join(measures), allowed)
    if left_out := ", ".join(name for name in measures if name not in enough):
        say(f"left out, as the set has too few images for them: {left_out}")
    return enough


def _compared(sizes: Sequence[int], train: RealSet) -> list[int]:
    """Return how many images of each class are compared of experts that have ``sizes`` of them."""
    return [min(size, max(1, MAX_ROWS // len(train.classes))) for size in sizes]


def _rows(
    training_set: TrainingSet,
    pool: PretrainedNetworks,
    measures: Mapping[str, DiversityMeasure],
    draws: int,
    train: RealSet,
    runtime: Runtime,
) -> list[dict[str, Any]]:
    """Return the rows of one architecture, from the store or computed now."""
    own, _ = pool.sets(train, train, runtime.cache)
    seen_by = [pool.settings(own, index) for index in range(pool.networks)]
    common = {"networks": seen_by, "measures": describe(measures), "most_rows": MAX_ROWS}
    of_set = {**common, "set": training_set.settings}
    dealt = _compared(_sizes(training_set), train)
    real = {"data": train.fingerprint, "statistics": train.statistics, "sizes": dealt, "draws": draws}

    def networks() -> list[Network]:
        return [network.to(runtime.device) for network in pool.load(runtime.store, train)]

    def make(folder: Path) -> None:
        write_json(folder / "values.json", mean_dependences(_parts(training_set), networks(), measures))

    def make_real(folder: Path) -> None:
        judging, images = networks(), train.to(runtime.device)
        drawn = [mean_dependences(_dealt(images, dealt, d), judging, measures) for d in range(draws)]
        write_json(folder / "values.json", {name: [values[name] for values in drawn] for name in measures})

    held = json.loads((runtime.store.obtain(KIND, of_set, make) / "values.json").read_text())
    chance = json.loads(
        (runtime.store.obtain(KIND_REAL, {**common, **real}, make_real) / "values.json").read_text()
    )
    told = {**{column: training_set.columns[column] for column in _OF_SET}, "commit": commit()}
    told |= {"experiment": runtime.experiment, "scale": runtime.scale}
    told["width"] = getattr(pool.network, "keywords", {}).get("width", 1.0)
    return [
        {
            **told,
            **{"measure": name, "value": held[name], "config_hash": key([of_set, real, name])},
            "real_mean": statistics.mean(chance[name]) if draws else "",
            "real_sd": statistics.stdev(chance[name]) if draws > 1 else "",
        }
        for name in measures
    ]


def _parts(training_set: TrainingSet) -> list[Part]:
    """Return the final decoded images of each expert."""
    pool = training_set.pool
    rows = [pool.experts_M.eq(expert).nonzero().squeeze(1) for expert in range(len(training_set.stored))]
    images = [pool.take(rows_N) for rows_N in rows]
    return [(x, pool.labels_M[rows_N].to(x.device)) for x, rows_N in zip(images, rows, strict=True)]


def _dealt(real: RealSet, sizes: Sequence[int], draw: int) -> list[Part]:
    """Return disjoint random parts of the real images, ``sizes`` of every class, in the order of the
    classes.
    """
    rng = stream(draw, "measure", "real")
    parts: list[list[torch.Tensor]] = [[] for _ in sizes]
    for rows in (real.class_indices(c) for c in range(len(real.classes))):
        shuffled = rows[torch.randperm(len(rows), generator=rng)[: sum(sizes)]]
        for part, own in zip(parts, shuffled.split(list(sizes)), strict=True):
            part.append(own)
    return [real.at(torch.cat(part)) for part in parts]


def _agree(sweep: Path) -> None:
    """Write ``agreement.csv`` of all a sweep's sets so far, those of equal data, method and budget
    together.
    """
    with locked(sweep / ".lock", "paths.runs"):
        rows = merge_rows([sweep / "measures.csv"], MeasureRow).with_columns(set_name())
        told = []
        for group in rows.partition_by(CONDITIONS, maintain_order=True):
            (conditions,) = texts_of(group.select(CONDITIONS).head(1))
            told += [{**conditions, **line} for line in agreement(group)]
        write_csv(sweep / "agreement.csv", told, (*CONDITIONS, *AGREEMENT))


def _show(rows: Sequence[Mapping[str, Any]], runtime: Runtime) -> None:
    shown = Table(
        title=f"{runtime.experiment}: dependence of the experts of {rows[0]['roster']} / of real images"
    )
    shown.add_column("measure")
    for name in dict.fromkeys(row["architecture"] for row in rows):
        shown.add_column(name, justify="right")
    for name in dict.fromkeys(row["measure"] for row in rows):
        own = [
            [row[c] for c in ("value", "real_mean") if row[c] != ""] for row in rows if row["measure"] == name
        ]
        shown.add_row(name, *(" / ".join(f"{value:.3g}" for value in pair) for pair in own))
    show(shown)
    say(f"rows: {runtime.output / 'measures.csv'}")
