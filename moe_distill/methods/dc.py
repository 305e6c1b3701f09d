"""DC: matching the gradients of networks that are trained on the synthetic set between matchings.

Zhao, Mopuri and Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, Algorithm 1, Eq. 9-10.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class
from moe_distill.methods.matching.distances import Distance
from moe_distill.methods.matching.gradients import class_gradients
from moe_distill.methods.presets.dc import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network
from moe_distill.seeding import global_seed
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, Whole, checked

# Real images of each class in the pass that sets running statistics, as in the published code.
STATISTICS_BATCH = 16


@checked
class DC(Method):
    """Each iteration draws a fresh network and in turns matches its gradients and trains it.

    Published loops, outer × inner: 1 × 1 at ipc 1, 10 × 50 at 10, 20 × 25 at 20, 30 × 20 at 30, 40 × 15 at 40
    and 50 × 10 at 50. For other ipc the rule is ours: ipc × 50 from 2 to 9, so that a network takes as many
    steps between matchings as at ipc 10, where an epoch is one batch; otherwise the nearest row, which above
    ipc 50 is the authors' advice.

    Args:
        iterations: Number of networks drawn (published: 1001).
        lr: Learning rate of the images.
        momentum: Momentum of the images, carried over from one iteration to the next.
        real_batch: Real images per class and matching; all of them if a class has fewer.
        outer: Matchings in an iteration, each one step of all images.
        inner: Epochs of the network on the synthetic set between two matchings.
        network_lr: Learning rate of the network, trained by SGD without momentum or weight decay.
        network_batch: Synthetic images per step of the network.
        distance: Distance between real and synthetic gradients of all parameters, summed over classes.
        augment: Augmentation: in matching one draw per class, shared by real and synthetic images; in
            training one draw per image. DC has none.
        init: What the images start as.
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
        outer: Count,
        inner: Whole,
        network_lr: NotNegative,
        network_batch: Count,
        distance: Distance,
        augment: Augmentation | None,
        init: Initial,
    ) -> None:
        self.iterations, self.lr, self.momentum, self.real_batch = iterations, lr, momentum, real_batch
        self.outer, self.inner, self.network_lr, self.network_batch = outer, inner, network_lr, network_batch
        self.distance, self.augment, self.init = distance, augment, init

    @property
    def class_batches(self) -> int:
        """One for each matching."""
        return self.outer

    def prepare(self, context: IterationContext) -> None:
        """Fill the initial images class by class."""
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Move all images ``outer`` times under one network; return the mean loss of these steps."""
        network = context.new_network_to_match(context.rng)
        optimizer = torch.optim.SGD(network.parameters(), self.network_lr)
        total = context.syn.images.new_zeros(())
        with global_seed(context.rng):  # dropout draws from the global generator
            for step in range(self.outer):
                # Trained before a matching, not after it: training after the last one would be lost work.
                if step:
                    self._train(network, optimizer, context)
                # Back to training mode, since the last call has left norm layers in evaluation mode.
                _freeze_statistics(network.train(), context)
                loss, gradient = self._match(network, context)
                apply(grads={"images": gradient})
                total += loss
        return {"loss": total / self.outer}

    def _match(self, network: Network, context: IterationContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, summed over classes, and its gradient by the images."""
        # Gradients are accumulated class by class, so that only one class's graph is in memory.
        gradient = torch.zeros_like(context.syn.images)
        weights = list(network.parameters())
        total = gradient.new_zeros(())
        for c in range(len(context.real.classes)):
            real = context.class_batch(c, self.real_batch, network)
            synthetic = context.synthetic_images(c)
            if self.augment is not None:
                # Siamese: the same transform on both sides, or its effect would count as distance.
                plan = self.augment.draw(context.rng, 1, real.shape[-1], shared=True)
                real, synthetic = self.augment.apply(real, plan), self.augment.apply(synthetic, plan)
            target = class_gradients(network, real, c, weights)
            loss = self.distance(target, class_gradients(network, synthetic, c, weights, keep_graph=True))
            gradient += torch.autograd.grad(loss, context.syn.images)[0]
            total += loss.detach()
        return total, gradient

    def _train(self, network: Network, optimizer: torch.optim.SGD, context: IterationContext) -> None:
        """Train the network for ``inner`` epochs on the current images."""
        # Detached: the network learns from the images here, not the images from the network.
        images, labels = (part.detach() for part in context.syn.decode())
        network.train()
        for _ in range(self.inner):
            # Drawn on the CPU, so that all devices draw the same.
            for rows in torch.randperm(len(labels), generator=context.rng).split(self.network_batch):
                x, y = images[rows.to(images.device)], labels[rows.to(labels.device)]
                if self.augment is not None:
                    plan = self.augment.draw(context.rng, len(x), x.shape[-1], shared=False)
                    x = self.augment.apply(x, plan)
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(x), y).backward()
                optimizer.step()

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images."""
        return [{"params": [syn.images], "lr": self.lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration, with the trainings between matchings."""
        # A forward and backward pass is 3; differentiating through the backward pass again makes it 9.
        matching = classes * (3 * min(self.real_batch, per_class) + 9 * ipc)
        # The network is trained only between matchings, so once less than they are.
        return self.outer * matching + (self.outer - 1) * self.inner * 3 * classes * ipc


def _freeze_statistics(network: Network, context: IterationContext) -> None:
    """Set running statistics from real images of all classes, then keep their layers in evaluation mode."""
    # As published: gradients of a single class must not be normalised with statistics of that class alone.
    layers = [module for module in network.modules() if getattr(module, "running_mean", None) is not None]
    if not layers:
        return
    classes = range(len(context.real.classes))
    with torch.no_grad():
        network(torch.cat([context.real.class_batch(c, STATISTICS_BATCH, context.rng) for c in classes]))
    for layer in layers:
        layer.eval()
