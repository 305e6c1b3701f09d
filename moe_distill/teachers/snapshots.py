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


class Times(NamedTuple):
    """Which weights of which teacher serve.

    Attributes:
        teacher: Number of the teacher.
        matching: Epoch of the weights that features are matched under; of ``interpolate``, the weight λ of
            the initial weights beside the last ones.
        constraint: Epoch of the weights under which images must be classified, never an earlier one.
    """

    teacher: int
    matching: float
    constraint: int


def draw_times(rng: torch.Generator, kind: Kind, teachers: int, epochs: int, window: int) -> Times:
    """Draw a teacher and two of its times, each uniformly.

    Args:
        rng: The expert's random stream.
        kind: ``snapshot`` draws j from 0, …, E and k from j, …, min(j + window − 1, E); ``interpolate`` draws
            λ from [0, 1) and takes the last weights for the constraint.
        teachers: Number of teachers.
        epochs: E, the last epoch.
        window: Epochs that the constraint may lie in.

    Example:
        >>> from moe_distill.seeding import stream
        >>> times = draw_times(stream(0, "demo"), "snapshot", teachers=5, epochs=60, window=7)
        >>> 0 <= times.matching <= times.constraint <= min(times.matching + 6, 60)
        True
    """
    teacher = _whole(rng, 0, teachers - 1)
    if kind == "interpolate":
        return Times(teacher, float(torch.rand((), generator=rng)), epochs)
    matching = _whole(rng, 0, epochs)
    return Times(teacher, matching, _whole(rng, matching, min(matching + window - 1, epochs)))


def _whole(rng: torch.Generator, least: int, most: int) -> int:
    return int(torch.randint(least, most + 1, (), generator=rng))


@checked
class SnapshotSource:
    """Two networks of one architecture that take on recorded weights.

    Args:
        kind: ``snapshot``: weights after an epoch; ``interpolate``: between the first and the last weights.
        epochs: The last epoch of the teachers that serves.
        window: Epochs from that of the matching network on, in which the constraint's may lie; 1 takes the
            same one.
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
        times = draw_times(rng, self.kind, len(trajectories), self.epochs, self.window)
        matching, constraint = self._networks
        _load(constraint, trajectories.snapshot(times.teacher, times.constraint))
        if self.kind == "snapshot":
            if times.matching == times.constraint:
                return constraint, constraint
            _load(matching, trajectories.snapshot(times.teacher, int(times.matching)))
        else:
            first = trajectories.snapshot(times.teacher, 0)
            last = trajectories.snapshot(times.teacher, self.epochs)
            _load(matching, times.matching * first + (1 - times.matching) * last)
        return matching, constraint


def _load(network: Network, weights_P: torch.Tensor) -> None:
    parameters = [*network.parameters()]
    vector_to_parameters(weights_P.to(parameters[0]), parameters)
