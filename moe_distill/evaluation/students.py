"""Students of a set: trained, tested, and told as rows."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moe_distill.context.processor import device_name, hardware
from moe_distill.context.run_context import Runtime
from moe_distill.costs import cost_of
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.models.base import build
from moe_distill.results.aggregate import finite
from moe_distill.results.known_rows import KIND
from moe_distill.results.schema import impossible
from moe_distill.seeding import stream
from moe_distill.store.store import Store, commit, write_json
from moe_distill.training.classifier import Classifier

COHORT = "students"


def train_students(
    training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime
) -> dict[str, Any]:
    """Train the students that are missing and return all rows."""
    rows = [row for name in protocol.students for row in _architecture(name, training_set, protocol, runtime)]
    return {"accuracy": accuracies(rows).get("accuracy", math.nan), "rows": rows}


def _architecture(
    name: str, training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime
) -> list[dict[str, Any]]:
    common = protocol.settings(training_set.settings, training_set.test, name)
    keys = protocol.keys(training_set.settings, training_set.test, name)
    missing = [seed for seed, k in keys.items() if not runtime.results.has(k)]
    before = runtime.store.count_made(COHORT)
    if missing:
        cohort = {**common, "seeds": missing}

        def make(folder: Path) -> None:
            write_json(folder / "rows.json", _train(name, cohort, training_set, protocol, runtime))

        for row in _sound_rows(runtime.store, cohort, make):
            runtime.store.obtain(KIND, {**common, "seed": row["seed"]}, functools.partial(_write_row, row))
    done = [runtime.results.row(k, architecture=name, seed=seed) for seed, k in keys.items()]
    rows = [as_this_runs(row, training_set.columns, protocol, runtime) for row in done]
    ways = [way for way in (rows[0]["diversity"], rows[0]["fusion"]) if way != "none"]
    found = runtime.store.count_made(COHORT) == before
    runtime.record_cost("evaluate", " ".join([rows[0]["roster"], name, *ways]), cost_of(rows), found)
    return rows


def _sound_rows(
    store: Store, cohort: Mapping[str, Any], make: Callable[[Path], None]
) -> list[dict[str, Any]]:
    """Return the rows of a cohort; one whose rows claim what cannot be is set aside and trained again."""
    while True:
        folder = store.obtain(COHORT, cohort, make)
        rows: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text())
        claims = [claim for row in rows if (claim := impossible(row)) is not None]
        if not claims:
            return rows
        store.set_aside(folder, f"rows.json claims an {claims[0]}")


def as_this_runs(
    row: Mapping[str, Any], columns: Mapping[str, Any], protocol: EvaluationProtocol, runtime: Runtime
) -> dict[str, Any]:
    """Return a row as this run tells it, wherever it comes from."""
    told = {"experiment": runtime.experiment, "scale": runtime.scale, "overrides": runtime.overrides}
    return {**row, **columns, **told, "recipe_key": protocol.recipe_key}


def students_on(
    name: str, seeds: Sequence[int], training_set: TrainingSet, protocol: EvaluationProtocol
) -> Classifier:
    """Return freshly built students of one architecture, ready to be trained; a seed decides each of them."""
    test, recipe = training_set.test, protocol.recipe
    shape = {"channels": test.channels, "classes": training_set.pool.classes, "size": training_set.size}
    networks = [
        build(protocol.students[name], **shape, rng=stream(s, "student", name)).to(test.device) for s in seeds
    ]
    streams = [stream(s, "student", name, "training") for s in seeds]
    lr = recipe.first_lr(name, training_set.lr)
    return Classifier(networks, training_set.pool, test, recipe, streams, protocol.fusion, lr)


def _write_row(row: Mapping[str, Any], folder: Path) -> None:
    write_json(folder / "row.json", row)


def _train(
    name: str,
    cohort: Mapping[str, Any],
    training_set: TrainingSet,
    protocol: EvaluationProtocol,
    runtime: Runtime,
) -> list[dict[str, Any]]:
    """Train one architecture from several seeds at once and return a row for each."""
    seeds: Sequence[int] = cohort["seeds"]
    test, recipe = training_set.test, protocol.recipe
    classifier = students_on(name, seeds, training_set, protocol)
    label = f"{training_set.columns['roster']} → {name} ×{len(seeds)}"
    cost = runtime.fit(classifier, runtime.store.work(COHORT, cohort), label)
    last = classifier.accuracies[max(classifier.accuracies)]
    return [
        {
            **training_set.columns,
            **protocol.columns(name, len(training_set.pool.experts_M.unique())),
            "scale": runtime.scale,
            "seed": seed,
            "accuracy_last": last[i],
            "accuracy_best": max(
                finite([tested[i] for tested in classifier.accuracies.values()]), default=math.nan
            ),
            "lr": recipe.first_lr(name, training_set.lr),
            "epochs": recipe.total_epochs,
            "steps": classifier.total,
            "images_decoded": len(classifier.pool),
            "distill_seconds": training_set.cost["seconds"],
            "train_seconds": cost["seconds"] / len(seeds),
            "peak_memory_mb": max(cost["peak_memory_mb"], training_set.cost["peak_memory_mb"]),
            "device": device_name(test.device),
            "hardware": hardware(test.device),
            "dtype": str(next(classifier.networks.parameters()).dtype).removeprefix("torch."),
            "commit": commit(),
        }
        for i, seed in enumerate(seeds)
    ]
