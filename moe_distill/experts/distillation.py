"""Everything that decides a distilled set, in one record that the stages share."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moe_distill.costs import Noted
from moe_distill.data.partition.split import NoSplit, Partition, Parts
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.diversity.features import features_of_set
from moe_distill.errors import FieldError, InputError, within
from moe_distill.experts.coordinator import Diversity
from moe_distill.experts.filling import kind_of
from moe_distill.experts.roster import Roster
from moe_distill.experts.shared import OptimizerFactory, SharedResources
from moe_distill.methods.base import Regulariser
from moe_distill.models.base import Network, NetworkFactory, rehearse
from moe_distill.seeding import stream
from moe_distill.store.identity import describe, key
from moe_distill.store.store import Store
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.trajectories import Trajectories, TrajectoryPool
from moe_distill.training.recipe import check_optimizer
from moe_distill.validation.misfits import missing_of
from moe_distill.validation.values import Whole, checked

KIND = "set"
NOTED: Mapping[str, Any] = {
    "cost": Noted,
    "iterations": Whole,
    "dcor2_unbiased": float | None,
}  # in its manifest


@checked
@dataclass(frozen=True)
class Distillation:
    """A distillation before it is run.

    Args:
        data: The real data.
        roster: Who the experts are.
        partition: Which real images each of them sees; without effect for a single expert.
        network: Builds the distilling architecture of every expert that has none of its own.
        features: φ, and the features of a k-means or a gated partition.
        diversity: The diversity term, or None; without effect for a single expert.
        regulariser: A term of each expert whose images move, or None.
        optimizer: Makes the images' optimiser.
        seed: Seed of partition, initialisation, networks and draws.
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

    @property
    def learns(self) -> bool:
        """Whether any expert's images move."""
        return any(kind_of(m.method).trainable for m in self.roster.members)

    @property
    def term(self) -> Diversity | None:
        """The diversity term that has an effect."""
        return self.diversity if self.roster.num_experts > 1 and self.learns else None

    @property
    def regularizing(self) -> Regulariser | None:
        """The regulariser that has an effect."""
        return self.regulariser if self.learns else None

    @property
    def split(self) -> Partition:
        """The partition that has an effect."""
        return self.partition if self.roster.num_experts > 1 else NoSplit()

    @property
    def needs_features(self) -> bool:
        """Whether φ must be trained first."""
        return self.term is not None or self.split.needs_features

    def trajectory_pools(self, real: RealSet) -> dict[int, TrajectoryPool]:
        """Return the teachers of each expert whose method matches trajectories, for the epochs of all data it
        needs.
        """
        built = {number: m.method() for number, m in enumerate(self.roster.members)}
        pools = {
            n: m.teachers.for_epochs(m.epochs_needed) for n, m in built.items() if m.teachers is not None
        }
        return {n: pool.on(real) for n, pool in pools.items()}

    @property
    def pretrained(self) -> dict[int, Mapping[str, PretrainedNetworks]]:
        """The pools of networks that each expert's method asks for, by name."""
        return {number: member.method().all_pools for number, member in enumerate(self.roster.members)}

    def taught(
        self, train: RealSet, test: RealSet, cache: Path
    ) -> list[tuple[PretrainedNetworks, RealSet, RealSet]]:
        """Return each pool of networks that is needed, once, with what its networks are trained and tested
        on.

        Raises:
            InputError: A pool's own data cannot serve.
        """
        pools = [self.features] if self.needs_features else []
        pools += [pool for by_name in self.pretrained.values() for pool in by_name.values()]
        pools += self.regularizing.pools if self.regularizing else ()
        needed = {key(pool): (pool, *pool.sets(train, test, cache)) for pool in pools}
        if self.regularizing is not None:
            self.regularizing.check(train, [needed[key(pool)][1] for pool in self.regularizing.pools])
        return list(needed.values())

    @property
    def labeller(self) -> PretrainedNetworks | None:
        """The teacher that can label students' batches: the first expert's that has one."""
        return next((pool for m in self.roster.members if (pool := m.method().labeller) is not None), None)

    @property
    def pieces(self) -> tuple[int, ...]:
        """Patches a side of which the stored images of each expert are stitched."""
        return tuple(m.method().pieces for m in self.roster.members)

    def settings(self, real: RealSet, cache: Path) -> dict[str, Any]:
        """Return what decides the distilled set, less what has no effect; ``cache`` is where data are
        kept.
        """
        # Their folders may come to hold other images.
        own = [
            pool for pool in (self.regularizing.pools if self.regularizing else ()) if pool.data is not None
        ]
        decides = {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "roster": self.roster.members,
            "partition": self.split,
            "network": self.network,
            "features": self.features if self.needs_features else None,
            "diversity": self.term,
            "optimizer": self.optimizer,
            "seed": self.seed,
            "regulariser": self.regularizing,
            "seen_by_pools": list(dict.fromkeys(pool.sets(real, real, cache)[0].fingerprint for pool in own))
            or None,
        }
        return {name: value for name, value in decides.items() if value is not None}

    def check(self, real: RealSet) -> None:
        """Refuse what cannot be distilled, before any work.

        Raises:
            InputError: A class has fewer images than an expert is to hold, a method cannot work with the
                data, the diversity term has too few images to compare, or teachers cannot be what they
                should.
        """
        for member in self.roster.members:
            with within(f"roster.{member.where}"):
                if lacking := missing_of(member.method, {}):
                    raise FieldError(lacking, "", "a value: it has no default")
                member.method().check(real)
        for member, fewest in zip(self.roster.members, self._fewest(real), strict=True):
            member.method().require_images(member.ipc, fewest)
        if self.term is not None:
            with within("diversity"):
                self.term.require_rows(self.roster.decoded_per_class, len(real.classes))
        for number, pool in self.trajectory_pools(real).items():
            with within(f"roster.{self.roster.members[number].where}.teachers"):
                pool.check(real, self.network_of(number))
        self._check_networks(real)

    def forward_passes(self, real: RealSet) -> float | None:
        """Return images sent forward by the whole distillation, a backward pass counted as two.

        A regulariser is taken to be added once an iteration. None where a method does not say its own.
        """
        classes = len(real.classes)
        per_class, total = len(real) // classes // self.roster.num_experts, 0.0
        for method, ipc in ((member.method(), member.ipc) for member in self.roster.members):
            if (iteration := method.forward_passes(classes, ipc, per_class)) is None:
                return None
            total += method.iterations * iteration
            if self.regulariser is not None and method.trainable:
                decoded = classes * ipc * method.tiling.per_image
                total += method.iterations * self.regulariser.forward_passes(decoded, len(real))
        return total

    def decoded(self, real: RealSet) -> int:
        """Return how many images students see of the set."""
        return len(real.classes) * sum(self.roster.decoded_per_class)

    def _check_networks(self, real: RealSet) -> None:
        """Refuse networks and optimisers that cannot be made, or cannot be trained on these images."""
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        if self.learns:
            with within("network"):
                rehearse(self.network, **shape)
            with within("optimizer"):
                check_optimizer(self.optimizer)
        for path, pool in self._pools_by_path:
            if pool.data is None:
                with within(path):
                    pool.check(shape, len(real))

    @property
    def _pools_by_path(self) -> list[tuple[str, PretrainedNetworks]]:
        """The pools of networks that are needed, with where they stand in what makes the plan."""
        members = [
            (f"roster.{member.where}.{name}", pool)
            for member in self.roster.members
            for name, pool in member.method().pools.items()
        ]
        terms = self.regularizing.pools if self.regularizing else ()
        features = [("features", self.features)] if self.needs_features else []
        return [*features, *members, *(("regulariser.pools", pool) for pool in terms)]

    def _fewest(self, real: RealSet) -> list[int]:
        """Return for each expert how many images of their smallest class it is going to see."""
        noe, smallest = self.roster.num_experts, int(real.counts().min())
        if smallest < (1 if isinstance(self.split, NoSplit) else noe):
            raise InputError("noe", noe, f"at most {smallest}, the images of the smallest class")
        if self.split.needs_features:  # which are not there yet; such parts are balanced
            return [smallest // noe] * noe
        labels_N = real.labels_N.cpu()
        parts = self.split.split(real, noe, stream(self.seed, "partition"))
        return [int(labels_N[part].bincount(minlength=len(real.classes)).min()) for part in parts]

    def network_of(self, number: int) -> NetworkFactory:
        """Return what builds the architecture that an expert distils with."""
        return self.roster.members[number].network or self.network

    def resources(
        self, real: RealSet, trajectories: Mapping[int, Trajectories], store: Store
    ) -> SharedResources:
        """Return what the experts work with; trajectories by the expert's number.

        Raises:
            InputError: Networks of a pool were not trained yet, or cannot serve.
        """
        loaded = {
            key(pool): pool.load(store, real) for pool, *_ in self.taught(real, real, store.root / "data")
        }
        return SharedResources(
            real,
            self.network,
            self.optimizer,
            self.seed,
            describe(self.settings(real, store.root / "data")),
            trajectories,
            {
                n: {name: loaded[key(pool)] for name, pool in pools.items()}
                for n, pools in self.pretrained.items()
            },
            self.regulariser,
            [loaded[key(pool)] for pool in self.regularizing.pools] if self.regularizing else (),
        )

    def trajectories(self, real: RealSet, parts: Parts, store: Store) -> dict[int, Trajectories]:
        """Return the trajectories of each expert whose method matches them.

        Raises:
            InputError: They were not trained yet, or are damaged.
        """
        pools = self.trajectory_pools(real)
        return {
            n: pool.load(store, pool.seen(real, parts[n]), self.network_of(n)) for n, pool in pools.items()
        }

    def parts(self, real: RealSet, store: Store) -> Parts:
        """Return each expert's indices into the real training data."""
        features = functools.partial(_features, self, store) if self.split.needs_features else None
        return self.split.split(real, self.roster.num_experts, stream(self.seed, "partition"), features)

    def find(self, store: Store, real: RealSet) -> Path:
        """Return the folder of the distilled set.

        Raises:
            InputError: It was not distilled yet.
        """
        folder = store.find(KIND, self.settings(real, store.root / "data"))
        if folder is None:
            allowed = f"a set distilled before; {store.root} does not hold it: run the same command with"
            raise InputError("set", self.roster, f"{allowed} pipeline=distill (or pipeline=full) first")
        return folder


def _features(plan: Distillation, store: Store, real: RealSet) -> torch.Tensor:
    network: Network = plan.features.load(store, real)[0].to(real.device)
    return features_of_set(network, real)
