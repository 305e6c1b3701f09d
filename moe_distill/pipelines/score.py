"""Score: what a set is worth apart from its labels, its augmentation and its learning rate (DD-Ranking's
protocol).
"""

import functools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.evaluation import ddranking as scores
from moe_distill.evaluation.ddranking_trainings import (
    Part,
    Rates,
    Search,
    SelectOn,
    Training,
    labels_of,
    random_subset,
    trainings,
    unlabelled,
)
from moe_distill.evaluation.labels import with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import train_students
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.evaluate import SetStudents, require_plans_set
from moe_distill.pipelines.finish import finish_run
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.stage import Missing, Pipeline, ResultRow, Stage, Work, make_all, once
from moe_distill.results.known_rows import Results
from moe_distill.results.run_tables import publish
from moe_distill.results.schema import SCORES, TRAININGS, ScoreRow, columns_of
from moe_distill.store.identity import describe, key
from moe_distill.store.store import commit
from moe_distill.terminal import say, show
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Share, Text, checked

if TYPE_CHECKING:
    import polars as pl

COLUMNS = columns_of(ScoreRow)

Done = tuple[dict[str, Any], list[dict[str, Any]]]
"""What a score tells of a training, and its students' rows."""


@checked
@dataclass(frozen=True)
class Score(Pipeline):
    """Score a plan's distilled set, or the set at a path, by DD-Ranking's protocol; leaves ``scores.csv``.

    Args:
        plan: Whose set is scored, and the data.
        protocol: The set's own recipe, the networks and how many students of each.
        real: How students of all real images are trained.
        lrs: See :class:`Search`, as for ``select_on`` and ``held_out``.
        select_on: See ``lrs``.
        held_out: See ``lrs``.
        w: Weight of IOR in LRS.
        gamma: Weight of the lead with augmentation in ARS.
        path: A set's file or folder instead of the plan's, distilled now where it is not yet.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    real: Recipe
    lrs: Rates
    select_on: SelectOn
    held_out: Part
    w: Share
    gamma: Share
    path: Text | None = None

    @property
    def search(self) -> Search:
        """How learning rates are chosen."""
        return Search(self.lrs, self.select_on, self.held_out)

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield what makes the set, and the trainings that score it.

        Raises:
            UnknownCost: The set is at a path.
        """
        require_plans_set(self.path)
        yield from set_stages(self.plan, results)
        yield Scoring(self)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make the set where it is missing, train, and write the tables.

        Returns:
            ``accuracy``: mean LRS over the architectures; ``rows``: a row of scores for each.

        Raises:
            InputError: There is no such set, it belongs to other data, or there are too few real images.
        """
        train, _ = self.plan.data.load(runtime.cache)
        self.search.check(train, self.plan.roster.budget if self.path is None else 0)  # before any work
        make_all(set_stages(self.plan, runtime.results, self.path), runtime)
        table, students = Scoring(self).scored(runtime)
        finish_run(students, runtime)
        _show(publish(table, runtime.output, "scores.csv"), runtime)
        return _summed(table, runtime)


@dataclass(frozen=True)
class Scoring(Stage):
    """Six trainings of each architecture that score a set.

    Attributes:
        of: What is scored, and how.
    """

    of: Score

    def missing(self, results: Results) -> list[Missing]:
        """Return every training of every rate, as if none were done."""
        of, plan, protocol = self.of, self.of.plan, self.of.protocol
        train, test = plan.data.load(results.store.cache)
        random = len(train.classes) * plan.roster.budget
        trained = (
            [(protocol.recipe, plan.decoded(train))] * 3
            + [(protocol.recipe, random)] * 2
            + [(of.real, len(train))]
        )
        students = protocol.seeds * (len(of.lrs) + 1 if len(of.lrs) > 1 else 1)
        forward_passes = sum(recipe.forward_passes(images, len(test), students) for recipe, images in trained)
        settings = [protocol.recipe, list(protocol.numbers), of.real, of.lrs, of.select_on, of.held_out]
        decides = [SetStudents(plan, protocol).trained_on(results), *settings]
        name = f"six trainings to score {plan.roster}, done or not"
        networks = protocol.students.items()
        return [
            Missing(name, key([decides, who]), Work.on(network, train), forward_passes)
            for who, network in networks
        ]

    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Train what is missing and return the students' rows."""
        return self.scored(runtime)[1]

    def scored(self, runtime: Runtime) -> tuple[list[dict[str, Any]], list[ResultRow]]:
        """Train what is missing; return a row of scores for each architecture, and the students' rows."""
        of, plan, protocol, search = self.of, self.of.plan, self.of.protocol, self.of.search
        train, test = (part.to(runtime.device) for part in plan.data.load(runtime.cache))
        own = with_recipe_labels(training_set_of(plan, runtime, of.path), plan, protocol.recipe, runtime)
        dealt = functools.partial(_dealt, own, test, plan, protocol.recipe, runtime)
        compared = trainings(own, (train, test), dealt, protocol, of.real, search)
        done = {
            name: {
                training: _trained(compared[training], name, protocol, search, runtime)
                for training in TRAININGS
            }
            for name in protocol.students
        }
        common = {**_told_of(protocol, own, plan, train, search), "w": of.w, "gamma": of.gamma}
        table = [_row(name, done[name], own, protocol, of.real, common) for name in protocol.students]
        return table, once([row for by in done.values() for _, students in by.values() for row in students])


def _summed(table: Sequence[Mapping[str, Any]], runtime: Runtime) -> dict[str, Any]:
    mean = {score: statistics.mean(row[score] for row in table) for score in ("lrs", "ars")}
    runtime.tracker.summary(mean)
    return {"accuracy": mean["lrs"], "rows": table}


def _dealt(
    own: TrainingSet,
    test: RealSet,
    plan: Distillation,
    recipe: Recipe,
    runtime: Runtime,
    part: RealSet,
    student: int,
) -> TrainingSet:
    return with_recipe_labels(
        random_subset(part, test, own.stored, student), plan, unlabelled(recipe), runtime
    )


def _row(
    name: str,
    done: Mapping[str, Done],
    own: TrainingSet,
    protocol: EvaluationProtocol,
    real: Recipe,
    common: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the row of one architecture from what each training told."""
    told = {
        f"{training}_{what}": value
        for training, (values, _) in done.items()
        for what, value in values.items()
    }
    _, students = done["syn_any"]
    of_run = ("experiment", "scale", "architecture", "width", "fusion", "overrides")
    about = {column: students[0][column] for column in of_run}
    decided = key([protocol.settings(own.settings, own.test, name), list(protocol.numbers), real, common])
    found = scored(told, common["w"], common["gamma"])
    return {**own.columns, **about, **common, **found, **told, "config_hash": decided, "commit": commit()}


def scored(told: Mapping[str, Any], w: float, gamma: float) -> dict[str, float]:
    """Return every score of a row from its own mean accuracies, ``<training>_mean`` (fractions)."""
    mean = {training: float(told[f"{training}_mean"]) for training in TRAININGS}

    def of(*names: str) -> dict[str, float]:
        return {name: mean[name] for name in names}

    robust = of("real_hard", "syn_hard", "syn_any", "rnd_any")
    leads = of("syn_any", "rnd_any", "syn_plain", "rnd_plain")
    return {
        "hlr": scores.hlr(**of("real_hard", "syn_hard")),
        "ior": scores.ior(**of("syn_any", "rnd_any")),
        "alpha": scores.alpha(**robust, w=w),
        "lrs": scores.lrs(**robust, w=w),
        "beta": scores.beta(**leads, gamma=gamma),
        "ars": scores.ars(**leads, gamma=gamma),
    }


def _trained(
    training: Training, name: str, protocol: EvaluationProtocol, search: Search, runtime: Runtime
) -> Done:
    """Choose one architecture's learning rate, train its students, and return what a score tells and their
    rows.
    """

    def students(training_sets: Sequence[TrainingSet], recipe: Recipe) -> list[dict[str, Any]]:
        alike = replace(
            protocol, students={name: protocol.students[name]}, recipe=recipe, fusion=training.fusion
        )
        if len(training_sets) == 1:
            return train_students(training_sets[0], alike, runtime)["rows"]
        each = [replace(alike, seeds=1, first=seed) for seed in protocol.numbers]
        pairs = zip(training_sets, each, strict=True)
        return [
            row for training_set, one in pairs for row in train_students(training_set, one, runtime)["rows"]
        ]

    def at(rate: float) -> Recipe:
        return replace(training.recipe, lr=rate, lr_factors={})

    def judged(rate: float) -> float:
        mean = statistics.mean(r["accuracy_last"] for r in students(training.trials, at(rate)))
        return mean if math.isfinite(mean) else -math.inf  # a student diverged

    recipe = training.recipe
    learned = training.finals[0].lr if recipe.learned_rate else None
    if learned is None:
        recipe = at(search.lrs[0] if len(search.lrs) == 1 else max(search.lrs, key=judged))
    trained = students(training.finals, recipe)
    accuracies = [row["accuracy_last"] for row in trained]
    values = {
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else "",
        "lr": recipe.lr if learned is None else learned,
        "lr_from": search.rule if learned is None else "learned",
        "batch_size": recipe.batch_size,
        "labels": labels_of(training.finals[0]),
        **{column: trained[0][column] for column in ("recipe", "epochs", "steps")},
    }
    return values, trained


def _told_of(
    protocol: EvaluationProtocol, own: TrainingSet, plan: Distillation, train: RealSet, search: Search
) -> dict[str, Any]:
    recipe = protocol.recipe
    groups = recipe.augment and (*recipe.augment.before, *recipe.augment.one_of, *recipe.augment.after)
    acting = [*(groups or ()), *([recipe.cutmix] if recipe.cutmix else [])]
    names = [*(recipe.pixels.names if recipe.pixels else ()), *(type(op).__name__.lower() for op in acting)]
    return {
        "students": protocol.seeds,
        "teacher": key(plan.labeller) if own.pool.label else "",
        "select_on": search.rule,
        "held_out": search.held_out if search.needs_held_out else "",
        "lrs_tried": " ".join(map(str, search.lrs)),
        "augmentation": "+".join(names) or "none",
        "normalisation": f"{train.space} {describe(train.statistics)}",
    }


def _show(table: "pl.DataFrame", runtime: Runtime) -> None:
    shown = Table(title=f"{runtime.experiment}: scores, best LRS first")
    for column in ("set", "network", *SCORES):
        shown.add_column(column, justify="left" if column in ("set", "network") else "right")
    best_first = table.sort("lrs", descending=True, maintain_order=True)
    for roster, architecture, *values in best_first.select("roster", "architecture", *SCORES).iter_rows():
        shown.add_row(roster, architecture, *(f"{value:.3f}" for value in values))
    show(shown)
    say(f"scores: {runtime.output / 'scores.csv'}")
