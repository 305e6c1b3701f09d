"""What both sides of a comparison begin with, and what a naive reference is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.trajectories import Trajectories


class Side(Protocol):
    """One of the two that are compared: it iterates, and its optimiser moves its images."""

    images: torch.nn.Parameter
    optimizer: torch.optim.Optimizer

    def iterate(self, iteration: int) -> None:
        """Run one iteration of the method."""


class Collected:
    """The gradient by which a side's optimiser moves the images, summed over the steps of an iteration."""

    def __init__(self, side: Side) -> None:
        self.images, self.gradient = side.images, torch.zeros_like(side.images)
        side.optimizer.register_step_pre_hook(self._add)

    def _add(self, *_: Any) -> None:
        assert self.images.grad is not None
        self.gradient += self.images.grad


@dataclass(frozen=True)
class Start:
    """The state of an expert before its first iteration, copied.

    Attributes:
        settings: The method's settings by name.
        images_NCHW: The initial images.
        ipc: Stored images per class.
        tiling: How a stored image is decoded.
        real: Real images.
        new_network: Builds a network from a generator.
        rng: A generator in the state of the expert's: equal draws follow.
        networks: IDM's first networks.
        trajectories: MTT's teachers; None for other methods.
    """

    settings: dict[str, Any]
    images_NCHW: Tensor
    ipc: int
    tiling: Tiling
    real: RealSet
    new_network: Callable[[torch.Generator], Network]
    rng: torch.Generator
    networks: Sequence[Network]
    trajectories: Trajectories | None


class Reference(ABC):
    """A method as its paper and its published program do it, plain PyTorch, class after class.

    Real images are kept as normalised float32, as the published programs keep them. Draws come in the order
    of the package's own, so that both sides see the same numbers.
    """

    def __init__(self, start: Start) -> None:
        self.start, self.rng = start, start.rng
        self.images = torch.nn.Parameter(start.images_NCHW)
        self.labels = torch.arange(len(start.real.classes)).repeat_interleave(start.ipc)
        self.real_images = start.real.normalised(start.real.images_NCHW)
        self.real_labels = start.real.labels_N
        self.classes = range(len(start.real.classes))
        self.rows = [(self.real_labels == c).nonzero().flatten() for c in self.classes]
        self.optimizer = self.image_optimizer()

    def image_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the images."""
        return torch.optim.SGD([self.images], self.start.settings["lr"], self.start.settings["momentum"])

    def real_of_class(self, c: int) -> Tensor:
        """Draw a batch of real images of a class."""
        rows = self.rows[c]
        order = torch.randperm(len(rows), generator=self.rng)
        return self.real_images[rows[order[: self.start.settings["real_batch"]]]]

    def real_batch(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw real images of all classes and their labels."""
        rows = torch.randperm(len(self.real_labels), generator=self.rng)[:n]
        return self.real_images[rows], self.real_labels[rows]

    def stored_of_class(self, c: int) -> Tensor:
        """Return the stored images of a class, with gradient."""
        return self.images[c * self.start.ipc : (c + 1) * self.start.ipc]

    @abstractmethod
    def iterate(self, iteration: int) -> None:
        """Run one iteration."""


def squared_distance(a_D: Tensor, b_D: Tensor) -> Tensor:
    """Return ‖a - b‖², a scalar."""
    return torch.sum((a_D - b_D) ** 2)
