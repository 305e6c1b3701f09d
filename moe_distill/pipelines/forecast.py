"""What a sweep is going to cost, told before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from moe_distill.data.partition import Stratified
from moe_distill.data.realset import RealSet
from moe_distill.experts.plan import KIND, Distillation
from moe_distill.models.base import NetworkFactory
from moe_distill.pipelines.evaluate import Examination
from moe_distill.pipelines.labelling import labeller_settings, require_labels
from moe_distill.pipelines.layout import count
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.speed import Work, speeds
from moe_distill.records import Store, key
from moe_distill.seeding import stream
from moe_distill.teachers.store import KIND as TEACHER
from moe_distill.teachers.trajectories import KIND as TRAJECTORY


@dataclass(frozen=True)
class Stage:
    """One stage of one cell: what it is stored under, the network that works, and how many images go forward."""

    name: str
    address: str
    network: NetworkFactory
    forwards: float


def foretold(plan: Distillation, baselines: Sequence[Distillation], exam: Examination, results: Results) -> list[Stage]:
    """Return the stages of a cell that are not done yet; a backward pass counts as two forward ones.

    Args:
        plan: The cell's distillation.
        baselines: What it is compared with.
        exam: How they are judged.
        results: What is finished already, with its store.

    Raises:
        InputError: The cell could not run.
    """
    store = results.store
    train, test = plan.data.load(store.root / "data")
    stages: list[Stage] = []
    for each in (plan, *baselines):
        each.check(train)
        require_labels(each, exam.recipe)
        settings = each.settings(train, store.root / "data")
        judged = {**settings, **labeller_settings(each, exam.recipe)}
        keys = {name: exam.keys(judged, test, name).values() for name in exam.students}
        if results.all_committed([k for own in keys.values() for k in own]):
            continue
        stages += [*_teachers(each, train, store), *_trajectories(each, train, store)]
        if store.find(KIND, settings) is None:
            stages.append(Stage(f"distill {each.roster}", key(settings), each.network, distilling(each, train)))
        for name, network in exam.students.items():
            if missing := sum(not results.has(k) for k in keys[name]):
                work = studying(each, exam, train, test, missing)
                decided = key(exam.settings(judged, test, name))
                stages.append(Stage(f"students {each.roster}", decided, network, work))
    return stages


def distilling(plan: Distillation, train: RealSet) -> float:
    """Return forward equivalents of a distillation; a regulariser is taken to be added once an iteration."""
    classes = len(train.classes)
    per_class, total = len(train) // classes // plan.roster.noe, 0.0
    for method, ipc in ((m.method(), m.ipc) for m in plan.roster.members):
        total += method.iterations * method.forwards(classes, ipc, per_class)
        if plan.regulariser is not None and method.trainable:
            decoded = classes * ipc * method.tiling.per_image
            total += method.iterations * plan.regulariser.forwards(decoded, len(train))
    return total


def studying(plan: Distillation, exam: Examination, train: RealSet, test: RealSet, students: int) -> float:
    """Return forward equivalents of training and testing so many students of one architecture."""
    decoded = sum(len(train.classes) * m.ipc * m.method().tiling.per_image for m in plan.roster.members)
    tests = sum(exam.recipe.tests_after(epoch) for epoch in range(exam.recipe.total_epochs))
    forwards = 3 + (exam.recipe.labels == "teacher_online")
    return students * (forwards * exam.recipe.total_epochs * decoded + tests * len(test))


def _teachers(plan: Distillation, train: RealSet, store: Store) -> list[Stage]:
    stages = []
    for pool, seen, _ in plan.taught(train, train, store.root / "data"):
        forwards = 3.0 * pool.recipe.total_epochs * len(seen)
        wanted = [pool.settings(seen, index) for index in range(pool.networks)]
        stages += [Stage("teachers", key(s), pool.network, forwards) for s in wanted if store.find(TEACHER, s) is None]
    return stages


def _trajectories(plan: Distillation, train: RealSet, store: Store) -> list[Stage]:
    stages: list[Stage] = []
    pools = plan.pools
    phi = (plan.features.settings(train, index) for index in range(plan.features.networks))
    unknown = plan.split.needs_features and any(store.find(TEACHER, settings) is None for settings in phi)
    split = Stratified().split(train, plan.roster.noe, stream(0, "forecast")) if unknown else None
    parts = (split or plan.parts(train, store)) if pools else []
    for number, pool in pools.items():
        seen = pool.seen(train, parts[number])
        network = plan.network_of(number)
        wanted = [pool.settings(seen, network, index) for index in range(pool.networks)]
        missing = [settings for settings in wanted if store.find(TRAJECTORY, settings) is None]
        stages += [Stage("trajectories", key(s), network, pool.forwards(len(seen))) for s in missing]
    return stages


Cell = tuple[Distillation, Sequence[Distillation], Examination, Results]


def told(cells: Sequence[Cell], accelerator: str, visible: str | None) -> str:
    """Return the forecast of a sweep as text: a line for each kind of stage, what cells share counted once, the sum.

    Args:
        cells: Plan, baselines, examination and finished rows of every job.
        accelerator: What the jobs work on (see :func:`~moe_distill.pipelines.speed.speeds`), as is ``visible``.
        visible: See ``accelerator``.
    """
    stages: list[tuple[str, Stage]] = []
    works: dict[str, Work] = {}
    names: dict[str, str] = {}
    busy = 0
    for plan, baselines, exam, results in cells:
        train, _ = plan.data.load(results.store.root / "data")
        own = foretold(plan, baselines, exam, results)
        busy += bool(own)
        for stage in own:
            kind = key([stage.network, train.channels, train.size])
            works.setdefault(kind, (stage.network, train.channels, len(train.classes), train.size))
            stages.append((kind, stage))
            names[stage.address] = f"{train.name} {stage.name}"
    per_image = dict(zip(works, speeds([*works.values()], accelerator, visible), strict=True))
    seconds = {stage.address: stage.forwards * per_image[kind] for kind, stage in stages}
    lines = [
        f"{sum(seconds[a] for a in names if names[a] == n) / 60:10.1f} min  {n}" for n in dict.fromkeys(names.values())
    ]
    total = f"about {in_words(sum(seconds.values()))} of work in {count([busy], 'job')}, one after the other"
    return "\n".join([*lines, f"{total}, on this machine; stages already in the store are left out"])


def in_words(seconds: float) -> str:
    """Return a duration as a person says it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
