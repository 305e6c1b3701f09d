"""Moments: match the mean and the mean square of the pixels of each class."""

from typing import Any

import torch

from moe_distill.data.initialization import Initial
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class, squared_distance_of_means
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.values import Count, Positive, checked


@checked
class Moments(Method):
    """Each iteration takes one step for all classes; it needs no network.

    Args:
        iterations: Steps of the images.
        lr: Learning rate of the images.
        real_batch: Real images per class and step.
        init: What the images start as.
    """

    def __init__(self, iterations: Count, lr: Positive, real_batch: Count, init: Initial) -> None:
        self.iterations, self.lr, self.real_batch, self.init = iterations, lr, real_batch, init

    def prepare(self, context: IterationContext) -> None:
        """Fill the initial images class by class."""
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Match every class, then move all images once."""
        loss = torch.zeros((), device=context.syn.images.device)
        for c in range(len(context.real.classes)):
            real = context.real.class_batch(c, self.real_batch, context.rng).flatten(1)
            synthetic = context.syn.of_class(c).flatten(1)
            loss = loss + squared_distance_of_means(real, synthetic)
            loss = loss + squared_distance_of_means(real.square(), synthetic.square())
        apply(loss)
        return {"loss": loss.detach()}

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images."""
        return [{"params": [syn.images], "lr": self.lr}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the cost of an iteration, for forecasts: almost none, as no image passes a network."""
        return 1e-3 * classes * ipc
