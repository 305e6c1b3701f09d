"""What methods are tested on: small data, a small network, and stand-ins for pretrained networks."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.shared import SharedResources
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.bank import BankDraws, StoredBank, entry_means
from moe_distill.teachers.trajectories import Trajectories

NETWORK = functools.partial(ConvNet, depth=2, width=0.25)
OWNER: Any = SimpleNamespace(manual_backward=lambda loss: loss.backward())
"""Stands in for the LightningModule that runs an expert's backward pass."""


@functools.cache
def noise_set(channels: int, size: int) -> RealSet:
    """Return 60 images of noise in three classes of clearly different brightness.

    Example:
        >>> real = noise_set(3, 8)
        >>> real.images_NCHW.shape, real.classes
        (torch.Size([60, 3, 8, 8]), ('a', 'b', 'c'))
    """
    # At most 155, so that the brightest class, 100 above, stays within a byte.
    pixels = torch.randint(
        0, 156, (60, channels, size, size), generator=stream(0, "conformance"), dtype=torch.uint8
    )
    labels = torch.arange(60) % 3
    pixels += (labels * 50).to(torch.uint8)[:, None, None, None]
    return RealSet(pixels, labels, ("a", "b", "c"), (0.4,) * channels, (0.2,) * channels, "noise", "test")


def _network(real: RealSet, rng: torch.Generator, network: NetworkFactory = NETWORK) -> Network:
    return build(network, channels=real.channels, classes=len(real.classes), size=real.size, rng=rng)


class Wandering:
    """Stands in for the trajectories of two teachers, whose weights change at random.

    Args:
        real: The data whose shape decides the network.
        network: Builds the architecture.
    """

    def __init__(self, real: RealSet, network: NetworkFactory) -> None:
        self.real, self.network = real, network

    def __len__(self) -> int:
        """Return the number of teachers."""
        return 2

    def snapshot(self, teacher: int, epoch: int) -> torch.Tensor:
        """Return a teacher's weights after an epoch, flat of shape (P,)."""
        rng = stream(teacher, "start")
        teacher_network = _network(self.real, rng, self.network)
        start = torch.cat([p.detach().flatten() for p in teacher_network.parameters()])
        # Farther from the start with every epoch, as training moves weights.
        return start + 0.01 * epoch * torch.randn(start.shape, generator=stream(teacher, "way"))


@dataclass(frozen=True, eq=False)
class UnstoredBank(StoredBank):
    """Stands in for a bank: the means of an entry are computed when it is drawn.

    Attributes:
        part: The expert's real images.
        network: Builds the architecture of the stand-ins for teachers.
    """

    part: RealSet
    network: NetworkFactory

    def means(self, number: int) -> torch.Tensor:
        """Return the means (C, D) of an entry, float32 on the CPU."""
        shell = _network(self.part, stream(0, "shell"), self.network).eval()
        teachers = cast(Trajectories, Wandering(self.part, self.network))
        return entry_means(number, self.draws, teachers, shell, self.part)


def resources(
    real: RealSet, seed: int = 0, networks: Sequence[NetworkFactory | None] = (None,)
) -> SharedResources:
    """Return what an expert needs besides its settings, with stand-ins for everything that is trained.

    Args:
        real: All real data.
        seed: The run's seed.
        networks: The expert's architectures; None for that of the stand-ins.
    """
    pretrained, other = (
        _network(real, stream(number, "pretrained")).eval().requires_grad_(False) for number in range(2)
    )
    trajectories = {0: [cast(Trajectories, Wandering(real, network or NETWORK)) for network in networks]}
    by_name = {"init": [pretrained, other], "teacher": [pretrained]}
    return SharedResources(
        real, NETWORK, torch.optim.SGD, seed, trajectories=trajectories, pretrained={0: by_name}
    )


def expert(
    spec: ExpertSpec, real: RealSet, seed: int = 0, part: torch.Tensor | None = None, **options: Any
) -> tuple[Expert, Any]:
    """Return an expert with its initial images, and its optimiser; None if the images are not optimised.

    Args:
        spec: The expert's method and number of images.
        real: All real data.
        seed: The run's seed.
        part: Indices of the images that it sees; None means every second one.
        **options: Options of the run by their names in ``SharedResources``, such as ``schedule``.
    """
    # A part, not all data: a method that looks outside it must be noticed.
    part = torch.arange(0, len(real), 2) if part is None else part
    shared = replace(resources(real, seed, spec.networks), **options)
    if (bank := spec.method().bank) is not None:
        seen = real.subset(part)
        draws = BankDraws(bank, 2, 0, seen.fingerprint, len(real.classes), real.size)
        banks = [UnstoredBank(draws, Path(), seen, network or NETWORK) for network in spec.networks]
        shared = replace(shared, banks={0: banks})
    the_expert = Expert(0, spec, part, shared)
    the_expert.start()
    return the_expert, the_expert.configure_optimizers()


def iterate(the_expert: Expert, optimizer: Any, begin: int, end: int) -> None:
    """Run iterations of an expert; as in a mixture, those beyond the method's own are skipped.

    Args:
        the_expert: The expert.
        optimizer: Its optimiser, or None.
        begin: First iteration.
        end: The iteration after the last.
    """
    for iteration in range(begin, end):
        the_expert.iterate(iteration, optimizer, OWNER)


def distilled(
    spec: ExpertSpec, real: RealSet, seed: int = 0, part: torch.Tensor | None = None, **options: Any
) -> tuple[Expert, torch.Tensor]:
    """Return an expert after three iterations, and the images it started from.

    Args:
        spec: The expert's method and number of images.
        real: All real data.
        seed: The run's seed.
        part: Indices of the images that it sees; None means every second one.
        **options: Options of the run by their names in ``SharedResources``, such as ``schedule``.
    """
    the_expert, optimizer = expert(spec, real, seed, part, **options)
    start = images(the_expert).clone()
    iterate(the_expert, optimizer, 0, 3)
    return the_expert, start


def images(the_expert: Expert) -> torch.Tensor:
    """Return the stored images of an expert."""
    return the_expert.synthetic.images.detach()
