"""How a network is trained: everything about it in one frozen record."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from moe_distill.data.augment import Augmentation
from moe_distill.data.mixing import CutMix
from moe_distill.errors import InputError

OptimizerFactory = Callable[..., torch.optim.Optimizer]
_SGD = functools.partial(torch.optim.SGD, momentum=0.9)


@dataclass(frozen=True)
class Recipe:
    """Supervised training with a step schedule.

    Args:
        name: What the field calls it; recorded with every result.
        epochs: The published number E.
        extra_epochs: Epochs run beyond E (1 for the DC family, whose loop is inclusive).
        lr: First learning rate.
        weight_decay: As the optimiser takes it.
        optimizer: Makes the optimiser of parameters, ``lr`` and ``weight_decay``.
        batch_size: Images per step; the last, smaller batch of an epoch is kept.
        drops: Fractions of E after which the rate falls; the rate used from epoch ``int(E * drop) + drop_offset`` on.
        drop_offset: See ``drops``; 2 for the DC family (falls after epoch index E//2 + 1).
        drop_factor: What the rate is multiplied by at each drop.
        fresh_optimizer: Forget the momentum at a drop, as the DC family does by building a new optimiser.
        augment: Per-image augmentation of every batch, or None.
        cutmix: CutMix after the augmentation, or None.
        test_points: Fractions of E at which the published recipe tests; the last epoch is always tested.

    Raises:
        InputError: A number is out of range.
    """

    name: str
    epochs: int
    extra_epochs: int = 0
    lr: float = 0.01
    weight_decay: float = 5e-4
    optimizer: OptimizerFactory = _SGD
    batch_size: int = 256
    drops: tuple[float, ...] = ()
    drop_offset: int = 0
    drop_factor: float = 0.1
    fresh_optimizer: bool = False
    augment: Augmentation | None = None
    cutmix: CutMix | None = None
    test_points: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Store sequences as tuples and check the numbers."""
        object.__setattr__(self, "drops", tuple(self.drops))
        object.__setattr__(self, "test_points", tuple(self.test_points))
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"recipe.{name}", getattr(self, name), "a whole number of at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError("recipe.lr", self.lr, "a positive number")

    @property
    def total_epochs(self) -> int:
        """Epochs really run."""
        return self.epochs + self.extra_epochs

    @property
    def drop_epochs(self) -> tuple[int, ...]:
        """Epoch indices from which the rate is lower."""
        return tuple(int(self.epochs * f) + self.drop_offset for f in self.drops)

    def lr_at(self, epoch: int, first: float | None = None) -> float:
        """Return the learning rate of an epoch index, starting from ``first`` instead of ``lr`` where given."""
        passed = sum(epoch >= drop for drop in self.drop_epochs)
        return (self.lr if first is None else first) * self.drop_factor**passed

    def tests_after(self, epoch: int) -> bool:
        """Say whether the test set is looked at after this epoch index."""
        published = {int(self.epochs * f) - 1 for f in self.test_points if f < 1}
        return epoch in published or epoch == self.total_epochs - 1
