"""IDM's queue of networks at different stages of their training (IDM §3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
import torch.nn.functional as F

from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, Whole, checked

NewNetwork = Callable[[torch.Generator], Network]


@dataclass
class Entry:
    """A network of the queue with its optimiser and the counts for its training accuracy."""

    network: Network
    optimizer: torch.optim.SGD
    correct: int = 0
    seen: int = 0

    @property
    def accuracy(self) -> float:
        """Training accuracy since the last reset, as a fraction; 0 before the first batch."""
        return self.correct / self.seen if self.seen else 0.0


class QueueState(TypedDict):
    """State of a queue: weights, optimiser state, correct and seen images of each network, oldest first."""

    entries: list[tuple[dict[str, torch.Tensor], dict[str, Any], int, int]]


@checked
class NetworkQueue:
    """A first-in, first-out queue: fresh networks enter, random ones are trained, the oldest is dropped.

    Args:
        capacity: Maximum number of networks.
        first: Number of networks at the start.
        renew_every: Iterations between two fresh networks (iteration 0 adds one).
        trained: Distinct networks trained after each iteration.
        steps: SGD steps that each of them takes.
        batch_size: Real images per step, not augmented.
        lr: Learning rate of the networks.
        momentum: Momentum of the networks.
        weight_decay: Weight decay of the networks.
        meter_reset: Iterations between two resets of all accuracy counts. The published code resets them
            whenever it evaluates, which switches the cross-entropy term off until a network is trained again.

    Raises:
        FieldError: ``trained`` exceeds ``first``, or ``first`` exceeds ``capacity``.
    """

    def __init__(
        self,
        capacity: Count,
        first: Count,
        renew_every: Count,
        trained: Count,
        steps: Whole,
        batch_size: Count,
        lr: Positive,
        momentum: Momentum,
        weight_decay: NotNegative,
        meter_reset: Count,
    ) -> None:
        if trained > first:
            raise FieldError("trained", trained, f"at most first={first}")
        if first > capacity:
            raise FieldError("first", first, f"at most capacity={capacity}")
        self.capacity, self.first, self.renew_every = capacity, first, renew_every
        self.trained, self.steps, self.batch_size = trained, steps, batch_size
        self.lr, self.momentum, self.weight_decay, self.meter_reset = lr, momentum, weight_decay, meter_reset
        self.entries: list[Entry] = []

    def start(self, new_network: NewNetwork, rng: torch.Generator) -> None:
        """Fill the queue with its first networks."""
        self.entries = [self._entry(new_network(rng)) for _ in range(self.first)]

    def renew(self, iteration: int, new_network: NewNetwork, rng: torch.Generator) -> None:
        """Reset the accuracy counts and add a fresh network, each if the iteration is due for it."""
        if iteration and iteration % self.meter_reset == 0:
            for entry in self.entries:
                entry.correct = entry.seen = 0
        if iteration % self.renew_every == 0:
            if len(self.entries) == self.capacity:
                # The oldest.
                self.entries.pop(0)
            self.entries.append(self._entry(new_network(rng)))

    def draw(self, rng: torch.Generator) -> tuple[Network, float]:
        """Return a uniformly drawn network and its training accuracy as a fraction."""
        entry = self.entries[int(torch.randint(len(self.entries), (1,), generator=rng))]
        return entry.network, entry.accuracy

    def train(self, real: RealSet, rng: torch.Generator) -> None:
        """Train some distinct networks, drawn uniformly, on random unaugmented batches of all classes."""
        # A permutation, so that the networks are distinct.
        for i in torch.randperm(len(self.entries), generator=rng)[: self.trained].tolist():
            entry = self.entries[i]
            # Methods use the networks in evaluation mode.
            entry.network.train()
            for _ in range(self.steps):
                images, labels = real.batch(self.batch_size, rng)
                logits = entry.network(images)
                entry.correct += int((logits.argmax(1) == labels).sum())
                entry.seen += len(labels)
                entry.optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(logits, labels).backward()
                entry.optimizer.step()

    def forward_passes(self) -> float:
        """Return the forward passes of the training after one iteration."""
        return 3 * self.trained * self.steps * self.batch_size

    def state_dict(self) -> QueueState:
        """Return the networks, their optimisers and their counts."""
        entries = [
            (e.network.state_dict(), e.optimizer.state_dict(), e.correct, e.seen) for e in self.entries
        ]
        return {"entries": entries}

    def load_state_dict(self, state: QueueState, new_network: NewNetwork) -> None:
        """Rebuild the queue from what :meth:`state_dict` returned."""
        # Any seed will do: the weights are overwritten, and the expert's stream must not move.
        self.entries = []
        for weights, optimizer, correct, seen in state["entries"]:
            entry = self._entry(new_network(stream(0, "overwritten")))
            entry.network.load_state_dict(weights)
            entry.optimizer.load_state_dict(optimizer)
            entry.correct, entry.seen = correct, seen
            self.entries.append(entry)

    def _entry(self, network: Network) -> Entry:
        sgd = torch.optim.SGD(network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        return Entry(network, sgd)


QueueFactory = Callable[[], NetworkQueue]
