"""TGDD: matching mean features under snapshots of recorded trainings; later ones must classify the images.

Source: TGDD's published code (commit 39ac9c2, 2026). With ``networks=interpolate`` and
``constraint=separate`` it is DANCE (Zhang et al., "DANCE: Dual-View Distribution Alignment for Dataset
Condensation", IJCAI 2024). Storage, decoding and initial images are IDC's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.methods.base import Apply, IterationContext, squared_distance_of_means
from moe_distill.methods.matching.cells import some_of
from moe_distill.methods.matching.recorded import RecordedCellMethod, cross_entropy
from moe_distill.methods.presets.rows import Presets
from moe_distill.methods.presets.tgdd import PRESETS
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.snapshots import Kind, SnapshotSource
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
@dataclass
class TGDD(RecordedCellMethod):
    """Matches a class's mean features under one snapshot, and classifies its images by a later one.

    No network is trained in the loop. The class steps of an iteration share one pair of networks and one
    momentum buffer. Images are raw pixels, clamped to [0, 1] at the start of every iteration only. Real
    batches of a class go through shuffled epochs; a class with fewer images than a batch gives all of them.

    Args:
        iterations: Iterations, each a step for every class (published: 10 000).
        lr: Learning rate of the images at 10 images per class; see :meth:`parameter_groups`.
        momentum: Momentum of the images.
        real_batch: Real images per class and step.
        synthetic_batch: Decoded images per class and step at most, drawn at random.
        factor: Cells per side of a stored image.
        alpha: α, the weight of the cross-entropy of the constraint.
        constraint: ``joint`` adds it to the matching loss of the same images; ``separate`` takes a pass of
            its own over the classes, with draws of its own.
        networks: ``snapshot`` matches under the weights of a random epoch, ``interpolate`` between the first
            and the last weights.
        teacher_epochs: E, epochs of the teachers.
        window: Epochs from the matching network's on, from which the constraint's network is drawn.
        augment: Augmentation of standardised images, one draw per class shared by real and synthetic images.
        init: What every cell starts as.
        teachers: Builds the pool of teachers; after construction, the pool.
    """

    presets: ClassVar[Presets] = PRESETS
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

    # field() keeps these required: otherwise the class attributes of Method would become defaults.
    iterations: Count = field()
    lr: Positive
    momentum: Momentum
    real_batch: Count
    synthetic_batch: Count
    factor: Count
    alpha: NotNegative
    constraint: Literal["joint", "separate"]
    networks: Kind
    teacher_epochs: Count
    window: Count
    augment: Augmentation | None
    init: Initial = field()
    teachers: Callable[[], TrajectoryPool] = field()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Build the pool, whose teachers are trained before the first iteration."""
        self.build_teachers()
        self.source = SnapshotSource(self.networks, self.teacher_epochs, self.window)

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Draw the networks, then take one step per class, or two with a separate constraint."""
        with torch.no_grad():
            context.syn.images.clamp_(0, 1)
        matching_network, constraint_network = self.networks_to_match(context)
        classes = range(len(context.real.classes))
        matching, classification = context.syn.images.new_zeros(2)
        for c in classes:
            pair = self.real_images(context, matching_network, c), self._decoded(context, c)
            real, synthetic = self.augmented(context, *pair)
            match, features = _match(matching_network, real, synthetic)
            loss = match
            if self.constraint == "joint":
                same = constraint_network is matching_network
                ce = cross_entropy(constraint_network, synthetic, c, features if same else None)
                loss = match + self.alpha * ce
                classification += ce.detach() / len(classes)
            apply(loss)
            matching += match.detach()
        if self.constraint == "separate":
            for c in classes:
                (synthetic,) = self.augmented(context, self._decoded(context, c))
                ce = cross_entropy(constraint_network, synthetic, c)
                apply(self.alpha * ce)
                classification += ce.detach() / len(classes)
        return {"loss": matching, "ce": classification}

    def _decoded(self, context: IterationContext, c: int) -> torch.Tensor:
        """Return at most ``synthetic_batch`` decoded images of a class, standardised."""
        # Each set capped by itself, as SeqMatch does for IDC.
        batches = [some_of(s.of_class(c), self.synthetic_batch, context.rng) for s in context.matched]
        decoded = torch.cat(batches)
        return context.syn.normalisation.standardised(decoded)

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images; its rate is ``lr`` · ipc/10, of the expert's own ipc."""
        lr = self.lr * syn.provenance.ipc / 10
        return [{"params": [syn.images], "lr": lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration: real images forward, synthetic ones twice and back."""
        synthetic = min(ipc * self.tiling.per_image, self.synthetic_batch)
        return classes * (min(self.real_batch, per_class) + 2 * 3 * synthetic)


def _match(
    network: Network, real: torch.Tensor, synthetic: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared distance of the mean features, summed over features, and the synthetic features."""
    with torch.no_grad():
        target = network.embed(real)
    features = network.embed(synthetic)
    return squared_distance_of_means(target, features), features
