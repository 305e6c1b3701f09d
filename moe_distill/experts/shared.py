"""Data, networks and settings that all experts of a run share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.experts.schedule import RateSchedule
from moe_distill.methods.regularizers.base import Regulariser
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.bank import StoredBank
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import RepresentativeSampling
from moe_distill.teachers.trajectories import Trajectories

OptimizerFactory = Callable[..., torch.optim.Optimizer]
Pools = Mapping[int, Mapping[str, Sequence[Network]]]


@dataclass(frozen=True)
class SharedResources:
    """Data, networks and settings that all experts of a run share.

    Attributes:
        whole: All real training data.
        network: Builds the distilling architecture.
        optimizer: Builds the optimiser from a set's parameter groups.
        seed: The run's seed; each expert derives its own streams from it.
        settings: Description of everything that affects the images, stored with the sets.
        trajectories: Teachers' trajectories by expert number, for methods that match them: those of each of
            the expert's architectures.
        banks: Stored means of real images by expert number, for methods that match them: those of each of the
            expert's architectures.
        pretrained: Pretrained networks by expert number and pool name.
        regulariser: A loss that every expert whose images move adds to its own, or None.
        regulariser_networks: The networks of each of the regulariser's pools.
        schedule: How the images' learning rates fall, or None.
        ema: Decay of the moving average of each expert's images; None for the method's.
        perturbation: How the networks that are matched are perturbed, or None.
        real_sampling: How real batches of a class are chosen; None for random ones.
        earlier: The sets of the experts before, in a sequence; they never move.
        union: Whether these are matched together with an expert's own images.
        warm: Weights that new networks start from, one of which is drawn for each; empty for fresh ones.
    """

    whole: RealSet
    network: NetworkFactory
    optimizer: OptimizerFactory
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    trajectories: Mapping[int, Sequence[Trajectories]] = field(default_factory=dict)
    banks: Mapping[int, Sequence[StoredBank]] = field(default_factory=dict)
    pretrained: Pools = field(default_factory=dict)
    regulariser: Regulariser | None = None
    regulariser_networks: Sequence[Sequence[Network]] = ()
    schedule: RateSchedule | None = None
    ema: float | None = None
    perturbation: Perturbation | None = None
    real_sampling: RepresentativeSampling | None = None
    earlier: Sequence[SyntheticSet] = ()
    union: bool = False
    warm: Sequence[Mapping[str, torch.Tensor]] = ()
    # A cache, filled although the dataclass is frozen.
    _placed: dict[torch.device, RealSet] = field(default_factory=dict, init=False, repr=False, compare=False)

    def real_on(self, device: torch.device) -> RealSet:
        """Return all real training data on a device; the copy is made once for all experts."""
        if device not in self._placed:
            self._placed[device] = self.whole.to(device)
        return self._placed[device]

    def matched_with(self, device: torch.device) -> Sequence[SyntheticSet]:
        """Return the earlier sets that an expert's images are matched together with, moved to a device."""
        return [earlier.to(device) for earlier in self.earlier] if self.union else []

    def matched_over(self, ipc: int) -> float:
        """Return the stored images of all sets that are matched as one, over those of the expert itself."""
        earlier = self.earlier if self.union else ()
        return 1 + sum(set_.provenance.ipc for set_ in earlier) / ipc

    def pretrained_on(self, number: int, device: torch.device) -> Mapping[str, Sequence[Network]]:
        """Return the networks of an expert's pools by name, moved to a device."""
        pools = self.pretrained.get(number, {})
        # Networks that are already there are not copied.
        return {name: [network.to(device) for network in pool] for name, pool in pools.items()}

    def regulariser_networks_on(self, device: torch.device) -> Sequence[Sequence[Network]]:
        """Return the networks of each of the regulariser's pools, moved to a device."""
        return [[network.to(device) for network in pool] for pool in self.regulariser_networks]
