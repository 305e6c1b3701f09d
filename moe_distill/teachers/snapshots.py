"""Frozen networks from random times of recorded trainings, under which images are matched.

Source: TGDD's published code (2026) for ``snapshot``, DANCE (Zhang et al., IJCAI 2024) for ``interpolate``.
"""

from typing import Literal, NamedTuple

import torch
from torch.nn.utils import vector_to_parameters

from moe_distill.errors import FieldError
from moe_distill.models.base import Network
from moe_distill.teachers.trajectories import Trajectories
from moe_distill.validation.values import Count, checked

Kind = Literal["snapshot", "interpolate"]


class Epochs(NamedTuple):
    """Which snapshots of which teacher serve.

    Attributes:
        teacher: Number of the teacher.
        matching: Epoch of the weights that features are matched under.
        constraint: Epoch of the weights under which images must be classified, never an earlier one.
    """

    teacher: int
    matching: int
    constraint: int


def draw_epochs(rng: torch.Generator, teachers: int, last: int, window: int) -> Epochs:
    """Draw a teacher and two of its epochs, each uniformly: j from 0, …, E, then k from j, …, j + window − 1.

    Args:
        rng: The expert's random stream.
        teachers: Number of teachers.
        last: E, the last epoch, which k does not pass.
        window: Epochs that the constraint may lie in.

    Example:
        >>> from moe_distill.seeding import stream
        >>> drawn = draw_epochs(stream(0, "demo"), teachers=5, last=60, window=7)
        >>> 0 <= drawn.matching <= drawn.constraint <= min(drawn.matching + 6, 60)
        True
    """
    teacher, matching = draw_whole(rng, 0, teachers - 1), draw_whole(rng, 0, last)
    return Epochs(teacher, matching, draw_constraint(rng, matching, last, window))


def draw_constraint(rng: torch.Generator, matching: int, last: int, window: int) -> int:
    """Draw k, the epoch of the constraint, for a given j; arguments are those of :func:`draw_epochs`."""
    return draw_whole(rng, matching, min(matching + window - 1, last))


def draw_whole(rng: torch.Generator, least: int, most: int) -> int:
    """Return a whole number from ``least`` to ``most``, both included, each equally likely."""
    return int(torch.randint(least, most + 1, (), generator=rng))


@checked
class SnapshotSource:
    """Two networks of one architecture that take on recorded weights.

    Args:
        kind: ``snapshot``: weights after an epoch; ``interpolate``: between the first and the last weights.
        epochs: The last epoch of the teachers that serves.
        window: Epochs from that of the matching network on, in which the constraint's may lie; 1 takes the
            same one. ``interpolate`` takes the last weights for it.
    """

    def __init__(self, kind: Kind, epochs: Count, window: Count) -> None:
        if window > epochs + 1:
            raise FieldError("window", window, f"at most {epochs + 1}, the snapshots of {epochs} epochs")
        self.kind, self.epochs, self.window = kind, epochs, window
        self._networks: list[Network] = []

    def use(self, shells: list[Network]) -> None:
        """Take over two networks of the distilling architecture, whose weights are replaced in every draw."""
        self._networks = [shell.requires_grad_(False).eval() for shell in shells]

    def draw(self, trajectories: Trajectories, rng: torch.Generator) -> tuple[Network, Network]:
        """Return the network to match features under, and the one that must classify the images.

        They are one and the same object where their weights are.

        Args:
            trajectories: The teachers'.
            rng: The expert's random stream.
        """
        if self.kind == "interpolate":
            return self._between_first_and_last(trajectories, rng)
        return self._at(trajectories, draw_epochs(rng, len(trajectories), self.epochs, self.window))

    def after(
        self, trajectories: Trajectories, teacher: int, matching: int, rng: torch.Generator
    ) -> tuple[Network, Network]:
        """Return the networks as :meth:`draw` does, for a teacher and an epoch j that were drawn before.

        Args:
            trajectories: The teachers'.
            teacher: Number of the teacher.
            matching: j, the epoch of the network to match features under.
            rng: The expert's random stream, which draws k.
        """
        constraint = draw_constraint(rng, matching, self.epochs, self.window)
        return self._at(trajectories, Epochs(teacher, matching, constraint))

    def _at(self, trajectories: Trajectories, epochs: Epochs) -> tuple[Network, Network]:
        """Return the two networks with the weights of their epochs."""
        teacher, j, k = epochs
        matching, constraint = self._networks
        load_weights(constraint, trajectories.snapshot(teacher, k))
        if j == k:
            return constraint, constraint
        load_weights(matching, trajectories.snapshot(teacher, j))
        return matching, constraint

    def _between_first_and_last(
        self, trajectories: Trajectories, rng: torch.Generator
    ) -> tuple[Network, Network]:
        """Return a network λ of the way back from a teacher's last weights to its first, and the last one."""
        teacher, weight = draw_whole(rng, 0, len(trajectories) - 1), torch.rand((), generator=rng)
        first, last = (trajectories.snapshot(teacher, epoch) for epoch in (0, self.epochs))
        matching, constraint = self._networks
        load_weights(matching, weight * first + (1 - weight) * last)
        load_weights(constraint, last)
        return matching, constraint


def load_weights(network: Network, weights_P: torch.Tensor) -> None:
    """Replace the weights of a network by a snapshot, flat of shape (P,)."""
    parameters = [*network.parameters()]
    vector_to_parameters(weights_P.to(parameters[0]), parameters)
