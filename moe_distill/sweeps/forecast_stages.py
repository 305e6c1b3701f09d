"""What each pipeline is going to do: a function of its name and arguments, with results in place of the runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moe_distill.data.partition.split import Stratified
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.data.sources.tree import KEY as DATA_KEY
from moe_distill.diversity.measures import Measure
from moe_distill.errors import renamed, within
from moe_distill.evaluation.labels import labeller_settings, require_labels
from moe_distill.evaluation.protocol import Examination
from moe_distill.experts.distillation import KIND, Distillation
from moe_distill.models.base import NetworkFactory
from moe_distill.pipelines.full import by_path
from moe_distill.results.known_rows import Results
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.sweeps.forecast_counts import distilling, studying
from moe_distill.sweeps.speed import Work
from moe_distill.teachers.pool import KIND as TEACHER
from moe_distill.teachers.pool import TeacherPool
from moe_distill.training.recipe import Recipe


class NotForetold(Exception):
    """What a job is going to cost cannot be told; the message says of what."""


@dataclass(frozen=True)
class Stage:
    """One stage of one job.

    Attributes:
        name: What it is called.
        address: What it is stored under.
        work: The network that works.
        forwards: How many images go forward, a backward pass counted as two; None where its method does not say.
        snapshots: How many times the network's weights are written, in 32 bits each.
    """

    name: str
    address: str
    work: Work
    forwards: float | None
    snapshots: int = 0


def pretrain(results: Results, plan: Distillation) -> list[Stage]:
    """Return the networks and trajectories that are missing."""
    train, _ = _data(plan, results)
    with within("plan"):
        plan.check(train)
    taught = plan.taught(train, train, results.store.root / "data")
    return [*_teachers([(pool, seen) for pool, seen, _ in taught], results), *_trajectories(plan, train, results.store)]


def distill(results: Results, plan: Distillation) -> list[Stage]:
    """Return the distillation, unless its set is there."""
    train, _ = _data(plan, results)
    with within("plan"):
        plan.check(train)
    settings = plan.settings(train, results.store.root / "data")
    if results.store.has(KIND, settings):
        return []
    return [Stage(f"distill {plan.roster}", key(settings), _work(plan.network, train), distilling(plan, train))]


def evaluate(results: Results, plan: Distillation, exam: Examination, path: str | None = None) -> list[Stage]:
    """Return the students of the plan's set that are missing."""
    _require_plans_set(path)
    require_labels(plan, exam.recipe)
    train, _ = _data(plan, results)
    return _students(_judged(plan, exam, results), str(plan.roster), plan.decoded(train), plan, exam, results)


def full(
    results: Results, plans: Mapping[str, Distillation], baselines: Mapping[str, Distillation], exam: Examination
) -> list[Stage]:
    """Return what is missing of every stage, also of the baselines."""
    stages: list[Stage] = []
    for path, plan in by_path(plans, baselines).items():
        train, test = _data(plan, results)
        with within(path):
            plan.check(train)
        require_labels(plan, exam.recipe)
        judged = _judged(plan, exam, results)
        keys = [k for name in exam.students for k in exam.keys(judged, test, name).values()]
        if not results.all_committed(keys):
            stages += [*pretrain(results, plan), *distill(results, plan), *evaluate(results, plan, exam)]
    return list({stage.address: stage for stage in stages}.values())  # what two plans share counts once


def upper_bound(results: Results, plan: Distillation, exam: Examination) -> list[Stage]:
    """Return the students of all real images that are missing."""
    train, _ = _data(plan, results)
    judged = {"real": train.fingerprint, "statistics": train.statistics, **labeller_settings(plan, exam.recipe)}
    return _students(judged, "all real data", len(train), plan, exam, results)


def score(
    results: Results,
    plan: Distillation,
    exam: Examination,
    real: Recipe,
    lrs: Sequence[float],
    select_on: str,
    held_out: float,
    w: float,
    gamma: float,
    path: str | None = None,
) -> list[Stage]:
    """Return the plan's set where it is missing, and every training of every rate, as if none were done."""
    _require_plans_set(path)
    train, test = _data(plan, results)
    random = len(train.classes) * plan.roster.budget
    trained = [(exam.recipe, plan.decoded(train))] * 3 + [(exam.recipe, random)] * 2 + [(real, len(train))]
    students = exam.seeds * (len(lrs) + 1 if len(lrs) > 1 else 1)
    forwards = sum(studying(recipe, images, len(test), students) for recipe, images in trained)
    decided = [_judged(plan, exam, results), exam.recipe, list(exam.numbers), real, lrs, select_on, held_out]
    scored = [
        Stage(
            f"six trainings to score {plan.roster}, done or not", key([decided, name]), _work(network, train), forwards
        )
        for name, network in exam.students.items()
    ]
    return [*pretrain(results, plan), *distill(results, plan), *scored]


def probe(
    results: Results,
    plan: Distillation,
    exam: Examination,
    path: str | None = None,
    onto: DataSource | None = None,
    images_per_class: int | None = None,
) -> list[Stage]:
    """Return the plan's set where it is missing, and its students; what the linear classifiers take is left out."""
    _require_plans_set(path)
    require_labels(plan, exam.recipe)
    train, test = _data(plan, results)
    with renamed(DATA_KEY, DATA_KEY if onto is None else "pipeline.onto.root"):
        other, held = (onto or plan.data).load(results.store.root / "data")
    looked = (
        exam.seeds * 2 * (len(held) + (len(other.classes) * images_per_class if images_per_class else len(other)))
    )  # before and after the training
    forwards = looked + studying(exam.recipe, plan.decoded(train), len(test), exam.seeds)
    decided = [_judged(plan, exam, results), exam.recipe, list(exam.numbers), other.fingerprint, images_per_class]
    probed = [
        Stage(
            f"students to probe of {plan.roster}, done or not, less the classifiers",
            key([decided, name]),
            _work(network, train),
            forwards,
        )
        for name, network in exam.students.items()
    ]
    return [*pretrain(results, plan), *distill(results, plan), *probed]


def measure(
    results: Results,
    plan: Distillation,
    judges: Mapping[str, NetworkFactory],
    measures: Mapping[str, Measure],
    networks: int,
    seed: int,
    draws: int,
    path: str | None = None,
) -> list[Stage]:
    """Return what is missing of the plan's set and of the judges; what the measures take of them is left out."""
    _require_plans_set(path)
    train, _ = _data(plan, results)
    pools = [replace(plan.features, network=f, networks=networks, seed=seed) for f in judges.values()]
    judging = [(pool, pool.sets(train, train, results.store.root / "data")[0]) for pool in pools]
    return [*pretrain(results, plan), *distill(results, plan), *_teachers(judging, results)]


def _data(plan: Distillation, results: Results) -> tuple[RealSet, RealSet]:
    return plan.data.load(results.store.root / "data")


def _work(network: NetworkFactory, real: RealSet) -> Work:
    return network, real.channels, len(real.classes), real.size


def _require_plans_set(path: str | None) -> None:
    if path is not None:
        raise NotForetold(f"work on the set at {path}")


def _judged(plan: Distillation, exam: Examination, results: Results) -> dict[str, Any]:
    train, _ = _data(plan, results)
    return {**plan.settings(train, results.store.root / "data"), **labeller_settings(plan, exam.recipe)}


def _students(
    judged: Mapping[str, Any], who: str, images: int, plan: Distillation, exam: Examination, results: Results
) -> list[Stage]:
    train, test = _data(plan, results)
    stages = []
    for name, network in exam.students.items():
        missing = sum(not results.has(k) for k in exam.keys(judged, test, name).values())
        address = key(exam.settings(judged, test, name))
        forwards = studying(exam.recipe, images, len(test), missing)
        stages += [Stage(f"students {who}", address, _work(network, train), forwards)] if missing else []
    return stages


def _teachers(taught: Sequence[tuple[TeacherPool, RealSet]], results: Results) -> list[Stage]:
    stages = []
    for pool, seen in taught:
        forwards = 3.0 * pool.recipe.total_epochs * len(seen)
        wanted = [pool.settings(seen, index) for index in range(pool.networks)]
        missing = [s for s in wanted if not results.store.has(TEACHER, s)]
        stages += [Stage("teachers", key(s), _work(pool.network, seen), forwards, snapshots=1) for s in missing]
    return stages


def _trajectories(plan: Distillation, train: RealSet, store: Store) -> list[Stage]:
    stages: list[Stage] = []
    pools = plan.trajectory_pools(train)
    phi = (plan.features.settings(train, index) for index in range(plan.features.networks))
    unknown = plan.split.needs_features and not all(store.has(TEACHER, settings) for settings in phi)
    split = Stratified().split(train, plan.roster.noe, stream(0, "forecast")) if unknown else None
    parts = (split or plan.parts(train, store)) if pools else []
    for number, pool in pools.items():
        seen = pool.seen(train, parts[number])
        network = plan.network_of(number)
        missing = [index for index in range(pool.networks) if not pool.is_trained(store, seen, network, index)]
        wanted = [pool.settings(seen, network, index) for index in missing]
        cost, kept = pool.forwards(seen), pool.recipe.total_epochs + 1
        stages += [Stage("trajectories", key(s), _work(network, seen), cost, kept) for s in wanted]
    return stages
