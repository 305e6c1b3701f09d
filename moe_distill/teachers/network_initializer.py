"""What initialisers that look through networks trained on real data have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.recorded_networks import RecordedNetworks


class NetworkInitializer(ABC):
    """Initialises images with real ones of the class, which it selects through networks.

    Attributes:
        pool: The networks, trained on all real data.
    """

    pool: PretrainedNetworks | RecordedNetworks

    @property
    @abstractmethod
    def rule(self) -> Callable[..., Any]:
        """The function that rows name it by."""

    @abstractmethod
    def through(self, networks: Sequence[Network]) -> Self:
        """Return the same initialiser with its pool's loaded networks, frozen, in evaluation mode."""

    @abstractmethod
    def rows(self, real: RealSet, rows_N: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return which images of a class are selected, as places in ``rows_N``, on the CPU.

        Args:
            real: The expert's real data.
            rows_N: Indices of the images of the class.
            n: How many are selected, if there are so many.
            rng: Drawn from by selections that are random.
        """

    def __call__(self, real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return normalised images (n, C, H, W) of a class in the order of their selection.

        Args:
            real: The expert's real data.
            c: The class.
            n: How many; fewer are returned if the class has fewer.
            rng: Drawn from by selections that are random.

        Raises:
            InputError: The networks are not loaded, because this initialiser is part of another.
        """
        rows_N = real.class_indices(c)
        return real.at(rows_N[self.rows(real, rows_N, n, rng)])[0]

    def unloaded(self) -> InputError:
        """Return the error of an initialiser whose networks are not loaded."""
        allowed = "random_real or first_real: a selection cannot be part of another init"
        return InputError("init.of", self.rule, allowed)
