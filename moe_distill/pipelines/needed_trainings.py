"""The trainings that a distillation waits for, in the order in which they can be done."""

from collections.abc import Iterable, Iterator

from moe_distill.data.partition.split import Parts, Stratified
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.loading import expert_banks, started_pools
from moe_distill.experts.partitioning import is_ready
from moe_distill.models.base import NetworkFactory
from moe_distill.pipelines.bank import BankMaking
from moe_distill.pipelines.trainings import PoolTraining, Training, TrajectoryTraining
from moe_distill.pipelines.warm import WarmTraining
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers.pool import PretrainedNetworks


def pretraining(plan: Distillation, results: FinishedRows) -> Iterator[Training]:
    """Yield the trainings that a plan needs: networks of pools, φ among them, then trajectories, then banks.

    Those that tell how difficult images are come before those of experts, whose images they may decide.

    Raises:
        InputError: The plan cannot be distilled.
    """
    train, test = plan.data.load(results.store.cache)
    with within("plan"):
        plan.check(train)
    yield from pool_trainings(plan.network_pools(train, test, results.store.cache))
    for recorded in plan.recorded_pools:
        pool, network = recorded.trajectories, recorded.network
        yield TrajectoryTraining(pool, "difficulty", network, train, test, plan, train)
    pools_by_expert = started_pools(plan, train, results.store.cache)
    # Not before: a partition may need networks, which whoever runs these stages has trained by now.
    parts = _parts(plan, train, results.store) if pools_by_expert else []
    # Experts that see the same images with the same settings share their teachers.
    stages: dict[str, TrajectoryTraining] = {}
    for number, pool in pools_by_expert.items():
        seen = pool.seen(train, parts[number])
        for network, whose in _named(plan, number):
            stage = TrajectoryTraining(pool, whose, network, seen, test, plan, train)
            stages.setdefault(key([pool, seen.fingerprint, network]), stage)
    yield from stages.values()
    yield from _bank_makings(plan, train, parts, results.store)


def _named(plan: Distillation, number: int) -> list[tuple[NetworkFactory, str]]:
    """Return an expert's architectures, each with what the expert is called when it is their turn."""
    name, networks = f"{plan.roster} expert {number + 1}", plan.networks_of(number)
    several = len(networks) > 1
    return [(network, f"{name} network {n}" if several else name) for n, network in enumerate(networks, 1)]


def _bank_makings(plan: Distillation, train: RealSet, parts: Parts, store: Store) -> list[BankMaking]:
    """Return the banks that a plan needs, without duplicates: experts that see the same images share one."""
    makings: dict[str, BankMaking] = {}
    for number, banks in expert_banks(plan, train, parts, store.cache).items():
        for bank, (_, whose) in zip(banks, _named(plan, number), strict=True):
            makings.setdefault(key(bank.settings), BankMaking(bank, whose, plan, train))
    return [*makings.values()]


def trainings_of(plan: Distillation, results: FinishedRows) -> Iterator[Training]:
    """Yield all trainings that a plan's own distilling waits for.

    The networks that an expert of a sequence starts from come first, then those of :func:`pretraining`. What
    the sequence's earlier experts wait for is not among them.
    """
    train, _ = plan.data.load(results.store.cache)
    yield from (WarmTraining(plan, train, index) for index in range(plan.warm_networks))
    yield from pretraining(plan, results)


def pool_trainings(taught: Iterable[tuple[PretrainedNetworks, RealSet, RealSet]]) -> list[PoolTraining]:
    """Return the trainings of all networks of some pools, without duplicates.

    Args:
        taught: Pools, each with the images that its networks are trained and tested on. Pools that differ
            only in their number of networks share the first ones.
    """
    stages = [
        PoolTraining(pool, i, train, test) for pool, train, test in taught for i in range(pool.networks)
    ]
    return [*{key(stage.settings): stage for stage in stages}.values()]


def _parts(plan: Distillation, train: RealSet, store: Store) -> Parts:
    """Return the images that each expert sees; stand-ins of about the same sizes until networks are there."""
    if not is_ready(plan.split, plan.features, store, train):
        return Stratified().split(train, plan.roster.num_experts, stream(0, "forecast"))
    return plan.parts(train, store)
