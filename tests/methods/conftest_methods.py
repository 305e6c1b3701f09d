"""A small real set, a small network and a plain optimiser for methods on their own."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from moe_distill.data.real_set import RealSet
from moe_distill.methods.base import IterationContext, Method
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import global_seed, stream
from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet


@pytest.fixture
def real() -> RealSet:
    rng = stream(0, "test real")
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=rng, dtype=torch.uint8)
    return RealSet(images, torch.arange(60) % 3, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, "noise", "test")


def new_network(rng: torch.Generator) -> nn.Module:
    with global_seed(rng):
        return ConvNet(channels=3, classes=3, size=8, width=0.0625).double()


@pytest.fixture
def round_of(real: RealSet) -> Callable[..., IterationContext]:
    """Build a round in float64, so that references are exact."""

    def build(method: Method, ipc: int, seed: int = 0) -> IterationContext:
        provenance = Provenance(
            "noise",
            "test",
            real.fingerprint,
            real.classes,
            real.mean,
            real.std,
            "m",
            0,
            ipc,
            method.space,
            method.tiling,
        )
        syn = SyntheticSet(torch.zeros(3 * ipc, 3, 8, 8, dtype=torch.float64), provenance)
        return IterationContext(
            0, syn, DoubleReal(real), DoubleReal(real), new_network, stream(seed, "round")
        )

    return build


class DoubleReal:
    """A real set whose batches are float64."""

    def __init__(self, real: RealSet) -> None:
        self.real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def __len__(self) -> int:
        return len(self.real)

    def at(self, rows_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.real.at(rows_B)
        return images.double(), labels

    def class_batch(self, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        return self.real.class_batch(c, n, rng).double()

    def batch(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.real.batch(n, rng)
        return images.double(), labels


class Stepper:
    """Moves images by SGD written out by hand: buf = 0.5 buf + g; x = x - lr buf."""

    def __init__(self, syn: SyntheticSet, lr: float, momentum: float = 0.5) -> None:
        self.syn, self.lr, self.momentum = syn, lr, momentum
        self.buffer = torch.zeros_like(syn.images)
        self.gradients: list[torch.Tensor] = []

    def __call__(self, loss=None, *, grads=None):
        gradient = grads["images"] if grads else torch.autograd.grad(loss, self.syn.images)[0]
        self.gradients.append(gradient)
        self.buffer = self.momentum * self.buffer + gradient
        with torch.no_grad():
            self.syn.images -= self.lr * self.buffer
        return loss
