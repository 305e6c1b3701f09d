"""How the learning rates of images, and of what is learned with them, fall while a set is distilled."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from moe_distill.validation.values import Count, Share, checked


@checked
@dataclass(frozen=True)
class Schedule:
    """Learning rates that stay as the method has them at first, and then fall to zero.

    Args:
        shape: How they fall: on a straight line, or on half a cosine.
        start: Share of the iterations after which they begin to fall; 0 from the first one on, 1 never.

    Source: common practice for short trainings; the published methods keep constant rates, for runs that are
        longer by far.

    Example:
        >>> schedule = Schedule("linear", start=0.5)
        >>> [schedule.factor(iteration, 8) for iteration in (0, 4, 6, 7)]
        [1.0, 1.0, 0.5, 0.25]
    """

    shape: Literal["linear", "cosine"]
    start: Share = 0.7

    def factor(self, iteration: int, total: int) -> float:
        """Return what the learning rates of an iteration are multiplied by, above 0 and at most 1.

        Args:
            iteration: Its index, from 0.
            total: Number of iterations.
        """
        first = self.start * total
        if iteration <= first:
            return 1.0
        left = (total - iteration) / (total - first)
        return left if self.shape == "linear" else (1 - math.cos(math.pi * left)) / 2


@checked
@dataclass(frozen=True)
class Plateau:
    """Learning rates that are multiplied by ``shrink`` whenever the loss has stalled.

    The loss has stalled if for more than ``patience`` iterations none was below (1 − ``threshold``) · (the
    lowest before); counting then begins anew. What is watched is a method's ``objective``, or its ``loss``
    where it names no other.

    Args:
        shrink: Factor of the rates at each stall.
        patience: Iterations without a new lowest loss that are still no stall.
        threshold: Share of the lowest loss by which a loss must be lower to count.
        least: Rates fall no more once they would fall by no more than this share of the first ones.

    Source: NCFM (Wang et al., CVPR 2025), whose program halves rates by PyTorch's ``ReduceLROnPlateau``. As
        the loss depends on a network drawn in each iteration, it stalls every 500 to 1000 iterations.
    """

    shrink: Share = 0.5
    patience: Count = 500
    threshold: Share = 1e-4
    least: Share = 1e-5


RateSchedule = Schedule | Plateau


class Course:
    """How far a schedule has come: the factor of the rates, iteration by iteration.

    Args:
        schedule: The schedule; None for constant rates.
    """

    def __init__(self, schedule: RateSchedule | None) -> None:
        self.schedule = schedule
        self.lowest, self.stalled, self.shrunk = math.inf, 0, 1.0

    def factor(self, iteration: int, total: int) -> float:
        """Return what the learning rates of an iteration are multiplied by.

        Args:
            iteration: Its index, from 0.
            total: Number of iterations.
        """
        return self.schedule.factor(iteration, total) if isinstance(self.schedule, Schedule) else self.shrunk

    def add(self, loss: float) -> None:
        """Take the loss of an iteration into account."""
        if not isinstance(self.schedule, Plateau):
            return
        if loss < self.lowest * (1 - self.schedule.threshold):
            self.lowest, self.stalled = loss, 0
            return
        self.stalled += 1
        lower = self.shrunk * self.schedule.shrink
        if self.stalled > self.schedule.patience and self.shrunk - lower > self.schedule.least:
            self.shrunk, self.stalled = lower, 0

    def state_dict(self) -> dict[str, float]:
        """Return everything that the next factor depends on besides the iteration."""
        return {"lowest": self.lowest, "stalled": self.stalled, "shrunk": self.shrunk}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.lowest, self.stalled, self.shrunk = state["lowest"], state["stalled"], state["shrunk"]


def set_rates(optimizer: Any, factor: float) -> None:
    """Set the rate of each parameter group of an optimiser to a factor of the one that it began with."""
    for group in optimizer.param_groups:
        # Kept in the group, and so in checkpoints.
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor
