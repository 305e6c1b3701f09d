"""Dependence between the experts of a set, and between random real images for comparison."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.dependence import MAX_ROWS, Part, mean_dependences
from moe_distill.diversity.measures import Measure
from moe_distill.evaluation.columns import cells_of
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.store.identity import describe, key
from moe_distill.store.store import commit, write_json
from moe_distill.teachers.pool import PretrainedNetworks

V = TypeVar("V")
KIND, KIND_REAL = "measure", "measure_real"
_SET_COLUMNS = ("method", "roster", "dataset", "ipc", "noe", "diversity", "distill_seed", "set_fingerprint")
MeasuredCells = dict[str, int | float | str]
"""A row of ``measures.csv`` before it is written; what is not known is an empty text."""


def sizes_of(training_set: TrainingSet) -> list[int]:
    """Return the decoded images per class of each expert."""
    return (training_set.pool.experts_M.bincount() // training_set.pool.classes).tolist()


def compared_sizes(sizes: Sequence[int], train: RealSet) -> list[int]:
    """Return how many images per class of each expert are compared, given how many there are."""
    # Measures cost the square of the rows, so `mean_dependences` takes at most MAX_ROWS of an expert.
    return [min(size, max(1, MAX_ROWS // len(train.classes))) for size in sizes]


@dataclass(frozen=True)
class Measurement:
    """The dependence between a set's experts, as the networks of one architecture see them.

    Attributes:
        training_set: The set whose experts are measured.
        pool: The networks, trained before, that compute the features.
        measures: The measures, by name; the set has enough images for each of them.
        draws: Number of random draws of real images that are measured for comparison.
        train: The real training images.
        runtime: Where values and networks are stored.
    """

    training_set: TrainingSet
    pool: PretrainedNetworks
    measures: Mapping[str, Measure]
    draws: int
    train: RealSet
    runtime: Runtime

    def rows(self) -> list[MeasuredCells]:
        """Return a row for each measure, from the store or computed now.

        Raises:
            InputError: Networks of the pool are missing.
        """
        # A pool may be trained on data of its own, larger than those of the plan.
        trained_on, _ = self.pool.sets(self.train, self.train, self.runtime.cache)
        networks = [self.pool.settings(trained_on, index) for index in range(self.pool.networks)]
        # MAX_ROWS is no setting but changes the values, so it is part of the keys.
        common = {"networks": networks, "measures": describe(self.measures), "most_rows": MAX_ROWS}
        set_settings = {**common, "set": self.training_set.settings}
        real_settings = {
            "data": self.train.fingerprint,
            "statistics": self.train.statistics,
            "sizes": self._sizes,
            "draws": self.draws,
        }
        values = _stored(KIND, set_settings, self._values, self.runtime)
        # Stored apart from the set's own values: all sets of the same sizes are compared with the same draws.
        real_values = _stored(KIND_REAL, {**common, **real_settings}, self._real_values, self.runtime)
        run_columns = self._run_columns()
        return [
            {
                **run_columns,
                "measure": name,
                "value": values[name],
                "config_hash": key([set_settings, real_settings, name]),
                "real_mean": statistics.mean(real_values[name]) if self.draws else "",
                "real_sd": statistics.stdev(real_values[name]) if self.draws > 1 else "",
            }
            for name in self.measures
        ]

    @property
    def _sizes(self) -> list[int]:
        return compared_sizes(sizes_of(self.training_set), self.train)

    def _networks(self) -> list[Network]:
        return [network.to(self.runtime.device) for network in self.pool.load(self.runtime.store, self.train)]

    def _values(self) -> dict[str, float]:
        return mean_dependences(_parts(self.training_set), self._networks(), self.measures)

    def _real_values(self) -> dict[str, list[float]]:
        """Return the values of each measure, one for each draw of real images."""
        networks, images = self._networks(), self.train.to(self.runtime.device)
        drawn = []
        for draw in range(self.draws):
            drawn.append(mean_dependences(_random_parts(images, self._sizes, draw), networks, self.measures))
        return {name: [values[name] for values in drawn] for name in self.measures}

    def _run_columns(self) -> MeasuredCells:
        """Return the columns that are equal in all rows."""
        set_cells = cells_of(self.training_set.columns)
        return {
            **{column: set_cells[column] for column in _SET_COLUMNS},
            "commit": commit(),
            "experiment": self.runtime.experiment,
            "scale": self.runtime.scale,
            "width": getattr(self.pool.network, "keywords", {}).get("width", 1.0),
        }


def _stored(
    kind: str, settings: Mapping[str, object], compute: Callable[[], dict[str, V]], runtime: Runtime
) -> dict[str, V]:
    """Return values from the store, computed now if they are missing."""

    def make(folder: Path) -> None:
        write_json(folder / "values.json", compute())

    return json.loads((runtime.store.obtain(kind, settings, make) / "values.json").read_text())


def _parts(training_set: TrainingSet) -> list[Part]:
    """Return the final decoded images of each expert."""
    pool = training_set.pool
    parts: list[Part] = []
    for expert in range(len(training_set.stored)):
        indices_N = pool.experts_M.eq(expert).nonzero().squeeze(1)
        # Decoded and standardised, as students see them.
        images_NCHW = pool.take(indices_N)
        parts.append((images_NCHW, pool.labels_M[indices_N].to(images_NCHW.device)))
    return parts


def _random_parts(real: RealSet, sizes: Sequence[int], draw: int) -> list[Part]:
    """Return disjoint random parts of the real images, sorted by class.

    Args:
        real: The real training images.
        sizes: Images of every class in each part.
        draw: Number of the draw, which seeds it.
    """
    rng = stream(draw, "measure", "real")
    parts: list[list[torch.Tensor]] = [[] for _ in sizes]
    for c in range(len(real.classes)):
        indices = real.class_indices(c)
        # Drawn without replacement, so that no two parts share an image.
        drawn = indices[torch.randperm(len(indices), generator=rng)[: sum(sizes)]]
        for part, of_class in zip(parts, drawn.split(list(sizes)), strict=True):
            part.append(of_class)
    return [real.at(torch.cat(part)) for part in parts]
