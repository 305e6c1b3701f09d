"""The students of one of the trainings that a score compares: their learning rate chosen, then trained."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from moe_distill.context.run_context import Runtime
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.ddranking_trainings import Search, Training, labels_of
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import train_students
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.training.recipe import Recipe

ScoreCells = dict[str, int | float | str]
"""Columns of ``scores.csv`` before they are written; what is not known is an empty text."""


@dataclass(frozen=True)
class Trained:
    """One training of a score, for one architecture.

    Attributes:
        mean: Mean accuracy of its students, a fraction.
        columns: What a row of scores records of it, by the columns' names without that of the training.
        students: Its students' rows.
    """

    mean: float
    columns: ScoreCells
    students: list[StudentRow]


def trained_for(
    training: Training, name: str, protocol: EvaluationProtocol, search: Search, runtime: Runtime
) -> Trained:
    """Choose one architecture's learning rate and train its students.

    Args:
        training: What they train on, and how.
        name: The architecture, a key of the protocol's ``students``.
        protocol: The networks and how many students of each; the training's recipe and fusion replace its
            own.
        search: How the learning rate is chosen.
        runtime: Where students are stored.
    """
    single = replace(protocol, students={name: protocol.students[name]}, fusion=training.fusion)

    def at(rate: float) -> Recipe:
        # Without the recipe's factors for some networks: the rates are tried for each network anyway.
        return replace(training.recipe, lr=rate, lr_factors={})

    def trial_accuracy(rate: float) -> float:
        rows = _rows(training.trials, replace(single, recipe=at(rate)), runtime)
        mean = statistics.mean(row["accuracy_last"] for row in rows)
        # NaN, if a student diverged, would make `max` depend on the order of the rates.
        return mean if math.isfinite(mean) else -math.inf

    recipe = training.recipe
    learned = training.finals[0].lr if recipe.learned_rate else None
    if learned is None:
        recipe = at(search.lrs[0] if len(search.lrs) == 1 else max(search.lrs, key=trial_accuracy))
    rows = _rows(training.finals, replace(single, recipe=recipe), runtime)
    accuracies = [row["accuracy_last"] for row in rows]
    columns: ScoreCells = {
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else "",
        "lr": recipe.lr if learned is None else learned,
        "lr_from": search.rule if learned is None else "learned",
        "batch_size": recipe.batch_size,
        "labels": labels_of(training.finals[0]),
        "recipe": rows[0]["recipe"],
        "epochs": rows[0]["epochs"],
        "steps": rows[0]["steps"],
    }
    return Trained(statistics.mean(accuracies), columns, rows)


def _rows(
    training_sets: Sequence[TrainingSet], protocol: EvaluationProtocol, runtime: Runtime
) -> list[StudentRow]:
    """Return the rows of students that share one set, or have one each."""
    if len(training_sets) == 1:
        return train_students(training_sets[0], protocol, runtime)
    # Random images: every student has drawn its own.
    rows = []
    for training_set, seed in zip(training_sets, protocol.student_seeds, strict=True):
        rows += train_students(training_set, replace(protocol, seeds=1, first=seed), runtime)
    return rows
