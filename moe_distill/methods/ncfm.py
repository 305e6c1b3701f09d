"""NCFM: matching the characteristic functions of features under interpolated weights of recorded trainings.

Source: Wang et al., "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective", CVPR
2025, and its published code (commit de92fb8, 2025), which leaves the learned frequencies out. Networks and
calibration are DANCE's; storage, decoding and initial images IDC's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.errors import FieldError
from moe_distill.methods.base import Apply, IterationContext
from moe_distill.methods.matching.characteristic import characteristic_distance, unit_rows
from moe_distill.methods.matching.frequencies import PER_SCALE, Draws, LearnedFrequencies, normal
from moe_distill.methods.matching.recorded import RecordedCellMethod, cross_entropy
from moe_distill.methods.presets.ncfm import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.snapshots import SnapshotSource
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.recipe import OptimizerFactory
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
@dataclass
class NCFM(RecordedCellMethod):
    """Matches the characteristic function of a class's features; trained teachers must classify its images.

    No network is trained in the loop, except for learned frequencies. An iteration draws one teacher; its
    matching network lies between the teacher's first and last weights, and calibration uses the last ones.
    First every class takes a step of matching, then every class one of calibration. Images are raw pixels,
    clamped to [0, 1] at the start of every iteration only. The rate is constant: the published code halves it
    where its loss, which depends on the network drawn, has no new minimum in 500 iterations.

    Args:
        iterations: Iterations, each two steps for every class (published: 20 000).
        optimizer: What moves the images, in place of the run's optimiser; ``adamw`` is published for all but
            CIFAR-100 at ipc 10.
        lr: Learning rate of the images, the same for any number of images per class.
        momentum: Momentum of ``sgd``; ``adamw`` has none.
        weight_decay: Weight decay of the images.
        real_batch: Real images per class and step.
        real_choice: ``random`` takes them from shuffled epochs; ``first`` takes the first images of the class
            in every step, as the published code does, which so sees a fifth of CIFAR-10.
        frequencies: K, the frequencies at which functions are compared, drawn anew in every step.
        sampler: ``gaussian``: standard normal frequencies, as every published configuration has them;
            ``learned``: times the scales of a network that learns to make the distance large.
        amplitude: α, the weight of the difference of amplitudes.
        phase: β, the weight of the difference of phases.
        scale: Factor of the distance.
        calibration: Weight of the cross-entropy under the teacher's last weights; 0 leaves its steps out.
        factor: Cells per side of a stored image.
        teacher_epochs: E, epochs of the teachers.
        augment: Augmentation of standardised images, one draw per class shared by real and synthetic images.
        init: What every cell starts as.
        teachers: Builds the pool of teachers; after construction, the pool.
    """

    presets: ClassVar[Presets] = PRESETS
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

    # field() keeps these required: otherwise the class attributes of Method would become defaults.
    iterations: Count = field()
    optimizer: Literal["adamw", "sgd"]
    lr: Positive
    momentum: Momentum
    weight_decay: NotNegative
    real_batch: Count
    real_choice: Literal["random", "first"]
    frequencies: Count
    sampler: Literal["gaussian", "learned"]
    amplitude: NotNegative
    phase: NotNegative
    scale: Positive
    calibration: NotNegative
    factor: Count
    teacher_epochs: Count
    augment: Augmentation | None
    init: Initial = field()
    teachers: Callable[[], TrajectoryPool] = field()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Build the pool, whose teachers are trained before the first iteration.

        Raises:
            FieldError: Learned frequencies do not come in whole rows of scales, at least two.
        """
        # The network normalises by the statistics of its rows: one row has none.
        if self.sampler == "learned" and (self.frequencies % PER_SCALE or self.frequencies == PER_SCALE):
            allowed = f"a multiple of {PER_SCALE} from {2 * PER_SCALE} on, where method.sampler=learned"
            raise FieldError("frequencies", self.frequencies, allowed)
        self.build_teachers()
        self.source = SnapshotSource("interpolate", self.teacher_epochs, window=1)
        self._learned: LearnedFrequencies | None = None

    @property
    def class_batches(self) -> int:
        """One for each class, unless it always takes the same images."""
        return 1 if self.real_choice == "random" else 0

    def prepare(self, context: IterationContext) -> None:
        """Fill every cell with another real image of its class, shrunk."""
        super().prepare(context)
        if self.sampler == "learned":
            self._learned = self._new_sampler(context, context.rng)

    def _new_sampler(self, context: IterationContext, rng: torch.Generator) -> LearnedFrequencies:
        features = context.new_network(stream(0, "shell", 0)).feature_dim
        return LearnedFrequencies(features, context.syn.images, rng)

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Draw a teacher, then take a step of matching for every class, then one of calibration."""
        with torch.no_grad():
            context.syn.images.clamp_(0, 1)
        matching_network, trained_network = self.networks_to_match(context)
        classes = range(len(context.real.classes))
        matching, classification = context.syn.images.new_zeros(2)
        for c in classes:
            pair = self._real(context, matching_network, c), self._decoded(context, c)
            real, synthetic = self.augmented(context, *pair)
            with torch.no_grad():
                real_ND = unit_rows(matching_network.embed(real))
            synthetic_MD = unit_rows(matching_network.embed(synthetic))
            distance = self.scale * self._distance(real_ND, synthetic_MD, context.rng)
            apply(distance)
            matching += distance.detach()
        if self.calibration > 0:  # a step of no gradient would still move images, by Adam's moments
            for c in classes:
                (synthetic,) = self.augmented(context, self._decoded(context, c))
                ce = cross_entropy(trained_network, synthetic, c)
                apply(self.calibration * ce)
                classification += ce.detach() / len(classes)
        # What its program watches for a plateau: the mean over the classes of both.
        objective = matching / len(classes) + self.calibration * classification
        return {"loss": matching, "ce": classification, "objective": objective}

    def _real(self, context: IterationContext, network: Network, c: int) -> torch.Tensor:
        """Return a class's real batch, standardised: the next of its epoch, or always its first images."""
        if self.real_choice == "random":
            return self.real_images(context, network, c)
        return context.real.at(context.real.class_indices(c)[: self.real_batch])[0]

    def _decoded(self, context: IterationContext, c: int) -> torch.Tensor:
        """Return all decoded images of a class, standardised."""
        return context.syn.normalisation.standardised(context.synthetic_images(c))

    def _distance(
        self, real_ND: torch.Tensor, synthetic_MD: torch.Tensor, rng: torch.Generator
    ) -> torch.Tensor:
        """Return the distance at new frequencies; learned ones first take a step that makes it larger."""
        distance = partial(characteristic_distance, amplitude=self.amplitude, phase=self.phase)
        t_KD = normal(self.frequencies, real_ND, rng)
        if self._learned is not None:
            draws = Draws(normal(self.frequencies // PER_SCALE, real_ND, rng), t_KD)
            t_KD = self._learned.ascend(partial(distance, real_ND, synthetic_MD.detach()), draws)
        return distance(real_ND, synthetic_MD, t_KD)

    @property
    def image_optimizer(self) -> OptimizerFactory:
        """The class of the optimiser that moves the images."""
        return torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.SGD

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images; ``momentum`` is for ``sgd`` alone."""
        group = {"params": [syn.images], "lr": self.lr, "weight_decay": self.weight_decay}
        return [{**group, "momentum": self.momentum} if self.optimizer == "sgd" else group]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration: real images forward, synthetic ones also back."""
        steps = 2 if self.calibration > 0 else 1
        return classes * (min(self.real_batch, per_class) + steps * 3 * ipc * self.tiling.per_image)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in each class's epoch, and the learned sampler if there is one."""
        learned = {} if self._learned is None else {"sampler": self._learned.state_dict()}
        return {**super().state_dict(), **learned}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Continue each class's epoch, and the learned sampler."""
        super().load_state_dict(state, context)
        if self.sampler == "learned":
            self._learned = self._new_sampler(context, stream(0, "replaced"))
            self._learned.load_state_dict(state["sampler"])
