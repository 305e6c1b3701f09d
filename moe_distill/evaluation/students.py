"""Students of a set: trained, tested, and recorded as rows."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from moe_distill.context.processor import device_name, hardware
from moe_distill.context.run_context import Runtime
from moe_distill.costs import RecordedCost
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.models.base import build
from moe_distill.results.aggregate import finite
from moe_distill.results.known_rows import KIND
from moe_distill.results.schema import impossible, sizes_of
from moe_distill.seeding import stream
from moe_distill.store.store import Store, commit, write_json
from moe_distill.training.classifier import Classifier
from moe_distill.training.recipe import Recipe

COHORT = "students"
"""Kind of the artifact that students trained together leave; each then leaves its own row."""


def train_students(
    training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime
) -> list[StudentRow]:
    """Train the students that are missing and return all rows."""
    return [row for name in protocol.students for row in _architecture(name, training_set, protocol, runtime)]


def _architecture(
    name: str, training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime
) -> list[StudentRow]:
    """Train the missing students of one architecture and return the rows of all its students."""
    settings = protocol.settings(training_set.settings, training_set.test, name)
    keys = protocol.keys(training_set.settings, training_set.test, name)
    missing = [seed for seed, key in keys.items() if not runtime.results.has(key)]
    made_before = runtime.store.count_made(COHORT)
    if missing:

        def make(folder: Path) -> None:
            rows = _train(name, missing, settings, training_set, protocol, runtime)
            write_json(folder / "rows.json", rows)

        # Each row is stored on its own, too: another protocol with more or other seeds then finds it.
        for row in _sound_rows(runtime.store, _cohort(settings, missing), make):
            student = {**settings, "seed": row["seed"]}
            runtime.store.obtain(KIND, student, functools.partial(_write_row, row))
    rows = [
        with_run_columns(row_of(key, name, seed, runtime), training_set.columns, protocol, runtime)
        for seed, key in keys.items()
    ]
    words = [word for word in (rows[0]["diversity"], rows[0]["fusion"]) if word != "none"]
    # Not `not missing`: another process may have trained them meanwhile.
    reused = runtime.store.count_made(COHORT) == made_before
    runtime.record_cost(
        "evaluate", " ".join([rows[0]["roster"], name, *words]), cost_of(rows, protocol.recipe), reused
    )
    return rows


def _cohort(settings: Mapping[str, object], seeds: Sequence[int]) -> dict[str, object]:
    """Return what decides the artifact of students that are trained together."""
    return {**settings, "seeds": seeds}


def _sound_rows(store: Store, cohort: Mapping[str, object], make: Callable[[Path], None]) -> list[StudentRow]:
    """Return the rows of a cohort; if their values are impossible, it is set aside and trained again."""
    while True:
        folder = store.obtain(COHORT, cohort, make)
        rows: list[StudentRow] = json.loads((folder / "rows.json").read_text())
        flaws = [flaw for row in rows if (flaw := impossible(row)) is not None]
        if not flaws:
            return rows
        store.set_aside(folder, f"rows.json claims an {flaws[0]}")


def row_of(key: str, architecture: str, seed: int, runtime: Runtime) -> StudentRow:
    """Return a student's row from the store or the committed tables.

    Args:
        key: Its ``config_hash``.
        architecture: The architecture that the row must have.
        seed: The student's seed that the row must have.
        runtime: Where rows are stored.

    Raises:
        LookupError: There is no row under this key.
        InputError: The row is another student's.
    """
    # Rows of the store and of tables have these columns; the types are not checked again.
    return cast(StudentRow, runtime.results.row(key, architecture=architecture, seed=seed))


def with_run_columns(
    row: StudentRow, columns: StudentRow, protocol: EvaluationProtocol, runtime: Runtime
) -> StudentRow:
    """Return a student's row with the columns that depend on the run which asks for it.

    A row may come from another run or a committed table; these columns then hold that run's values.

    Args:
        row: The row.
        columns: What this run calls the set; replaces the row's columns.
        protocol: How this run evaluates sets.
        runtime: This run.
    """
    return {
        **row,
        **columns,
        "experiment": runtime.experiment,
        "scale": runtime.scale,
        "overrides": runtime.overrides,
        "recipe_key": protocol.recipe_key,
    }


def cost_of(rows: Sequence[StudentRow], recipe: Recipe) -> RecordedCost:
    """Return what the students of some rows, trained by a recipe, cost together."""
    return {
        "seconds": sum(row["train_seconds"] for row in rows),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
        "steps": sum(row["steps"] for row in rows),
        "images": sum(_images(row, recipe) for row in rows),
    }


def _images(row: StudentRow, recipe: Recipe) -> int:
    """Return the images that a student saw; in stages, as if all experts decoded alike."""
    if recipe.stages is None:
        return row["epochs"] * row["images_decoded"]
    sizes = sizes_of(str(row["ipc"]))
    sizes = sizes if len(sizes) > 1 else sizes * row["noe"]
    stages = zip(recipe.in_stages(len(sizes)), recipe.seen(sizes), strict=True)
    return round(sum(r.total_epochs * part for r, part in stages) * row["images_decoded"] / sum(sizes))


def students_on(
    name: str, seeds: Sequence[int], training_set: TrainingSet, protocol: EvaluationProtocol
) -> Classifier:
    """Return freshly built students of one architecture, ready to be trained.

    Args:
        name: The architecture, a key of the protocol's ``students``.
        seeds: One for each student; it decides its weights and every draw of its training.
        training_set: What they are trained and tested on.
        protocol: How they are trained.
    """
    test, recipe = training_set.test, protocol.recipe
    shape = {"channels": test.channels, "classes": training_set.pool.classes, "size": training_set.size}
    networks = []
    for seed in seeds:
        # The name is part of the stream: architectures must not share their draws.
        network = build(protocol.students[name], **shape, rng=stream(seed, "student", name))
        networks.append(network.to(test.device))
    streams = [stream(seed, "student", name, "training") for seed in seeds]
    lr = recipe.first_lr(name, training_set.lr)
    return Classifier(networks, training_set.pool, test, recipe, streams, protocol.fusion, lr)


def _write_row(row: StudentRow, folder: Path) -> None:
    write_json(folder / "row.json", row)


def _train(
    name: str,
    seeds: Sequence[int],
    settings: Mapping[str, object],
    training_set: TrainingSet,
    protocol: EvaluationProtocol,
    runtime: Runtime,
) -> list[StudentRow]:
    """Train one architecture from several seeds at once and return a row for each."""
    classifier = students_on(name, seeds, training_set, protocol)
    label = f"{training_set.columns['roster']} → {name} ×{len(seeds)}"
    work = runtime.store.work(COHORT, _cohort(settings, seeds))
    cost = runtime.fit(classifier, work, label)
    last_epoch = max(classifier.accuracies)
    common: StudentRow = {
        **training_set.columns,
        **protocol.columns(name, len(training_set.pool.experts_M.unique()), training_set.dtypes),
        "scale": runtime.scale,
        "lr": protocol.recipe.first_lr(name, training_set.lr),
        "epochs": classifier.epochs,
        "steps": classifier.total,
        "images_decoded": len(classifier.pool),
        "distill_seconds": training_set.cost["seconds"],
        "teacher_seconds": training_set.cost["teacher_seconds"],
        # They are trained in the same steps, so no student has a time of its own.
        "train_seconds": cost["seconds"] / len(seeds),
        # Of distilling and evaluating, so that a reader knows what the result takes on the whole.
        "peak_memory_mb": max(cost["peak_memory_mb"], training_set.cost["peak_memory_mb"]),
        "device": device_name(training_set.test.device),
        "hardware": hardware(training_set.test.device),
        "commit": commit(),
    }
    rows: list[StudentRow] = []
    for i, seed in enumerate(seeds):
        tested = [by_student[i] for by_student in classifier.accuracies.values()]
        # A student that diverged before the first test has no best accuracy.
        best = max(finite(tested), default=math.nan)
        last = classifier.accuracies[last_epoch][i]
        rows.append({**common, "seed": seed, "accuracy_last": last, "accuracy_best": best})
    return rows
