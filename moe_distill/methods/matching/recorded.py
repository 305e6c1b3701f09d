"""Cells whose images are matched and classified under weights recorded while teachers were trained.

Source: DANCE (Zhang et al., IJCAI 2024), on whose published code those of TGDD and NCFM build.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.errors import InputError, within
from moe_distill.methods.base import IterationContext, teachers_of
from moe_distill.methods.matching.cells import CellMethod
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.teachers.bank import StoredBank
from moe_distill.teachers.snapshots import SnapshotSource
from moe_distill.teachers.trajectories import TrajectoryPool


class RecordedCellMethod(CellMethod):
    """What TGDD and NCFM share: two networks with recorded weights, and a draw of the augmentation per class.

    Attributes:
        teacher_epochs: E, epochs of the teachers.
        augment: Augmentation of standardised images, one draw per class shared by real and synthetic images.
        source: Draws the two networks of an iteration.
    """

    teacher_epochs: int
    augment: Augmentation | None
    source: SnapshotSource

    def build_teachers(self) -> None:
        """Replace the builder of the pool, which the settings of a run hold, by the pool."""
        with within("teachers"):
            self.teachers = cast(Callable[[], TrajectoryPool], self.teachers)()

    @property
    def epochs_needed(self) -> int:
        """Epochs of the teachers."""
        return self.teacher_epochs

    def prepare(self, context: IterationContext) -> None:
        """Fill every cell with another real image of its class, shrunk."""
        super().prepare(context)
        self.use_shells(context)

    def use_shells(self, context: IterationContext) -> None:
        """Give the source the two networks that take on recorded weights."""
        # Of constant seeds: drawing from the expert's stream would change all that is drawn after it.
        self.source.use([context.new_network(stream(0, "shell", number)) for number in range(2)])

    def networks_to_match(self, context: IterationContext) -> tuple[Network, Network]:
        """Draw the networks of an iteration; only the one that features are matched under is perturbed."""
        matching, other = self.source.draw(teachers_of(context), context.rng)
        return context.to_match(matching), other

    def augmented(self, context: IterationContext, *batches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return batches of one class augmented with one draw."""
        if self.augment is None:
            return batches
        plan = self.augment.draw(context.rng, 1, batches[0].shape[-1], shared=True)
        return tuple(self.augment.apply(batch, plan) for batch in batches)

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Continue each class's epoch."""
        super().load_state_dict(state, context)
        self.use_shells(context)


def bank_of(context: IterationContext) -> StoredBank:
    """Return the stored means of the expert's real images.

    Raises:
        InputError: The run has not loaded any.
    """
    if context.bank is None:
        raise InputError("method.targets", "bank", "a computed bank: run the same command with pipeline=full")
    return context.bank


def cross_entropy(
    network: Network, synthetic: torch.Tensor, c: int, features: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean cross-entropy of images of one class, a scalar.

    Args:
        network: Classifies them.
        synthetic: The images (N, C, H, W).
        c: Their class.
        features: Their features (N, D) under ``network``, if known.
    """
    logits = network(synthetic) if features is None else network.classifier(features)
    return F.cross_entropy(logits, torch.full((len(logits),), c, device=logits.device))
