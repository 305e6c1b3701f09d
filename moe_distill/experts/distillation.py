"""The complete plan of a distillation, shared by the stages that train, distil and evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moe_distill.costs import RecordedCost
from moe_distill.data.partition.split import NoSplit, Partition, Parts
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.errors import FieldError, InputError, within
from moe_distill.experts.coordinator import Diversity
from moe_distill.experts.feasibility import check_learner, check_options, check_pools, smallest_classes
from moe_distill.experts.filling import kind_of
from moe_distill.experts.partitioning import table_for
from moe_distill.experts.roster import Roster
from moe_distill.experts.schedule import RateSchedule
from moe_distill.experts.sequence import Conditioning
from moe_distill.experts.shared import OptimizerFactory
from moe_distill.methods.regularizers.base import Regulariser
from moe_distill.models.base import NetworkFactory
from moe_distill.models.numerics import dtype_of
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers.difficulty_partition import Difficulty
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.real_batches import RepresentativeSampling
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.validation.misfits import missing_parameter
from moe_distill.validation.values import Momentum, Whole, checked

KIND = "set"
# Results that the manifest of a set records.
RECORDED: Mapping[str, Any] = {"cost": RecordedCost, "iterations": Whole, "dcor2_unbiased": float | None}


@checked
@dataclass(frozen=True)
class Distillation:
    """Settings of a distillation, and what follows from them before it runs.

    Args:
        data: The real data.
        roster: The experts.
        partition: Divides real images among the experts; ignored for a single expert.
        network: Builds the distilling architecture of experts that do not have their own.
        features: Feature networks φ of the diversity term and of k-means and gated partitions.
        diversity: The diversity term, or None; ignored for a single expert.
        optimizer: Builds the images' optimiser, for methods that bring none of their own.
        seed: Seed of partition, initialisation, networks and draws.
        regulariser: A loss added for each expert whose images move, or None.
        schedule: How the images' learning rates fall, or None.
        ema: Decay of a moving average of each expert's images, which is the set then; None: the method's.
        perturbation: How the networks that images are matched under are perturbed, or None.
        real_sampling: How real batches of a class are chosen; None for random ones.
    """

    data: DataSource
    roster: Roster
    partition: Partition
    network: NetworkFactory
    features: PretrainedNetworks
    diversity: Diversity | None
    optimizer: OptimizerFactory
    seed: int
    regulariser: Regulariser | None = None
    schedule: RateSchedule | None = None
    ema: Momentum | None = None
    perturbation: Perturbation | None = None
    real_sampling: RepresentativeSampling | None = None

    @property
    def learns(self) -> bool:
        """True if any expert's images move."""
        return any(kind_of(m.method).trainable for m in self.roster.members)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types of the numbers that the distilling networks multiply; what learns nothing has none."""
        numbers = range(self.roster.num_experts if self.learns else 0)
        return tuple(sorted({dtype_of(network) for n in numbers for network in self.networks_of(n)}))

    @property
    def conditioning(self) -> Conditioning | None:
        """What each expert knows of those before it; None if they are made at once."""
        return self.roster.conditioning if self.roster.num_experts > 1 else None

    @property
    def before(self) -> "Distillation | None":
        """The distillation of all experts but the last, where they are made one after another."""
        if self.conditioning is None:
            return None
        return replace(self, roster=replace(self.roster, members=self.roster.members[:-1]))

    @property
    def numbers(self) -> range:
        """The experts that this distillation itself makes: of a sequence, the last one."""
        return range(0 if self.conditioning is None else self.roster.num_experts - 1, self.roster.num_experts)

    @property
    def warm_networks(self) -> int:
        """How many networks are trained on the images of the experts before the last one."""
        warm = self.conditioning.warm if self.conditioning else None
        return warm.networks if warm else 0

    @property
    def term(self) -> Diversity | None:
        """The diversity term, or None if it has no effect."""
        return self.diversity if len(self.numbers) > 1 and self.learns else None

    @property
    def effective_regulariser(self) -> Regulariser | None:
        """The regulariser, or None if it has no effect."""
        return self.regulariser if self.learns else None

    @property
    def regulariser_pools(self) -> Sequence[PretrainedNetworks]:
        """The pretrained networks that the regulariser uses; none where it has no effect."""
        return self.effective_regulariser.pools if self.effective_regulariser else ()

    @property
    def split(self) -> Partition:
        """The partition; none for a single expert, and for a sequence, whose experts all see all images."""
        return self.partition if len(self.numbers) > 1 else NoSplit()

    @property
    def needs_features(self) -> bool:
        """True if the feature networks φ must be trained first."""
        return self.term is not None or self.split.needs == "features"

    def trajectory_pools(self, real: RealSet) -> dict[int, TrajectoryPool]:
        """Return the teachers, by expert number, of each expert whose method matches trajectories."""
        pools = {}
        for number in self.numbers:
            method = self.roster.members[number].method()
            if method.teachers is not None:
                pools[number] = method.teachers.for_epochs(method.epochs_needed).on(real)
        return pools

    @property
    def pretrained(self) -> dict[int, Mapping[str, PretrainedNetworks | RecordedNetworks]]:
        """The pretrained networks that each expert's method needs, by expert number and pool name."""
        return {number: self.roster.members[number].method().all_pools for number in self.numbers}

    @property
    def recorded_pools(self) -> list[RecordedNetworks]:
        """Every distinct pool of networks that say how difficult images are."""
        pools = [pool for by_name in self.pretrained.values() for pool in by_name.values()]
        pools += [self.split.pool] if isinstance(self.split, Difficulty) else []
        return [*{key(pool): pool for pool in pools if isinstance(pool, RecordedNetworks)}.values()]

    def network_pools(
        self, train: RealSet, test: RealSet, cache: Path
    ) -> list[tuple[PretrainedNetworks, RealSet, RealSet]]:
        """Return every distinct pool of networks that is needed, with its training and test data.

        Args:
            train: The run's training data.
            test: The run's test data.
            cache: Folder where downloaded data sets are kept.

        Raises:
            InputError: A pool's own data do not fit the run's, or its networks the regulariser.
        """
        pools = [self.features] if self.needs_features else []
        members = [pool for by_name in self.pretrained.values() for pool in by_name.values()]
        pools += [pool for pool in members if isinstance(pool, PretrainedNetworks)]
        pools += self.regulariser_pools
        # By key: equal pools of several experts are trained once.
        needed = {key(pool): (pool, *pool.sets(train, test, cache)) for pool in pools}
        if self.effective_regulariser is not None:
            self.effective_regulariser.check(train, [needed[key(p)][1] for p in self.regulariser_pools])
        return list(needed.values())

    @property
    def labeller(self) -> PretrainedNetworks | None:
        """The teacher that can label students' batches, of the first expert that has one; or None."""
        labellers = [member.method().labeller for member in self.roster.members]
        return next((pool for pool in labellers if pool is not None), None)

    @property
    def pieces(self) -> tuple[int, ...]:
        """Patches per side that each expert's stored images are stitched from."""
        return tuple(m.method().pieces for m in self.roster.members)

    def settings(self, real: RealSet, cache: Path) -> dict[str, Any]:
        """Return everything that affects the distilled set, as stored in its key.

        Args:
            real: The run's training data.
            cache: Folder where downloaded data sets are kept.
        """
        # Fingerprints of pools' own data: their folders may come to hold other images under the same name.
        seen_by_pools = [
            pool.sets(real, real, cache)[0].fingerprint
            for pool in self.regulariser_pools
            if pool.data is not None
        ]
        settings = {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "roster": self.roster.members,
            "partition": self.split,
            "network": self.network,
            "features": self.features if self.needs_features else None,
            "diversity": self.term,
            "optimizer": self.optimizer,
            "seed": self.seed,
            "regulariser": self.effective_regulariser,
            "seen_by_pools": list(dict.fromkeys(seen_by_pools)) or None,
            "conditioning": self.conditioning,
            "schedule": self.schedule if self.learns else None,
            "ema": self.ema if self.learns else None,
            "perturbation": self.perturbation if self.learns else None,
            "real_sampling": self.real_sampling if self.learns else None,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def check(self, real: RealSet) -> None:
        """Reject a plan that cannot be distilled, before any computation.

        Raises:
            InputError: A class has too few images for an expert, a method cannot work with the data, the
                diversity term has too few images to compare, or a network or teacher cannot be built.
        """
        for member in self.roster.members:
            with within(f"roster.{member.where}"):
                if missing := missing_parameter(member.method, {}):
                    raise FieldError(missing, "", "a value: it has no default")
                member.method().check(real)
        rng = stream(self.seed, "partition")
        fewest_of_experts = smallest_classes(self.split, real, self.roster.num_experts, rng)
        for member, fewest in zip(self.roster.members, fewest_of_experts, strict=True):
            member.method().require_images(member.ipc, fewest)
        if self.term is not None:
            with within("diversity"):
                self.term.require_rows(self.roster.decoded_per_class, len(real.classes))
        for number, pool in self.trajectory_pools(real).items():
            with within(f"roster.{self.roster.members[number].where}.teachers"):
                for network in self.networks_of(number):
                    pool.check(real, network)
        if self.learns:
            check_learner(self.network, self.roster, self.optimizer, real)
            check_options(self.roster, self.perturbation, self.real_sampling)
        check_pools(self._pools_by_path, real)
        for recorded in self.recorded_pools:
            recorded.check(real)

    def decoded(self, real: RealSet) -> tuple[int, ...]:
        """Return the number of decoded images of each expert, which students are trained on."""
        return tuple(len(real.classes) * images for images in self.roster.decoded_per_class)

    @property
    def _pools_by_path(self) -> list[tuple[str, PretrainedNetworks]]:
        """The pools of networks that are needed, each with its path in the configuration."""
        members = [
            (f"roster.{member.where}.{name}", pool)
            for member in self.roster.members
            for name, pool in member.method().pools.items()
        ]
        features = [("features", self.features)] if self.needs_features else []
        return [*features, *members, *(("regulariser.pools", pool) for pool in self.regulariser_pools)]

    def networks_of(self, number: int) -> tuple[NetworkFactory, ...]:
        """Return the builders of the architectures that an expert distils with; they take turns."""
        return tuple(network or self.network for network in self.roster.members[number].networks)

    def parts(self, real: RealSet, store: Store) -> Parts:
        """Return, for each expert, the indices of its real images in the training data."""
        table = table_for(self.split, self.features, store)
        return self.split.split(real, self.roster.num_experts, stream(self.seed, "partition"), table)

    def find(self, store: Store, real: RealSet) -> Path:
        """Return the folder of the distilled set.

        Raises:
            InputError: The set was not distilled yet.
        """
        folder = store.find(KIND, self.settings(real, store.root / "data"))
        if folder is None:
            allowed = f"a set distilled before; {store.root} does not hold it: run the same command with"
            raise InputError("set", self.roster, f"{allowed} pipeline=distill (or pipeline=full) first")
        return folder
