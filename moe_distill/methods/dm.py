"""DM: matching the mean features of random networks.

Zhao and Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, Eq. 4-5.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class, squared_distance_of_means
from moe_distill.methods.presets.dm import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network, normalises_over_batch
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.values import Count, Momentum, Positive, checked

Pair = tuple[torch.Tensor, torch.Tensor]
"""Two tensors: real and synthetic images of one class, or a loss and its gradient."""


@checked
class DM(Method):
    """Each iteration draws a fresh network and takes one joint step for all classes.

    A network with batch norm sees the images of all classes in one pass, real and synthetic separately, in
    train mode: statistics of a single class would normalise away what distinguishes it from the others. Any
    other network is matched class by class, which gives the same sum with one class's graph in memory.

    Args:
        iterations: Steps of the images (published: 20 001).
        lr: Learning rate of the images.
        momentum: Momentum of the images.
        real_batch: Real images per class and step.
        augment: Differentiable Siamese augmentation, one draw per class, shared by real and synthetic images.
        init: What the images start as.

    Example:
        >>> from moe_distill.data.initialization import random_real
        >>> dm = DM(iterations=100, lr=1.0, momentum=0.5, real_batch=256, augment=None, init=random_real)
        >>> dm.forward_passes(classes=10, ipc=50, per_class=5000)
        4060
    """

    presets: ClassVar[Presets] = PRESETS
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

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

    @property
    def class_batches(self) -> int:
        """One for each class."""
        return 1

    def prepare(self, context: IterationContext) -> None:
        """Fill the initial images class by class."""
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Match every class under one fresh network, then move all images once."""
        # Weights need no gradient: only the images do. Train mode, as published, for batch norm.
        network = context.new_network_to_match(context.rng).requires_grad_(False).train()
        # A generator, so that class by class only one pair of batches is in memory.
        pairs = (self._pair(context, network, c) for c in range(len(context.real.classes)))
        matched = _in_one_pass if normalises_over_batch(network) else _class_by_class
        loss, gradient = matched(network, pairs, context.syn.images)
        apply(grads={"images": gradient})
        return {"loss": loss}

    def _pair(self, context: IterationContext, network: Network, c: int) -> Pair:
        """Return a real batch and the synthetic images of a class, augmented with the same draw."""
        real = context.class_batch(c, self.real_batch, network)
        synthetic = context.synthetic_images(c)
        if self.augment is None:
            return real, synthetic
        plan = self.augment.draw(context.rng, 1, real.shape[-1], shared=True)
        return self.augment.apply(real, plan), self.augment.apply(synthetic, plan)

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images."""
        return [{"params": [syn.images], "lr": self.lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration: real images forward, synthetic ones there and back."""
        return classes * (min(self.real_batch, per_class) + 3 * ipc)


def _class_by_class(network: Network, pairs: Iterable[Pair], images: torch.Tensor) -> Pair:
    """Return the loss, summed over classes, and its gradient by the images."""
    gradient = torch.zeros_like(images)
    total = gradient.new_zeros(())
    for real, synthetic in pairs:
        with torch.no_grad():
            target = network.embed(real)
        loss = squared_distance_of_means(target, network.embed(synthetic))
        gradient += torch.autograd.grad(loss, images)[0]
        total += loss.detach()
    return total, gradient


def _in_one_pass(network: Network, pairs: Iterable[Pair], images: torch.Tensor) -> Pair:
    """Return the same as :func:`_class_by_class`, with the images of all classes in one forward pass."""
    # Two passes: with batch norm, each side is normalised by its own statistics.
    real, synthetic = zip(*pairs, strict=True)
    with torch.no_grad():
        targets = network.embed(torch.cat(real)).split([len(x) for x in real])
    features = network.embed(torch.cat(synthetic)).split([len(x) for x in synthetic])
    distances = [squared_distance_of_means(f, g) for f, g in zip(targets, features, strict=True)]
    loss = torch.stack(distances).sum()
    return loss.detach(), torch.autograd.grad(loss, images)[0]
