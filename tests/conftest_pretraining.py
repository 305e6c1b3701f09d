"""Stand-ins for runs with trajectories: a small real set, a method that shows its teachers, a runtime."""

import dataclasses
import functools

import pytest
import torch

from moe_distill.context.hardware import Hardware
from moe_distill.context.run_context import Runtime
from moe_distill.data.augmentation.dsa import Augmentation, Flip
from moe_distill.data.partition.split import Stratified
from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.methods.base import Method
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.store.store import Store
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.tracking.wandb_tracker import NoTracker
from moe_distill.training.optimizers import GSAM
from moe_distill.training.recipe import Recipe

NETWORK = functools.partial(ConvNet, depth=1, width=0.0625)
SGD = Recipe("trajectory", epochs=1, lr=0.1, weight_decay=0.0, optimizer=torch.optim.SGD, batch_size=8)
FLAT = dataclasses.replace(
    SGD, optimizer=functools.partial(GSAM, rho=0.05, alpha=0.3), augment=Augmentation((Flip(),))
)
SUNK = dataclasses.replace(SGD, optimizer=functools.partial(GSAM, rho=0.0, alpha=0.3))
POOL = TrajectoryPool(2, SGD)
IMAGES, EPOCHS = 36, 3


class Data:
    """Noise that stands for a data set."""

    name = "noise"

    def load(self, cache):
        pixels = torch.randint(0, 256, (IMAGES, 1, 8, 8), generator=stream(0, "px"), dtype=torch.uint8)
        labels = torch.arange(IMAGES) % 3
        real = RealSet(pixels, labels, ("a", "b", "c"), (0.5,), (0.25,), "noise", "test")
        return real, real.subset(torch.arange(9))


class Follower(Method):
    """Shows the last weights of its teachers as its images."""

    iterations = 1

    def __init__(self, teachers=POOL, epochs_needed=EPOCHS):
        self.teachers, self._needed = teachers, epochs_needed

    @property
    def epochs_needed(self):
        return self._needed

    def prepare(self, context):
        with torch.no_grad():
            for n, image in enumerate(context.syn.images):
                image.copy_(
                    context.trajectories.snapshot(n % len(context.trajectories), EPOCHS)[:64].view_as(image)
                )

    def iterate(self, context, apply):
        assert context.trajectories.epochs == EPOCHS
        return {"loss": torch.zeros(())}

    def parameter_groups(self, syn):
        return [{"params": [syn.images]}]


def follower(**settings):
    return ExpertSpec(functools.partial(Follower, **settings), 1)


def plan(*members, **changes):
    pool = PretrainedNetworks(1, NETWORK, dataclasses.replace(SGD, epochs=1))
    usual = Distillation(
        Data(),
        Roster(members),
        Stratified(),
        NETWORK,
        pool,
        None,
        functools.partial(torch.optim.SGD, lr=0.1),
        0,
    )
    return dataclasses.replace(usual, **changes)


@pytest.fixture
def runtime(tmp_path):
    """A runtime on a fresh store."""
    before = torch.get_num_threads()
    yield Runtime(
        Store(tmp_path / "store"), tmp_path, Hardware("cpu"), NoTracker(), threads=1, checkpoint_seconds=0.0
    )
    torch.set_num_threads(before)
