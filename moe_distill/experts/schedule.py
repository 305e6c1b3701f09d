"""How the learning rates of images, and of what is learned with them, fall while a set is distilled."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from moe_distill.validation.values import Share, checked


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


def set_rates(optimizer: Any, factor: float) -> None:
    """Set the rate of each parameter group of an optimiser to a factor of the one that it began with."""
    for group in optimizer.param_groups:
        # Kept in the group, and so in checkpoints.
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor
