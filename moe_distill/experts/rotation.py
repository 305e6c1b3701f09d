"""Several architectures that take turns at one expert's set, and the balance of their gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch

from moe_distill.models.base import NetworkFactory
from moe_distill.store.identity import describe, word_of

Balanced = Literal["none", "norm"]

# Of the moving average of gradient norms: it looks back about a hundred iterations of each architecture.
DECAY = 0.99


@dataclass(frozen=True)
class Rotation:
    """Architectures that take turns, one an iteration, in their order.

    Attributes:
        networks: Builds each architecture.
        balance: ``norm`` shrinks gradients to the size of those of the architecture with the smallest ones
            (:class:`Balance`), ``none`` leaves them as they are.
    """

    networks: tuple[NetworkFactory, ...]
    balance: Balanced

    @property
    def words(self) -> list[str]:
        """Name of each architecture as users type it, numbered from the second of a name on."""
        words = [word_of(getattr(network, "func", network)) for network in self.networks]
        counts = [words[: place + 1].count(word) for place, word in enumerate(words)]
        return [word if count == 1 else f"{word}{count}" for word, count in zip(words, counts, strict=True)]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of all architectures, each after the name of its own."""
        by_word = zip(self.words, map(describe, self.networks), strict=True)
        return {
            f"{word}.{name}": value
            for word, described in by_word
            # A bare class, which has no settings, is described by its name alone.
            if isinstance(described, dict)
            for name, value in described.items()
            if name != "_target_"
        }

    def __str__(self) -> str:
        """Return a word such as ``pool-norm-convnet-vgg11``."""
        return "-".join(["pool", self.balance, *self.words])


class BalanceState(TypedDict):
    """State of a :class:`Balance`."""

    sums: list[float]
    counts: list[int]


class RotationState(TypedDict):
    """What the next iteration depends on besides, where architectures take turns.

    Attributes:
        methods: State of the method of each architecture from the second on.
        rngs: State of their random streams.
        balance: State of the balance of all architectures.
        scalars: The last scalars of each architecture, which are shown until its next turn.
    """

    methods: list[dict[str, Any]]
    rngs: list[torch.Tensor]
    balance: BalanceState
    scalars: dict[str, float]


class Balance:
    """Brings the matching gradients of architectures that take turns to about one size.

    The norm n of an architecture is the exponential moving average of ‖g‖₂, corrected for its start at 0,
    where g is the sum over an iteration of its matching gradients by the images, before balancing. Once each
    architecture has a norm above 0, the gradients of one are multiplied by (smallest norm) / (its own norm),
    a number in (0, 1].

    Source: ours, after the scales of HMDC (Moon et al., ECCV 2024), which needs every architecture in every
    iteration.

    Args:
        kind: ``norm``, or ``none`` to measure norms without using them.
        architectures: How many take turns.
    """

    def __init__(self, kind: Balanced, architectures: int) -> None:
        self.kind = kind
        self._sums, self._counts = [0.0] * architectures, [0] * architectures

    @property
    def norms(self) -> Sequence[float]:
        """The norm of each architecture; 0 before its first iteration."""
        counted = zip(self._sums, self._counts, strict=True)
        return [total / (1 - DECAY**count) if count else 0.0 for total, count in counted]

    def factor(self, place: int) -> float:
        """Return the number that the gradients of the architecture at a place are multiplied by."""
        norms = self.norms
        # With a norm of 0 among them, all images would stop.
        return min(norms) / norms[place] if self.kind == "norm" and all(norms) else 1.0

    def add(self, place: int, norm: float) -> None:
        """Take the norm of an iteration of the architecture at a place into its average."""
        self._sums[place] = DECAY * self._sums[place] + (1 - DECAY) * norm
        self._counts[place] += 1

    def state_dict(self) -> BalanceState:
        """Return everything that the next factor depends on."""
        return {"sums": list(self._sums), "counts": list(self._counts)}

    def load_state_dict(self, state: BalanceState) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._sums, self._counts = list(state["sums"]), list(state["counts"])
