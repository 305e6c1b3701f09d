"""DM: matching the mean features of random networks.

Zhao and Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, Eq. 4-5.
"""

from typing import Any

import torch

from moe_distill.data.augment import Augmentation
from moe_distill.data.initial import Initial
from moe_distill.methods.base import Apply, Method, Round, fill_by_class, squared_distance_of_means
from moe_distill.synthetic import SyntheticSet
from moe_distill.values import Count, Momentum, Positive, checked


@checked
class DM(Method):
    """Each iteration draws a fresh network and takes one joint step for all classes.

    Args:
        iterations: Steps of the images (published: 20 001).
        lr: Learning rate of the images.
        momentum: Momentum of the images.
        real_batch: Real images per class and step.
        augment: Differentiable Siamese augmentation, one draw a class for real and synthetic images together.
        init: What the images start as.

    Example:
        >>> DM(iterations=100, lr=1.0, momentum=0.5, real_batch=256, augment=augment, init=random_real)
    """

    def __init__(
        self,
        iterations: Count,
        lr: Positive,
        momentum: Momentum,
        real_batch: Count,
        augment: Augmentation | None,
        init: Initial,
    ) -> None:
        self.iterations, self.lr, self.momentum, self.real_batch = iterations, lr, momentum, real_batch
        self.augment, self.init = augment, init

    def prepare(self, round_: Round) -> None:
        """Fill the images class by class."""
        ipc = round_.syn.provenance.ipc
        fill_by_class(round_.syn, lambda c: self.init(round_.real, c, ipc, round_.rng))

    def iterate(self, round_: Round, apply: Apply) -> dict[str, torch.Tensor]:
        """Match every class under one fresh network, then move all images once.

        Gradients are taken class by class: the sum is the same and only one class's graph is in memory.
        """
        network = round_.new_network(round_.rng).requires_grad_(False)
        gradient = torch.zeros_like(round_.syn.images)
        total = gradient.new_zeros(())
        for c in range(len(round_.real.classes)):
            real = round_.real.class_batch(c, self.real_batch, round_.rng)
            synthetic = round_.syn.of_class(c)
            if self.augment is not None:
                plan = self.augment.draw(round_.rng, 1, real.shape[-1], shared=True)
                real, synthetic = self.augment.apply(real, plan), self.augment.apply(synthetic, plan)
            with torch.no_grad():
                target = network.embed(real)
            loss = squared_distance_of_means(target, network.embed(synthetic))
            gradient += torch.autograd.grad(loss, round_.syn.images)[0]
            total += loss.detach()
        apply(grads={"images": gradient})
        return {"loss": total}

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return the images' group."""
        return [{"params": [syn.images], "lr": self.lr, "momentum": self.momentum}]

    def forwards(self, classes: int, ipc: int, per_class: int) -> float:
        """Return forward equivalents of an iteration."""
        return classes * (min(self.real_batch, per_class) + 3 * ipc)
