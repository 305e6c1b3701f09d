"""Score: what a set is worth apart from labels, augmentation and learning rate, by DD-Ranking's protocol."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError
from moe_distill.evaluation.columns import StudentRow, cells_of
from moe_distill.evaluation.ddranking import scores_of
from moe_distill.evaluation.ddranking_students import ScoreCells, Trained, trained_for
from moe_distill.evaluation.ddranking_trainings import (
    Part,
    Rates,
    Search,
    SelectOn,
    random_subset,
    trainings,
    without_set_labels,
)
from moe_distill.evaluation.labels import with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.evaluate import SetStudents, require_plans_set
from moe_distill.pipelines.finish import finish_run
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.stage import Missing, Pipeline, Stage, Work, make_all, unique_rows
from moe_distill.results.known_rows import FinishedRows
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


@checked
@dataclass(frozen=True)
class Score(Pipeline):
    """Score a plan's distilled set, or the set at a path, by DD-Ranking's protocol; writes ``scores.csv``.

    Args:
        plan: The distillation whose set is scored, and the data. The set is distilled now if it is missing.
        protocol: The set's own recipe, the networks and how many students of each.
        real: How students of all real images are trained.
        lrs: See :class:`Search`, as for ``select_on`` and ``held_out``.
        select_on: See ``lrs``.
        held_out: See ``lrs``.
        w: Weight of IOR in LRS, in [0, 1].
        gamma: Weight of the lead with augmentation in ARS, in [0, 1].
        path: A set's file or folder instead of the plan's set.
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

    def __post_init__(self) -> None:
        """Refuse students in stages: random and real images, which the set is scored by, have none."""
        if self.protocol.recipe.stages is not None:
            allowed = "null with pipeline=score, which compares trainings on all images at once"
            raise FieldError("protocol.recipe.stages", self.protocol.recipe.stages, allowed)

    @property
    def search(self) -> Search:
        """How learning rates are chosen."""
        return Search(self.lrs, self.select_on, self.held_out)

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the stages that make the set, and the trainings that score it.

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
        # How many images a set from a file stores is not known yet; `trainings` checks it then.
        self.search.check(train, self.plan.roster.budget if self.path is None else 0)
        make_all(set_stages(self.plan, runtime.results, self.path), runtime)
        table, students = Scoring(self).scored(runtime)
        finish_run(students, runtime)
        # The sweep's rows, so that a job that ends shows how its set compares with the others.
        _show(publish(table, runtime.output, "scores.csv"), runtime)
        mean = {score: statistics.mean(float(row[score]) for row in table) for score in ("lrs", "ars")}
        runtime.tracker.summary(mean)
        return {"accuracy": mean["lrs"], "rows": table}


@dataclass(frozen=True)
class Scoring(Stage):
    """Six trainings of each architecture that score a set.

    Attributes:
        pipeline: What is scored, and how.
    """

    pipeline: Score

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return every training at every rate, as if none were done: which rate is best is not known yet."""
        pipeline, plan, protocol = self.pipeline, self.pipeline.plan, self.pipeline.protocol
        train, test = plan.data.load(results.store.cache)
        random_images = (len(train.classes) * plan.roster.budget,)
        set_images = plan.decoded(train)
        # As in `trainings`: three of the set, two of random images, one of all real images.
        trained = [(protocol.recipe, set_images)] * 3
        trained += [(protocol.recipe, random_images)] * 2
        trained += [(pipeline.real, (len(train),))]
        # Students are trained at every rate, then once more at the best one. A single rate needs no trial.
        rounds = len(pipeline.lrs) + 1 if len(pipeline.lrs) > 1 else 1
        students = protocol.seeds * rounds
        forward_passes = sum(recipe.forward_passes(images, len(test), students) for recipe, images in trained)
        settings = [
            SetStudents(plan, protocol).trained_on(results),
            protocol.recipe,
            list(protocol.student_seeds),
            pipeline.real,
            pipeline.lrs,
            pipeline.select_on,
            pipeline.held_out,
        ]
        name = f"six trainings to score {plan.roster}, done or not"
        return [
            Missing(name, key([settings, architecture]), Work.on(network, train), forward_passes)
            for architecture, network in protocol.students.items()
        ]

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Train what is missing and return the students' rows."""
        return self.scored(runtime)[1]

    def scored(self, runtime: Runtime) -> tuple[list[ScoreCells], list[StudentRow]]:
        """Train what is missing; return a row of scores for each architecture, and the students' rows."""
        pipeline, plan, protocol = self.pipeline, self.pipeline.plan, self.pipeline.protocol
        train, test = (part.to(runtime.device) for part in plan.data.load(runtime.cache))
        training_set = training_set_of(plan, runtime, pipeline.path)
        training_set = with_recipe_labels(training_set, plan, protocol.recipe, runtime)

        def draw_random(part: RealSet, student: int) -> TrainingSet:
            # Random images have no labels of the set's kind, but a teacher can label them too.
            subset = random_subset(part, test, training_set.stored, student)
            return with_recipe_labels(subset, plan, without_set_labels(protocol.recipe), runtime)

        compared = trainings(
            training_set, (train, test), draw_random, protocol, pipeline.real, pipeline.search
        )
        settings = self._setting_columns(training_set, train)
        table: list[ScoreCells] = []
        students: list[StudentRow] = []
        for name in protocol.students:
            done = {
                training: trained_for(compared[training], name, protocol, pipeline.search, runtime)
                for training in TRAININGS
            }
            table.append(self._row(name, done, training_set, settings))
            for trained in done.values():
                students += trained.students
        return table, unique_rows(students)

    def _setting_columns(self, training_set: TrainingSet, train: RealSet) -> ScoreCells:
        """Return the columns of a row of scores that the settings decide."""
        protocol, search = self.pipeline.protocol, self.pipeline.search
        return {
            "students": protocol.seeds,
            # Its key, as a teacher has no short name that is unique.
            "teacher": key(self.pipeline.plan.labeller) if training_set.pool.label else "",
            "select_on": search.rule,
            "held_out": search.held_out if search.needs_held_out else "",
            "lrs_tried": " ".join(map(str, search.lrs)),
            "augmentation": _augmentation(protocol.recipe),
            "normalisation": f"{train.space} {describe(train.statistics)}",
            "w": self.pipeline.w,
            "gamma": self.pipeline.gamma,
        }

    def _row(
        self, name: str, done: Mapping[str, Trained], training_set: TrainingSet, settings: ScoreCells
    ) -> ScoreCells:
        """Return the row of scores of one architecture."""
        protocol = self.pipeline.protocol
        means = {training: trained.mean for training, trained in done.items()}
        training_columns: ScoreCells = {}
        for training, trained in done.items():
            training_columns |= {f"{training}_{column}": value for column, value in trained.columns.items()}
        # Any training would do: these columns are the same in all of them.
        student = cells_of(done["syn_any"].students[0])
        run_columns = ("experiment", "scale", "architecture", "width", "fusion", "overrides")
        # Not of the students' keys: a row of scores also depends on how rates were chosen.
        decided_by = [
            protocol.settings(training_set.settings, training_set.test, name),
            list(protocol.student_seeds),
            self.pipeline.real,
            settings,
        ]
        return {
            **cells_of(training_set.columns),
            **{column: student[column] for column in run_columns},
            **settings,
            **scores_of(means, self.pipeline.w, self.pipeline.gamma),
            **training_columns,
            "config_hash": key(decided_by),
            "commit": commit(),
        }


def _augmentation(recipe: Recipe) -> str:
    """Return the names of everything that changes images during training, joined by ``+``, or ``none``."""
    names = list(recipe.pixels.names) if recipe.pixels else []
    # In the order in which they act on a batch.
    operations: list[object] = []
    if recipe.augment:
        operations += [*recipe.augment.before, *recipe.augment.one_of, *recipe.augment.after]
    if recipe.cutmix:
        operations.append(recipe.cutmix)
    names += [type(operation).__name__.lower() for operation in operations]
    return "+".join(names) or "none"


def _show(table: "pl.DataFrame", runtime: Runtime) -> None:
    """Print the scores of a sweep's sets so far."""
    terminal_table = Table(title=f"{runtime.experiment}: scores, best LRS first")
    for column in ("set", "network", *SCORES):
        terminal_table.add_column(column, justify="left" if column in ("set", "network") else "right")
    best_first = table.sort("lrs", descending=True, maintain_order=True)
    for roster, architecture, *values in best_first.select("roster", "architecture", *SCORES).iter_rows():
        terminal_table.add_row(roster, architecture, *(f"{value:.3f}" for value in values))
    show(terminal_table)
    say(f"scores: {runtime.output / 'scores.csv'}")
