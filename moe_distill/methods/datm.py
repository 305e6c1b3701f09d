"""DATM: trajectory matching with difficulty matched to the size of the set, and learned soft labels.

Guo, Wang, Cazenavette, Li, Zhang and You, "Towards Lossless Dataset Distillation via Difficulty-Aligned
Trajectory Matching", ICLR 2024.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from moe_distill.errors import FieldError
from moe_distill.methods.base import IterationContext, teachers_of
from moe_distill.methods.mtt import MTT
from moe_distill.methods.presets.datm import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.values import Count, Momentum, NotNegative, Whole, checked

CHUNK = 512  # images in one pass when teachers label, to bound memory


@checked
@dataclass(kw_only=True, eq=False)
class DATM(MTT):
    """MTT with a widening range of start epochs, images that teachers classify correctly, and soft labels.

    Args:
        min_start_epoch: T⁻, the earliest start epoch.
        first_max_start_epoch: T at the first iteration, the latest start epoch, exclusive; T⁺ is
            ``max_start_epoch``.
        expand_iterations: Iterations over which T grows to T⁺, in whole epochs.
        label_epoch: Epoch of the teachers that select and label the initial images (published: 100, the
            last).
        lr_labels: Learning rate of the labels' logits.
        momentum_labels: Momentum of the labels' logits.

    Raises:
        FieldError: The start epochs do not increase up to ``max_start_epoch``.
    """

    min_start_epoch: Whole
    first_max_start_epoch: Count
    expand_iterations: Count
    label_epoch: Count
    lr_labels: NotNegative
    momentum_labels: Momentum

    presets: ClassVar[Presets] = PRESETS
    # The set stores logits, which are trained with the images.
    learns_labels = True

    def __post_init__(self) -> None:
        """Check that the start epochs increase."""
        super().__post_init__()
        if not self.min_start_epoch < self.first_max_start_epoch <= self.max_start_epoch:
            value = f"{self.min_start_epoch}, first_max_start_epoch={self.first_max_start_epoch}"
            raise FieldError("min_start_epoch", value, f"increasing numbers up to {self.max_start_epoch}")

    @property
    def epochs_needed(self) -> int:
        """Epochs the teachers must train for, including the one that labels."""
        return max(super().epochs_needed, self.label_epoch)

    def start_epochs(self, iteration: int) -> tuple[int, int]:
        """Return T⁻ and the current T, min(T⁺, T + ⌊(T⁺ - T) · iteration / expand_iterations⌋)."""
        # Integer division: T grows in whole epochs.
        widened = (self.max_start_epoch - self.first_max_start_epoch) * iteration // self.expand_iterations
        return self.min_start_epoch, min(self.max_start_epoch, self.first_max_start_epoch + widened)

    def prepare(self, context: IterationContext) -> None:
        """Fill the images, then their soft labels with the teachers' logits (:func:`mean_of_correct`)."""
        super().prepare(context)
        syn = context.syn
        assert syn.soft_labels is not None
        logits_TNC = torch.stack(
            [self._logits(context, t, syn.images) for t in range(len(teachers_of(context)))]
        )
        with torch.no_grad():
            syn.soft_labels.copy_(mean_of_correct(logits_TNC, syn.labels))

    def initial(self, context: IterationContext, c: int, ipc: int) -> torch.Tensor:
        """Return ``ipc`` initial images of a class, preferring those that the teachers classify correctly.

        Images that teacher 0 classifies correctly come first, in the order of ``init``. If these are too few,
        those that teacher 1 classifies correctly follow, and so on; images that no teacher does come last.
        """
        # Candidates are the whole class. Noise is unlimited, so a set may be larger than a small class.
        count = max(ipc, len(context.real.class_indices(c)))
        images_NCHW = self.init(context.real, c, count, context.rng)
        num_teachers = len(teachers_of(context))
        # The first teacher that classifies an image correctly; num_teachers stands for none so far.
        first_correct_N = torch.full((len(images_NCHW),), num_teachers, device=images_NCHW.device)
        for teacher in range(num_teachers):
            pending_N = first_correct_N == num_teachers
            if len(images_NCHW) - int(pending_N.sum()) >= ipc:
                break
            correct_N = self._logits(context, teacher, images_NCHW).argmax(1) == c
            first_correct_N[pending_N & correct_N] = teacher
        # Stable, so that images of one teacher keep the order of ``init``.
        return images_NCHW[first_correct_N.argsort(stable=True)[:ipc]]

    def _logits(self, context: IterationContext, teacher: int, images_NCHW: torch.Tensor) -> torch.Tensor:
        theta_P = teachers_of(context).snapshot(teacher, self.label_epoch).to(context.syn.images)
        network = self.network(context)
        with torch.no_grad():
            return torch.cat([network(theta_P, x.to(theta_P)) for x in images_NCHW.split(CHUNK)])

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return the groups of images, step size and labels."""
        labels = {"params": [syn.soft_labels], "lr": self.lr_labels, "momentum": self.momentum_labels}
        return [*super().parameter_groups(syn), labels]


def mean_of_correct(logits_TNC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return each image's logits (N, C), averaged over the teachers that classify it correctly.

    Where no teacher does, the average is over all of them.

    Args:
        logits_TNC: Logits of T teachers.
        labels_N: True classes.

    Example:
        >>> logits_TNC = torch.tensor([[[3.0, 1.0]], [[0.0, 2.0]]])
        >>> mean_of_correct(logits_TNC, torch.tensor([0]))
        tensor([[3., 1.]])
    """
    correct_TN = logits_TNC.argmax(2) == labels_N
    # Teachers that are wrong have weight 0, unless all are.
    weight_TN = torch.where(correct_TN.any(0), correct_TN, torch.ones_like(correct_TN)).to(logits_TNC)
    return (weight_TN[..., None] * logits_TNC).sum(0) / weight_TN.sum(0)[:, None]
