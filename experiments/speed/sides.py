"""Builds both sides of a case from the same state, in either precision."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.speed.cases import Case
from experiments.speed.start import Reference, Side, Start
from moe_distill.data.real_set import RealSet
from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.shared import SharedResources
from moe_distill.methods.idm import IDM
from moe_distill.methods.mtt import MTT
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.trajectories import Trajectories

OWNER: Any = SimpleNamespace(manual_backward=lambda loss: loss.backward())
TEACHERS, EPOCHS, STEPS_AN_EPOCH, TEACHER_BATCH = 2, 2, 4, 64


class DoubleReal(RealSet):
    """A real set whose normalised images are float64."""

    def normalised(self, images_uint8: Tensor) -> Tensor:
        """Return the normalised images, rounded to float32 before they become float64."""
        return super().normalised(images_uint8).double()


def real_images(case: Case, dtype: torch.dtype) -> RealSet:
    """Return colour noise whose classes differ in brightness."""
    shape = (case.images, 3, case.side, case.side)
    labels_N = torch.arange(case.images) % case.classes
    pixels = torch.randint(0, 156, shape, generator=stream(0, "bench"), dtype=torch.uint8)
    pixels += (labels_N * (99 // case.classes)).to(torch.uint8)[:, None, None, None]
    names = tuple(map(str, range(case.classes)))
    kind = DoubleReal if dtype == torch.float64 else RealSet
    return kind(pixels, labels_N, names, (0.48,) * 3, (0.2,) * 3, "noise", "bench")


class Recorded(Trajectories):
    """Short trainings on real images, kept in memory."""

    def __init__(self, case: Case) -> None:
        super().__init__(())
        real = real_images(case, torch.float32)
        object.__setattr__(
            self, "weights", [_trained(case, real, stream(t, "teacher")) for t in range(TEACHERS)]
        )

    def __len__(self) -> int:
        return TEACHERS

    def snapshot(self, teacher: int, epoch: int) -> Tensor:
        """Return a copy of a teacher's flat weights (P,) after an epoch."""
        weights: list[list[Tensor]] = self.__dict__["weights"]
        return weights[teacher][epoch].clone()


def _trained(case: Case, real: RealSet, rng: torch.Generator) -> list[Tensor]:
    network = build(
        network_of(case, torch.float32), channels=3, classes=case.classes, size=case.side, rng=rng
    )
    sgd = torch.optim.SGD(network.parameters(), 0.01)
    snapshots = [_flat(network)]
    for _ in range(EPOCHS):
        for _ in range(STEPS_AN_EPOCH):
            x, y = real.batch(TEACHER_BATCH, rng)
            sgd.zero_grad()
            F.cross_entropy(network(x), y).backward()
            sgd.step()
        snapshots.append(_flat(network))
    return snapshots


def _flat(network: Network) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def network_of(case: Case, dtype: torch.dtype) -> NetworkFactory:
    """Return what builds the case's ConvNet-3, initialised alike in every precision."""

    def made(*, channels: int, classes: int, size: int) -> Network:
        return ConvNet(channels, classes, size, width=case.width).to(dtype)

    return made


class Ours:
    """An expert of the package that runs alone."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        teachers = {0: [Recorded(case)]} if case.method.func is MTT else {}
        real = real_images(case, dtype)
        resources = SharedResources(real, network_of(case, dtype), torch.optim.SGD, 0, trajectories=teachers)
        self.expert = Expert(0, ExpertSpec(case.method, case.ipc), torch.arange(len(real)), resources)
        self.expert.synthetic.to(dtype)
        self.expert.start()
        self.images = self.expert.synthetic.images
        self.optimizer: torch.optim.Optimizer = self.expert.configure_optimizers()

    def iterate(self, iteration: int) -> None:
        """Run one iteration of the expert."""
        self.expert.iterate(iteration, self.optimizer, OWNER)


def naive(case: Case, dtype: torch.dtype) -> Reference:
    """Return the naive program in the state of an expert before its first iteration."""
    expert = Ours(case, dtype).expert
    context, method = expert.context(0), expert.method
    networks = [copy.deepcopy(e.network) for e in method.queue.entries] if isinstance(method, IDM) else []
    return case.reference(
        Start(
            settings=case.method.keywords,
            images_NCHW=context.syn.images.detach().clone(),
            ipc=case.ipc,
            tiling=method.tiling,
            real=context.real,
            new_network=context.new_network,
            rng=context.rng,
            networks=networks,
            trajectories=context.trajectories,
        )
    )


BUILDERS: dict[str, Callable[[Case, torch.dtype], Side]] = {"ours": Ours, "reference": naive}
