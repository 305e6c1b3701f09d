"""What a method gets in each iteration: what it may read, and how it moves images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.bank import StoredBank
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import ChosenBatches
from moe_distill.teachers.trajectories import Trajectories


class Apply(Protocol):
    """The only way a method moves its images: backward, extra gradient terms, optimiser step, zero_grad."""

    def __call__(
        self, loss: torch.Tensor | None = None, *, grads: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Take one optimiser step on the set, with the gradient of ``loss`` or with ready-made ``grads``.

        Args:
            loss: A scalar to differentiate; None where ``grads`` are passed.
            grads: Gradients by parameter name, each of its parameter's shape.
        """


@dataclass(frozen=True)
class IterationContext:
    """Everything a method may read in one iteration.

    Attributes:
        iteration: Index of the iteration, from 0; where architectures take turns, among those of this one.
        syn: The expert's synthetic set.
        real: The expert's part of the real data.
        whole: All real data, for methods configured to train their networks on all of it.
        new_network: Builds a network of the distilling architecture, initialised from the given generator.
        rng: The expert's random stream.
        trajectories: The teachers' trajectories, for methods that match them.
        pretrained: Networks by pool name (``Method.all_pools``), frozen, in evaluation mode.
        turns: How many architectures take turns, each with a method of its own.
        earlier: Sets of the experts before, in a sequence that matches them together; they never move.
        perturbation: How the networks that are matched are perturbed, or None.
        options_rng: Another stream, fresh in every iteration, for what options of the run draw: the method
            draws what it draws without them.
        bank: The stored means of the expert's real images, for methods that match them.
        chosen: Real batches that are chosen by their features; None for random ones.
    """

    iteration: int
    syn: SyntheticSet
    real: RealSet
    whole: RealSet
    new_network: Callable[[torch.Generator], Network]
    rng: torch.Generator
    trajectories: Trajectories | None = None
    pretrained: Mapping[str, Sequence[Network]] = field(default_factory=dict)
    turns: int = 1
    earlier: Sequence[SyntheticSet] = ()
    perturbation: Perturbation | None = None
    options_rng: torch.Generator = field(default_factory=torch.Generator)
    chosen: ChosenBatches | None = None
    bank: StoredBank | None = None

    def class_batch(
        self, c: int, n: int, network: Network, epochs: ShuffledEpochs | None = None
    ) -> torch.Tensor:
        """Return min(n, N) normalised real images of a class, random ones unless the run chooses them.

        Args:
            c: The class.
            n: Images in the batch; the same in every call.
            network: What they are matched under.
            epochs: The class's shuffled epochs, which random ones are taken from; None draws anew each time.
        """
        if self.chosen is not None:
            rows = self.chosen.rows(self.real, c, n, network, self.options_rng)
        elif epochs is not None:
            rows = epochs.next(self.real.class_indices(c), n, self.rng)
        else:
            return self.real.class_batch(c, n, self.rng)
        return self.real.at(rows)[0]

    def to_match(self, network: Network) -> Network:
        """Return the network that images are matched under: a perturbed copy where there is a perturbation.

        Args:
            network: What the method would match under; it never changes.
        """
        return network if self.perturbation is None else self.perturbation.copy_of(network, self.options_rng)

    def new_network_to_match(self, rng: torch.Generator) -> Network:
        """Return a new network that starts where :meth:`to_match` moves it."""
        return self.to_match(self.new_network(rng))

    @property
    def matched(self) -> tuple[SyntheticSet, ...]:
        """The sets that are matched with the real data as one: the expert's, and the earlier ones."""
        return self.syn, *self.earlier

    def synthetic_images(self, c: int) -> torch.Tensor:
        """Return the decoded images of a class, those of the expert's set first; earlier ones never move."""
        return torch.cat([synthetic.of_class(c) for synthetic in self.matched])


def teachers_of(context: IterationContext) -> Trajectories:
    """Return the trajectories of the expert's teachers.

    Raises:
        InputError: The run has not loaded any.
    """
    if context.trajectories is None:
        raise InputError("method.teachers", None, "trajectories: run the same command with pipeline=full")
    return context.trajectories
