"""IDM: distribution matching with partitioned images, a queue of networks and a classification term.

Zhao, Li, Qin and Yu, "Improved Distribution Matching for Dataset Condensation", CVPR 2023, §3.2-3.4.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial, exactly
from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError, within
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class, squared_distance_of_means
from moe_distill.methods.presets.idm import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.network_queue import NetworkQueue, QueueFactory
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
class IDM(Method):
    """Matches mean features class by class, with one step per class, under a network drawn from a queue.

    The steps share one momentum buffer, so a class's gradient keeps moving its images during the steps of
    later classes, as in the published method.

    Args:
        iterations: Iterations (published: 20 001).
        lr: Learning rate of the images.
        momentum: Momentum of the images.
        real_batch: Real images per class and step; all of them if a class has fewer.
        ce_weight: λ of the cross-entropy term, multiplied by the drawn network's accuracy in percent.
        factor: Tiles per side of a stored image (2 = the published partition, 1 = none).
        queue: Builds the queue of networks.
        networks_see: Whether the queue's networks train on the expert's ``part`` or on ``all`` real data.
        augment: Differentiable Siamese augmentation, one draw per class, shared by real and synthetic images.
        init: What the tiles start as; called once for all tiles of a class.
    """

    presets: ClassVar[Presets] = PRESETS
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True
    row_by: ClassVar[Literal["budget", "own"]] = "budget"
    moves_by_class: ClassVar[bool] = True

    def __init__(
        self,
        iterations: Count,
        lr: Positive,
        momentum: Momentum,
        real_batch: Count,
        ce_weight: NotNegative,
        factor: Count,
        queue: QueueFactory,
        networks_see: Literal["part", "all"],
        augment: Augmentation | None,
        init: Initial,
    ) -> None:
        self.iterations, self.lr, self.momentum, self.real_batch = iterations, lr, momentum, real_batch
        self.ce_weight, self.factor, self.networks_see = ce_weight, factor, networks_see
        self.augment, self.init = augment, init
        with within("queue"):
            self.queue: NetworkQueue = queue()

    @property
    def tiling(self) -> Tiling:
        """Partition tiles, numbered column by column as in the published code."""
        return Tiling(self.factor, by_column=True)

    def check(self, real: RealSet) -> None:
        """Reject a factor that leaves tiles of less than one pixel.

        Raises:
            FieldError: The tiles are smaller.
        """
        if self.factor > real.size:
            raise FieldError("factor", self.factor, f"at most {real.size}, the side of an image in pixels")

    @property
    def class_batches(self) -> int:
        """One for each class."""
        return 1

    def prepare(self, context: IterationContext) -> None:
        """Fill every tile with another real image, shrunk, and fill the queue."""
        fill_by_class(context.syn, lambda c: self._collages(context, c))
        self.queue.start(context.new_network, context.rng)

    def _collages(self, context: IterationContext, c: int) -> torch.Tensor:
        """Return the stored images (ipc, C, H, W) of a class, composed of shrunk initial images."""
        ipc = context.syn.provenance.ipc
        # One call for all tiles, so that no real image is taken twice while there are others.
        tiles = exactly(self.init, context.real, c, ipc * self.tiling.per_image, context.rng)
        return self.tiling.store(list(tiles.split(ipc)))

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Renew the queue, take one step per class, then train some of the queue's networks."""
        self.queue.renew(context.iteration, context.new_network, context.rng)
        network, accuracy = self.queue.draw(context.rng)
        # Frozen and in evaluation mode for matching only: the queue trains it.
        network.eval().requires_grad_(False)
        matching_network = context.to_match(network)
        matching, classification = context.syn.images.new_zeros(2)
        for c in range(len(context.real.classes)):
            match, ce = self._class_loss(context, matching_network, c)
            # The accuracy counts in percent, as in the published code, so λ is the published number.
            apply(match + self.ce_weight * 100 * accuracy * ce)
            matching += match.detach()
            classification += ce.detach() / len(context.real.classes)
        # They were frozen above, as only the images have gradients; training needs them again.
        network.requires_grad_(True)
        self.queue.train(context.whole if self.networks_see == "all" else context.real, context.rng)
        return {"loss": matching, "ce": classification, "network_accuracy": matching.new_tensor(accuracy)}

    def _class_loss(
        self, context: IterationContext, network: Network, c: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matching loss and the cross-entropy of one class's synthetic images."""
        real = context.class_batch(c, self.real_batch, network)
        synthetic = context.synthetic_images(c)
        if self.augment is not None:
            plan = self.augment.draw(context.rng, 1, real.shape[-1], shared=True)
            real, synthetic = self.augment.apply(real, plan), self.augment.apply(synthetic, plan)
        with torch.no_grad():
            target = network.embed(real)
        features = network.embed(synthetic)
        labels = torch.full((len(features),), c, device=features.device)
        cross_entropy = F.cross_entropy(network.classifier(features), labels)
        return squared_distance_of_means(target, features), cross_entropy

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images."""
        return [{"params": [syn.images], "lr": self.lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration, including the training of the queue."""
        matching = classes * (min(self.real_batch, per_class) + 3 * ipc * self.tiling.per_image)
        return matching + self.queue.forward_passes()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the queue."""
        return {"queue": self.queue.state_dict()}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Rebuild the queue with its networks."""
        self.queue.load_state_dict(state["queue"], context.new_network)
