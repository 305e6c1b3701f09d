"""IDC: matching the gradients of networks trained on real data, with several images stored in one.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.errors import within
from moe_distill.methods.base import Apply, IterationContext
from moe_distill.methods.matching.cells import CellMethod, some_of
from moe_distill.methods.matching.distances import Distance
from moe_distill.methods.matching.gradients import class_gradients
from moe_distill.methods.presets.idc import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network
from moe_distill.seeding import global_seed
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.early_network import EarlyStageNetwork
from moe_distill.validation.values import Count, Momentum, Positive, checked

FORMATIONS = ("single", "multi", "bound")


@checked
class IDC(CellMethod):
    """Matches gradients of convolution weights, class by class, under a network early in its training.

    All class steps share one momentum buffer, so a class's gradient keeps moving its images during the steps
    of later classes, as in the published method. Images are raw pixels and may leave [0, 1] until the network
    is next renewed, which clamps them. Real batches of a class go through shuffled epochs; a class with fewer
    images than a batch gives all of them.

    Args:
        iterations: Inner iterations: a step for every class, then training of the network (published: 2000 ·
            100).
        lr: Learning rate of the images at 10 images per class and ``base_size``; see
            :meth:`parameter_groups`.
        base_size: Image side in pixels that ``lr`` is for.
        momentum: Momentum of the images.
        real_batch: Real images per class and step.
        synthetic_batch: Decoded images per class and step at most, drawn at random.
        factor: Cells per side of a stored image (published: 2 for 32 pixels; 1 = plain images, called IDC-I).
        formation: How class steps decode images. ``single``: into factor² cells each. ``multi``: once for
            each factor up to ``factor``. ``bound``: as finely as ``synthetic_batch`` allows. The finished set
            is always decoded as ``single``.
        networks_see: Whether networks train on the expert's ``part`` or on ``all`` real data.
        distance: Distance between two lists of gradients (published for CIFAR: sum of squared differences).
        source: Builds the source of networks.
        augment: Augmentation of standardised images, one draw per class shared by real and synthetic images.
        init: What every cell starts as.
    """

    presets: ClassVar[Presets] = PRESETS
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

    def __init__(
        self,
        iterations: Count,
        lr: Positive,
        base_size: Count,
        momentum: Momentum,
        real_batch: Count,
        synthetic_batch: Count,
        factor: Count,
        formation: Literal["single", "multi", "bound"],
        networks_see: Literal["part", "all"],
        distance: Distance,
        source: Callable[[], EarlyStageNetwork],
        augment: Augmentation | None,
        init: Initial,
    ) -> None:
        self.iterations, self.lr, self.base_size, self.momentum = iterations, lr, base_size, momentum
        self.real_batch, self.synthetic_batch = real_batch, synthetic_batch
        self.factor, self.formation, self.networks_see = factor, formation, networks_see
        self.distance, self.augment, self.init = distance, augment, init
        with within("source"):
            self.source = source()

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Take one step per class, then train the network; replace it every ``renew_every`` iterations."""
        if context.iteration % self.source.renew_every == 0:
            self.source.renew(context.new_network_to_match, context.rng)
            with torch.no_grad():
                context.syn.images.clamp_(0, 1)
        total = context.syn.images.new_zeros(())
        with global_seed(context.rng):  # dropout draws from the global generator
            for c in range(len(context.real.classes)):
                loss = self._class_loss(context, self.source.network, c)
                apply(grads={"images": torch.autograd.grad(loss, context.syn.images)[0]})
                total += loss.detach()
            self.source.train(context.whole if self.networks_see == "all" else context.real, context.rng)
        return {"loss": total}

    def _class_loss(self, context: IterationContext, network: Network, c: int) -> torch.Tensor:
        real = self.real_images(context, network, c)
        # Each set capped by itself, as SeqMatch does.
        batches = [self._class_batch(matched, c, context.rng) for matched in context.matched]
        synthetic = torch.cat(batches)
        if self.augment is not None:
            plan = self.augment.draw(context.rng, 1, real.shape[-1], shared=True)
            real, synthetic = self.augment.apply(real, plan), self.augment.apply(synthetic, plan)
        # Convolutions only, as in the published code: biases, norms and the classifier have fewer dimensions.
        weights = [w for w in network.parameters() if w.dim() > 2]
        # No graph: only the synthetic side is differentiated again.
        target = class_gradients(network, real, c, weights)
        return self.distance(target, class_gradients(network, synthetic, c, weights, keep_graph=True))

    def _class_batch(self, syn: SyntheticSet, c: int, rng: torch.Generator) -> torch.Tensor:
        """Return at most ``synthetic_batch`` decoded, standardised images of a class."""
        ipc = syn.provenance.ipc
        decode: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "single": self.tiling.decode,
            "multi": self.tiling.decode_every_factor,
            "bound": lambda stored: self.tiling.decode_within(stored, self.synthetic_batch),
        }
        x = decode[self.formation](syn.images[c * ipc : (c + 1) * ipc])
        # "single" and "multi" may decode more images than a step takes.
        return syn.normalisation.standardised(some_of(x, self.synthetic_batch, rng))

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images; its rate is ``lr`` · ipc/10 · (size/base_size)²."""
        lr = self.lr * syn.provenance.ipc / 10 * (syn.images.shape[-1] / self.base_size) ** 2
        return [{"params": [syn.images], "lr": lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration, including the training of the network."""
        # A forward and backward pass is 3; differentiating through the backward pass again makes it 9.
        synthetic = min(ipc * self.tiling.per_image, self.synthetic_batch)
        return classes * (3 * min(self.real_batch, per_class) + 9 * synthetic) + 3 * self.source.n_data

    def state_dict(self) -> dict[str, Any]:
        """Return the network and the position in each class's epoch."""
        # How long the network has served is not stored: it follows from the iteration.
        return {"source": self.source.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Rebuild the network and restore the position in each class's epoch."""
        self.source.load_state_dict(state["source"], context.new_network)
        super().load_state_dict(state, context)
