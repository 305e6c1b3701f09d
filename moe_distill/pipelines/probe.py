"""Linear probe: what the features of a student, frozen after its training on a set, are worth for real
images.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
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
from moe_distill.evaluation.labels import require_labels, with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import students_on
from moe_distill.evaluation.training_set import TrainingSet, training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network
from moe_distill.pipelines.evaluate import SetStudents, require_plans_set
from moe_distill.pipelines.finish import write_stages
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.stage import Missing, Pipeline, ResultRow, Stage, Work, make_all
from moe_distill.results.known_rows import Results
from moe_distill.results.run_tables import publish
from moe_distill.results.schema import ProbeRow, columns_of
from moe_distill.results.wording import in_percent
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import commit, write_json
from moe_distill.terminal import say, show
from moe_distill.validation.values import Count, Text, checked

KIND = "probe"
COLUMNS = columns_of(ProbeRow)
_ROUNDS, _CHUNK = 1000, 512


@checked
@dataclass(frozen=True)
class Probe(Pipeline):
    """Train students on a set, freeze them, and test a logistic regression on their features of real images.

    Leaves ``probe.csv``: a row an architecture and seed, beside the same network as it was before its
    training.

    Args:
        plan: The distillation whose set the students are trained on.
        protocol: How they are trained: as in an evaluation.
        path: A set's file or folder instead of the plan's, which is distilled now where it is not yet.
        onto: The real data of the probe, of the same size and channels; None takes the set's own.
        images_per_class: Real training images of each class, drawn at random; None takes all.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: Text | None = None
    onto: DataSource | None = None
    images_per_class: Count | None = None

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield what makes the set, and the students; what the linear classifiers take is left out.

        Raises:
            UnknownCost: The set is at a path.
        """
        require_plans_set(self.path)
        require_labels(self.plan, self.protocol.recipe)
        yield from set_stages(self.plan, results)
        yield Probing(self)

    def data_of(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the real images that the classifiers are fitted to and tested on."""
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
        rows = Probing(self).make(runtime)
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
        of: Whose students they are.
    """

    of: Probe

    def missing(self, results: Results) -> list[Missing]:
        """Return every student, done or not: they are trained again to be probed."""
        plan, protocol = self.of.plan, self.of.protocol
        train, test = plan.data.load(results.store.cache)
        other, tested = self.of.data_of(results.store.cache)
        per_class = self.of.images_per_class
        fitted_to = len(other.classes) * per_class if per_class else len(other)
        looks = protocol.seeds * 2 * (len(tested) + fitted_to)  # before and after the training
        forward_passes = looks + protocol.recipe.forward_passes(
            plan.decoded(train), len(test), protocol.seeds
        )
        decided = SetStudents(plan, protocol).trained_on(results)
        decides = [decided, protocol.recipe, list(protocol.numbers), other.fingerprint, per_class]
        name = f"students to probe of {plan.roster}, done or not, less the classifiers"
        networks = protocol.students.items()
        return [
            Missing(name, key([decides, who]), Work.on(network, train), forward_passes)
            for who, network in networks
        ]

    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Train and probe the students that are missing; return a row each."""
        plan, protocol = self.of.plan, self.of.protocol
        training_set = with_recipe_labels(
            training_set_of(plan, runtime, self.of.path), plan, protocol.recipe, runtime
        )
        train, test = self.of.data_of(runtime.cache)
        shape, wanted = (train.channels, train.size), (training_set.test.channels, training_set.test.size)
        if shape != wanted:
            value, allowed = f"{train.name}, {shape[1]} pixels", f"{wanted[0]} × {wanted[1]}² as the set's"
            raise InputError("pipeline.onto", value, allowed)
        train, test = (_as_seen(part, training_set.test).to(runtime.device) for part in (train, test))
        train = _balanced(train, self.of.images_per_class)
        return [
            row
            for name in protocol.students
            for row in _probed(name, training_set, protocol, runtime, train, test)
        ]


def _probed(
    name: str,
    training_set: TrainingSet,
    protocol: EvaluationProtocol,
    runtime: Runtime,
    train: RealSet,
    test: RealSet,
) -> list[ResultRow]:
    common = protocol.settings(training_set.settings, training_set.test, name)
    settings = {
        **common,
        "seeds": list(protocol.numbers),
        "onto": [train.fingerprint, test.fingerprint],
        "statistics": train.statistics,
    }

    def make(folder: Path) -> None:
        classifier = students_on(name, protocol.numbers, training_set, protocol)
        before = [fitted(network, train, test) for network in classifier.students]
        runtime.fit(
            classifier, runtime.store.work(KIND, settings), f"{training_set.columns['roster']} → {name} probe"
        )
        scores = []
        for i, network in enumerate(classifier.students):
            network.load_state_dict(classifier.cohort.weights_of(i))
            network.to(train.device)  # whence the fit took it away
            own = {
                "seed": protocol.numbers[i],
                "accuracy": fitted(network, train, test),
                "accuracy_untrained": before[i],
            }
            scores.append(own)
        write_json(folder / "scores.json", scores)

    held = json.loads((runtime.store.obtain(KIND, settings, make) / "scores.json").read_text())
    told = {
        **{column: training_set.columns[column] for column in COLUMNS if column in training_set.columns},
        **{"experiment": runtime.experiment, "scale": runtime.scale, "overrides": runtime.overrides},
        **{
            "architecture": name,
            "recipe": protocol.recipe.name,
            "recipe_key": protocol.recipe_key,
            "commit": commit(),
        },
        "fusion": protocol.fusion.describe_for(len(training_set.pool.experts_M.unique())),
        "onto": train.name,
        "images_per_class": int(train.counts().max()),
    }
    return [{**told, **row, "config_hash": key({**settings, "seed": row["seed"]})} for row in held]


def _show(found: Sequence[Mapping[str, Any]], runtime: Runtime) -> None:
    shown = Table(title=f"{runtime.experiment}: linear probe, test accuracy, %, mean ± std over students")
    for column in ("network", "trained on the set", "untrained"):
        shown.add_column(column, justify="left" if column == "network" else "right")
    for name in dict.fromkeys(row["architecture"] for row in found):
        own = [row for row in found if row["architecture"] == name]
        shown.add_row(
            name, *(in_percent([row[c] for row in own]) for c in ("accuracy", "accuracy_untrained"))
        )
    show(shown)
    say(f"rows: {runtime.output / 'probe.csv'}")


def fitted(network: Network, train: RealSet, test: RealSet) -> float:
    """Return the test accuracy, a fraction, of a logistic regression on a network's standardised features."""
    judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ROUNDS))
    judge.fit(_features(network, train), train.labels_N.cpu().numpy())
    return float(judge.score(_features(network, test), test.labels_N.cpu().numpy()))


@torch.no_grad()
def _features(network: Network, real: RealSet) -> Any:
    network.eval()
    chunks = real.images_NCHW.split(_CHUNK)
    return torch.cat([network.embed(real.normalised(chunk)).cpu() for chunk in chunks]).numpy()


def _as_seen(real: RealSet, by: RealSet) -> RealSet:
    """Return real images that are normalised as the students' own were."""
    return replace(real, mean=by.mean, std=by.std, whitening=by.whitening)


def _balanced(real: RealSet, per_class: int | None) -> RealSet:
    fewest = int(real.counts().min())
    if per_class is None:
        return real
    if not 0 < per_class <= fewest:
        raise InputError(
            "pipeline.images_per_class", per_class, f"1 to {fewest}, the images of the smallest class"
        )
    rng, labels_N = stream(0, "probe"), real.labels_N.cpu()
    rows = [labels_N.eq(c).nonzero().squeeze(1) for c in range(len(real.classes))]
    return real.subset(torch.cat([r[torch.randperm(len(r), generator=rng)[:per_class]] for r in rows]))
