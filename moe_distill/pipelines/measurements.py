"""Dependence between the experts of a set, and between random real images for comparison."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

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


def measured_rows(
    training_set: TrainingSet,
    pool: PretrainedNetworks,
    measures: Mapping[str, Measure],
    draws: int,
    train: RealSet,
    runtime: Runtime,
) -> list[MeasuredCells]:
    """Return a row for each measure by the networks of one architecture, from the store or computed now.

    Args:
        training_set: The set whose experts are measured.
        pool: The networks, trained before, that compute the features.
        measures: The measures, by name; the set has enough images for each of them.
        draws: Number of random draws of real images that are measured for comparison.
        train: The real training images.
        runtime: Where values and networks are stored.

    Raises:
        InputError: Networks of the pool are missing.
    """
    trained_on, _ = pool.sets(train, train, runtime.cache)
    network_settings = [pool.settings(trained_on, index) for index in range(pool.networks)]
    common = {"networks": network_settings, "measures": describe(measures), "most_rows": MAX_ROWS}
    set_settings = {**common, "set": training_set.settings}
    sizes = compared_sizes(sizes_of(training_set), train)
    real_settings = {
        "data": train.fingerprint,
        "statistics": train.statistics,
        "sizes": sizes,
        "draws": draws,
    }

    def networks() -> list[Network]:
        return [network.to(runtime.device) for network in pool.load(runtime.store, train)]

    def make(folder: Path) -> None:
        write_json(folder / "values.json", mean_dependences(_parts(training_set), networks(), measures))

    def make_real(folder: Path) -> None:
        judges, images = networks(), train.to(runtime.device)
        drawn = [
            mean_dependences(_random_parts(images, sizes, draw), judges, measures) for draw in range(draws)
        ]
        write_json(folder / "values.json", {name: [values[name] for values in drawn] for name in measures})

    folder = runtime.store.obtain(KIND, set_settings, make)
    # Stored apart from the set's own values: all sets of the same sizes are compared with the same draws.
    real_folder = runtime.store.obtain(KIND_REAL, {**common, **real_settings}, make_real)
    values: dict[str, float] = json.loads((folder / "values.json").read_text())
    real_values: dict[str, list[float]] = json.loads((real_folder / "values.json").read_text())
    set_cells = cells_of(training_set.columns)
    run_columns: MeasuredCells = {
        **{column: set_cells[column] for column in _SET_COLUMNS},
        "commit": commit(),
        "experiment": runtime.experiment,
        "scale": runtime.scale,
        "width": getattr(pool.network, "keywords", {}).get("width", 1.0),
    }
    return [
        {
            **run_columns,
            "measure": name,
            "value": values[name],
            "config_hash": key([set_settings, real_settings, name]),
            "real_mean": statistics.mean(real_values[name]) if draws else "",
            "real_sd": statistics.stdev(real_values[name]) if draws > 1 else "",
        }
        for name in measures
    ]


def _parts(training_set: TrainingSet) -> list[Part]:
    """Return the final decoded images of each expert."""
    pool = training_set.pool
    parts: list[Part] = []
    for expert in range(len(training_set.stored)):
        indices_N = pool.experts_M.eq(expert).nonzero().squeeze(1)
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
        drawn = indices[torch.randperm(len(indices), generator=rng)[: sum(sizes)]]
        for part, of_class in zip(parts, drawn.split(list(sizes)), strict=True):
            part.append(of_class)
    return [real.at(torch.cat(part)) for part in parts]
