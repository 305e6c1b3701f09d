"""Linear probe: how well a linear classifier does on a student's features of real images."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.data.sources.tree import KEY as DATA_KEY
from moe_distill.errors import InputError, renamed
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.labels import require_labels, with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import students_on
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network
from moe_distill.pipelines.evaluate import SetStudents, require_plans_set
from moe_distill.pipelines.finish import write_stages
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.stage import Missing, Pipeline, Stage, Work, make_all
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.run_tables import publish
from moe_distill.results.schema import ProbeRow as ProbeSchema
from moe_distill.results.schema import columns_of
from moe_distill.results.wording import in_percent
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import commit, write_json
from moe_distill.terminal import say, show
from moe_distill.training.classifier import Classifier
from moe_distill.validation.values import Count, Text, checked

KIND = "probe"
COLUMNS = columns_of(ProbeSchema)
_ITERATIONS = (
    1000  # of the logistic regression at most; with scikit-learn's default, 100, it may not converge
)
_CHUNK = 512  # images that go through a network at a time


class ProbeRow(StudentRow, total=False):
    """A row of ``probe.csv`` before it is written; see :class:`~moe_distill.results.schema.ProbeRow`."""

    onto: str
    images_per_class: int
    accuracy: float
    accuracy_untrained: float


@checked
@dataclass(frozen=True)
class Probe(Pipeline):
    """Train students on a set, freeze them, and test a logistic regression on their features of real images.

    Writes ``probe.csv``: a row for each architecture and seed, with the accuracy after training and that of
    the same network before it.

    Args:
        plan: The distillation whose set the students are trained on. The set is distilled now if it is
            missing.
        protocol: How they are trained: as in an evaluation.
        path: A set's file or folder instead of the plan's set.
        onto: The real data of the probe, of the same size and channels; None takes the data of the plan.
        images_per_class: Real training images of each class, drawn at random; None takes all.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: Text | None = None
    onto: DataSource | None = None
    images_per_class: Count | None = None

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the stages that make the set, and the students; the linear classifiers' cost is left out.

        Raises:
            InputError: The plan cannot be distilled, or cannot provide the recipe's labels.
            UnknownCost: The set is at a path.
        """
        require_plans_set(self.path)
        require_labels(self.plan, self.protocol.recipe)
        yield from set_stages(self.plan, results)
        yield Probing(self)

    def data_of(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the real training and test images of the classifiers."""
        # An error about the data names the setting that chose them.
        with renamed(DATA_KEY, DATA_KEY if self.onto is None else "pipeline.onto.root"):
            return (self.onto or self.plan.data).load(cache)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make what is missing, and write the table.

        Returns:
            ``accuracy``: mean over all students; ``rows``: the rows.

        Raises:
            InputError: The probe's images are of another shape, or a class has too few of them.
        """
        make_all(set_stages(self.plan, runtime.results, self.path), runtime)
        rows = Probing(self).probe(runtime)
        publish(rows, runtime.output, "probe.csv")
        write_stages(runtime)
        _show(rows, runtime)
        mean = sum(row["accuracy"] for row in rows) / len(rows)
        runtime.tracker.summary({"accuracy_probe": mean})
        return {"accuracy": mean, "rows": rows}


@dataclass(frozen=True)
class Probing(Stage):
    """Students to probe, and their classifiers.

    Attributes:
        pipeline: What is probed, and how.
    """

    pipeline: Probe

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return every student, done or not, as an evaluation keeps no weights that could be probed."""
        plan, protocol = self.pipeline.plan, self.pipeline.protocol
        train, test = plan.data.load(results.store.cache)
        probe_train, probe_test = self.pipeline.data_of(results.store.cache)
        per_class = self.pipeline.images_per_class
        fitted_to = len(probe_train.classes) * per_class if per_class else len(probe_train)
        # The features of all of them are computed before and after the training.
        features = protocol.seeds * 2 * (len(probe_test) + fitted_to)
        training = protocol.recipe.forward_passes(plan.decoded(train), len(test), protocol.seeds)
        trained_on = SetStudents(plan, protocol).trained_on(results)
        seeds = list(protocol.student_seeds)
        settings = [trained_on, protocol.recipe, seeds, probe_train.fingerprint, per_class]
        name = f"students to probe of {plan.roster}, done or not, less the classifiers"
        return [
            Missing(name, key([settings, architecture]), Work.on(network, train), features + training)
            for architecture, network in protocol.students.items()
        ]

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Train and probe the students that are missing; leaves no rows of students."""
        self.probe(runtime)
        return []

    def probe(self, runtime: Runtime) -> list[ProbeRow]:
        """Train and probe the students that are missing; return the row of every student.

        Raises:
            InputError: The probe's images are of another shape, or a class has too few of them.
        """
        plan, protocol = self.pipeline.plan, self.pipeline.protocol
        training_set = training_set_of(plan, runtime, self.pipeline.path)
        training_set = with_recipe_labels(training_set, plan, protocol.recipe, runtime)
        train, test = self.pipeline.data_of(runtime.cache)
        channels, size = training_set.test.channels, training_set.test.size
        if (train.channels, train.size) != (channels, size):
            value, allowed = f"{train.name}, {train.size} pixels", f"{channels} × {size}² as the set's"
            raise InputError("pipeline.onto", value, allowed)
        # Other data keep their pixels but get the normalisation that the students were trained with.
        train, test = (_normalised_as(part, training_set.test).to(runtime.device) for part in (train, test))
        train = _balanced(train, self.pipeline.images_per_class)
        rows = []
        for name in protocol.students:
            rows += _probed(name, training_set, protocol, runtime, train, test)
        return rows


def _probed(
    name: str,
    training_set: TrainingSet,
    protocol: EvaluationProtocol,
    runtime: Runtime,
    train: RealSet,
    test: RealSet,
) -> list[ProbeRow]:
    """Return the rows of one architecture, from the store or computed now."""
    settings = {
        **protocol.settings(training_set.settings, training_set.test, name),
        "seeds": list(protocol.student_seeds),
        "onto": [train.fingerprint, test.fingerprint],
        "statistics": train.statistics,
    }

    def make(folder: Path) -> None:
        classifier = students_on(name, protocol.student_seeds, training_set, protocol)
        # Before the fit, which changes the networks.
        untrained = [fitted(network, train, test) for network in classifier.students]
        work = runtime.store.work(KIND, settings)
        runtime.fit(classifier, work, f"{training_set.columns['roster']} → {name} probe")
        trained = [fitted(network, train, test) for network in _trained_networks(classifier, train.device)]
        scores = zip(protocol.student_seeds, trained, untrained, strict=True)
        columns = ("seed", "accuracy", "accuracy_untrained")
        write_json(folder / "scores.json", [dict(zip(columns, score, strict=True)) for score in scores])

    # Stored for all seeds together, as they are trained together.
    scores: list[ProbeRow] = json.loads(
        (runtime.store.obtain(KIND, settings, make) / "scores.json").read_text()
    )
    common: ProbeRow = {
        **training_set.columns,
        "experiment": runtime.experiment,
        "scale": runtime.scale,
        "overrides": runtime.overrides,
        "architecture": name,
        "recipe": protocol.recipe.title,
        "recipe_key": protocol.recipe_key,
        "commit": commit(),
        "fusion": protocol.fusion.describe_for(len(training_set.pool.experts_M.unique())),
        "onto": train.name,
        "images_per_class": int(train.counts().max()),
    }
    return [{**common, **score, "config_hash": key({**settings, "seed": score["seed"]})} for score in scores]


def _trained_networks(classifier: Classifier, device: torch.device) -> Iterator[Network]:
    """Yield the students with their trained weights."""
    for i, network in enumerate(classifier.students):
        # The cohort may have trained all students stacked in one network, so their weights are copied back.
        network.load_state_dict(classifier.cohort.weights_of(i))
        network.to(device)  # Lightning moves a module to the CPU after a fit
        yield network


def _show(rows: Sequence[ProbeRow], runtime: Runtime) -> None:
    """Print the accuracies of each architecture's students, trained and untrained."""
    table = Table(title=f"{runtime.experiment}: linear probe, test accuracy, %, mean ± std over students")
    for column in ("network", "trained on the set", "untrained"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name in dict.fromkeys(row["architecture"] for row in rows):
        students = [row for row in rows if row["architecture"] == name]
        trained = in_percent([row["accuracy"] for row in students])
        untrained = in_percent([row["accuracy_untrained"] for row in students])
        table.add_row(name, trained, untrained)
    show(table)
    say(f"rows: {runtime.output / 'probe.csv'}")


def fitted(network: Network, train: RealSet, test: RealSet) -> float:
    """Fit a logistic regression to a network's standardised features; return its test accuracy.

    Accuracy is a fraction; features are those of the frozen network in evaluation mode.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    classifier.fit(_features(network, train), train.labels_N.cpu().numpy())
    return float(classifier.score(_features(network, test), test.labels_N.cpu().numpy()))


@torch.no_grad()
def _features(network: Network, real: RealSet) -> Any:
    network.eval()
    # In chunks, as a whole data set may not fit into the memory of a GPU.
    chunks = real.images_NCHW.split(_CHUNK)
    return torch.cat([network.embed(real.normalised(chunk)).cpu() for chunk in chunks]).numpy()


def _normalised_as(real: RealSet, reference: RealSet) -> RealSet:
    """Return real images that are normalised as the reference's, which the students were trained on."""
    return replace(real, mean=reference.mean, std=reference.std, whitening=reference.whitening)


def _balanced(real: RealSet, per_class: int | None) -> RealSet:
    """Return ``per_class`` random images of every class; all images for None."""
    fewest = int(real.counts().min())
    if per_class is None:
        return real
    if not 0 < per_class <= fewest:
        raise InputError(
            "pipeline.images_per_class", per_class, f"1 to {fewest}, the images of the smallest class"
        )
    # Seed 0 whatever the run's seed: all sets must be probed with the same images.
    rng, labels_N = stream(0, "probe"), real.labels_N.cpu()
    drawn = []
    for c in range(len(real.classes)):
        indices = labels_N.eq(c).nonzero().squeeze(1)
        drawn.append(indices[torch.randperm(len(indices), generator=rng)[:per_class]])
    return real.subset(torch.cat(drawn))
