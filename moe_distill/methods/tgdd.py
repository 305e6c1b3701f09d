"""TGDD: matching mean features under snapshots of recorded trainings; later ones must classify the images.

Source: TGDD's published code (commit 39ac9c2, 2026). With ``networks=interpolate`` and
``constraint=separate`` it is DANCE (Zhang et al., "DANCE: Dual-View Distribution Alignment for Dataset
Condensation", IJCAI 2024). Storage, decoding and initial images are IDC's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.errors import within
from moe_distill.methods.base import Apply, IterationContext, Method, squared_distance_of_means, teachers_of
from moe_distill.methods.matching.cells import check_cells, fill_cells, some_cells
from moe_distill.methods.presets.rows import Presets
from moe_distill.methods.presets.tgdd import PRESETS
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.snapshots import Kind, SnapshotSource
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
@dataclass
class TGDD(Method):
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
    space: ClassVar[Space] = "raw"
    moves_by_class: ClassVar[bool] = True

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
        with within("teachers"):
            # A builder until here, because the settings of a run hold builders.
            self.teachers = self.teachers()  # type: ignore[assignment]
        self.source = SnapshotSource(self.networks, self.teacher_epochs, self.window)
        self._epochs: list[ShuffledEpochs] = []

    @property
    def epochs_needed(self) -> int:
        """Epochs of the teachers."""
        return self.teacher_epochs

    @property
    def tiling(self) -> Tiling:
        """Cells numbered row by row and padded with grey."""
        return Tiling(self.factor, fill=0.5)

    def check(self, real: RealSet) -> None:
        """Reject a factor that leaves cells of less than 4 pixels per side."""
        check_cells(self.factor, real.size)

    def prepare(self, context: IterationContext) -> None:
        """Fill every cell with another real image of its class, shrunk."""
        self._epochs = [ShuffledEpochs() for _ in context.real.classes]
        self._use_shells(context)
        fill_cells(context, self.factor, self.init)

    def _use_shells(self, context: IterationContext) -> None:
        # Of constant seeds: drawing from the expert's stream would change all that is drawn after it.
        self.source.use([context.new_network(stream(0, "shell", number)) for number in range(2)])

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Draw the networks, then take one step per class, or two with a separate constraint."""
        with torch.no_grad():
            context.syn.images.clamp_(0, 1)
        matching_network, constraint_network = self.source.draw(teachers_of(context), context.rng)
        classes = range(len(context.real.classes))
        matching, classification = context.syn.images.new_zeros(2)
        for c in classes:
            real, synthetic = self._pair(context, c)
            match, features = _match(matching_network, real, synthetic)
            loss = match
            if self.constraint == "joint":
                same = constraint_network is matching_network
                ce = _cross_entropy(constraint_network, synthetic, c, features if same else None)
                loss = match + self.alpha * ce
                classification += ce.detach() / len(classes)
            apply(loss)
            matching += match.detach()
        if self.constraint == "separate":
            for c in classes:
                ce = _cross_entropy(constraint_network, self._synthetic(context, c), c)
                apply(self.alpha * ce)
                classification += ce.detach() / len(classes)
        return {"loss": matching, "ce": classification}

    def _pair(self, context: IterationContext, c: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a real batch and the synthetic images of a class, augmented with the same draw."""
        rows = self._epochs[c].next(context.real.class_indices(c), self.real_batch, context.rng)
        real, _ = context.real.at(rows)
        synthetic = some_cells(context.syn, c, self.synthetic_batch, context.rng)
        if self.augment is None:
            return real, synthetic
        plan = self.augment.draw(context.rng, 1, real.shape[-1], shared=True)
        return self.augment.apply(real, plan), self.augment.apply(synthetic, plan)

    def _synthetic(self, context: IterationContext, c: int) -> torch.Tensor:
        """Return the synthetic images of a class, augmented with a draw of their own."""
        synthetic = some_cells(context.syn, c, self.synthetic_batch, context.rng)
        if self.augment is None:
            return synthetic
        return self.augment.apply(
            synthetic, self.augment.draw(context.rng, 1, synthetic.shape[-1], shared=True)
        )

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images; its rate is ``lr`` · ipc/10, of the expert's own ipc."""
        lr = self.lr * syn.provenance.ipc / 10
        return [{"params": [syn.images], "lr": lr, "momentum": self.momentum}]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration: real images forward, synthetic ones twice and back."""
        synthetic = min(ipc * self.tiling.per_image, self.synthetic_batch)
        return classes * (min(self.real_batch, per_class) + 2 * 3 * synthetic)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in each class's epoch."""
        return {"epochs": [epochs.state_dict() for epochs in self._epochs]}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Continue each class's epoch."""
        self._epochs = [ShuffledEpochs() for _ in state["epochs"]]
        for epochs, position in zip(self._epochs, state["epochs"], strict=True):
            epochs.load_state_dict(position)
        self._use_shells(context)


def _match(
    network: Network, real: torch.Tensor, synthetic: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared distance of the mean features, summed over features, and the synthetic features."""
    with torch.no_grad():
        target = network.embed(real)
    features = network.embed(synthetic)
    return squared_distance_of_means(target, features), features


def _cross_entropy(
    network: Network, synthetic: torch.Tensor, c: int, features: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean cross-entropy of images of class ``c``; ``features`` are the network's, if known."""
    logits = network(synthetic) if features is None else network.classifier(features)
    return F.cross_entropy(logits, torch.full((len(logits),), c, device=logits.device))
