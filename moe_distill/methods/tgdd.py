"""TGDD: matching mean features under snapshots of recorded trainings; later ones must classify the images.

Source: TGDD's published code (commit 39ac9c2, 2026). With ``networks=interpolate`` and
``constraint=separate`` it is DANCE (Zhang et al., "DANCE: Dual-View Distribution Alignment for Dataset
Condensation", IJCAI 2024). Storage, decoding and initial images are IDC's. The bank is ours; the term of
covariances is DSDM's (ACM MM 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.errors import FieldError, InputError
from moe_distill.methods.base import Apply, IterationContext, squared_distance_of_means, teachers_of
from moe_distill.methods.matching.cells import some_of
from moe_distill.methods.matching.covariance import squared_distance_of_covariances
from moe_distill.methods.matching.recorded import RecordedCellMethod, bank_of, cross_entropy
from moe_distill.methods.presets.rows import Presets
from moe_distill.methods.presets.tgdd import PRESETS
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.bank import BankSpec, Entry
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
        targets: ``batch`` matches the mean features of a new real batch in every step, as published.
            ``bank`` matches means over the real images that were computed before the first iteration: an
            iteration draws one of ``bank_entries`` snapshots, each with a draw of the augmentation per class,
            and the constraint's network as always.
        bank_entries: B, the entries of the bank. It costs less time than batches where an entry serves in
            more iterations than a class has batches of real images.
        per_class_images: Real images per class in each mean of the bank, others in every entry; None for all.
        covariance: Weight of the squared distance between the covariances of real and synthetic features.
            DSDM has 50/2048 for its 2048 features; 0 leaves the term out.
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
    targets: Literal["batch", "bank"] = "batch"
    bank_entries: Count = 256
    per_class_images: Count | None = None
    covariance: NotNegative = 0.0

    def __post_init__(self) -> None:
        """Build the pool, whose teachers are trained before the first iteration.

        Raises:
            FieldError: A bank cannot serve these settings, or a covariance has too few images.
        """
        self.build_teachers()
        self.source = SnapshotSource(self.networks, self.teacher_epochs, self.window)
        if self.covariance > 0:
            self._check_covariance()
        if self.targets == "bank":
            self.bank = self._new_bank()

    def _check_covariance(self) -> None:
        if self.targets == "bank":
            allowed = "0 where method.targets=bank, as a bank holds means alone"
            raise FieldError("covariance", self.covariance, allowed)
        for name, images in (("real_batch", self.real_batch), ("synthetic_batch", self.synthetic_batch)):
            if images < 2:
                allowed = "at least 2, as method.covariance is on and one image has no covariance"
                raise FieldError(name, images, allowed)

    def _new_bank(self) -> BankSpec:
        if self.networks != "snapshot":
            allowed = f"batch where method.networks={self.networks}, whose weights are new in every iteration"
            raise FieldError("targets", self.targets, allowed)
        return BankSpec(self.bank_entries, self.teacher_epochs, self.augment, self.per_class_images)

    @property
    def class_batches(self) -> int:
        """One for each class, unless stored means take their place."""
        return 0 if self.targets == "bank" else 1

    def require_images(self, ipc: int, fewest: int) -> None:
        """Reject an ipc with too few real images, or with single images where covariances are compared."""
        super().require_images(ipc, fewest)
        if self.covariance > 0 and min(ipc * self.tiling.per_image, fewest) < 2:
            allowed = "with method.covariance on, at least 2 synthetic and 2 real images of every class"
            raise InputError("ipc", ipc, allowed)

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Draw the networks, then take one step per class, or two with a separate constraint."""
        with torch.no_grad():
            context.syn.images.clamp_(0, 1)
        entry, matching_network, constraint_network = self._drawn(context)
        classes = range(len(context.real.classes))
        matching, classification = context.syn.images.new_zeros(2)
        for c in classes:
            target_ND, synthetic = self._target(context, matching_network, entry, c)
            features_ND = matching_network.embed(synthetic)
            match = self._distance(target_ND, features_ND)
            loss = match
            if self.constraint == "joint":
                same = constraint_network is matching_network
                ce = cross_entropy(constraint_network, synthetic, c, features_ND if same else None)
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

    def _drawn(self, context: IterationContext) -> tuple[Entry | None, Network, Network]:
        """Return the bank's entry of an iteration, if there is a bank, and the two networks."""
        if self.bank is None:
            return None, *self.networks_to_match(context)
        entry = bank_of(context).draw(context.rng)
        return entry, *self.source.after(teachers_of(context), entry.teacher, entry.epoch, context.rng)

    def _target(
        self, context: IterationContext, network: Network, entry: Entry | None, c: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features of real images of a class, or one row with their mean, and synthetic images."""
        if entry is None:
            pair = self.real_images(context, network, c), self._decoded(context, c)
            real, synthetic = self.augmented(context, *pair)
            with torch.no_grad():
                return network.embed(real), synthetic
        synthetic = entry.augmented(self._decoded(context, c), c)
        return entry.means_CD[c : c + 1].to(synthetic), synthetic

    def _distance(self, real_ND: torch.Tensor, synthetic_MD: torch.Tensor) -> torch.Tensor:
        """Return the squared distance of the mean features, summed over features, and of the covariances."""
        distance = squared_distance_of_means(real_ND, synthetic_MD)
        if self.covariance > 0:
            distance = distance + self.covariance * squared_distance_of_covariances(real_ND, synthetic_MD)
        return distance

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
        real = 0 if self.bank is not None else min(self.real_batch, per_class)
        return classes * (real + 2 * 3 * synthetic)

    def spared_passes(self, classes: int, per_class: int) -> float:
        """Return the forward passes of the real batches that the bank takes the place of."""
        return 0.0 if self.bank is None else classes * min(self.real_batch, per_class)
