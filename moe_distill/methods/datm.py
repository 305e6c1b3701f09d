"""DATM: trajectory matching whose difficulty suits the size of the set, with learned soft labels.

Guo, Wang, Cazenavette, Li, Zhang and You, "Towards Lossless Dataset Distillation via Difficulty-Aligned
Trajectory Matching", ICLR 2024.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from moe_distill.errors import FieldError
from moe_distill.methods.base import IterationContext
from moe_distill.methods.mtt import MTT, teachers_of
from moe_distill.methods.presets.datm import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.validation.values import Count, Momentum, NotNegative, Whole, checked

CHUNK = 512


@checked
@dataclass(kw_only=True, eq=False)
class DATM(MTT):
    """MTT with a range of start epochs that widens, images that teachers recognise, and soft labels.

    Args:
        min_start_epoch: T⁻, the earliest start epoch.
        first_max_start_epoch: T at the first iteration, the latest start epoch, exclusive; max_start_epoch is
            T⁺.
        expand_iterations: Iterations in which T widens to T⁺, in whole epochs.
        label_epoch: The epoch whose teachers choose the initial images and label them (published: 100, the
            last).
        lr_labels: Learning rate of the labels' logits.
        momentum_labels: Their momentum.
    """

    min_start_epoch: Whole
    first_max_start_epoch: Count
    expand_iterations: Count
    label_epoch: Count
    lr_labels: NotNegative
    momentum_labels: Momentum

    presets: ClassVar[Presets] = PRESETS
    learns_labels = True

    def __post_init__(self) -> None:
        """Check that the numbers agree."""
        super().__post_init__()
        if not self.min_start_epoch < self.first_max_start_epoch <= self.max_start_epoch:
            value = f"{self.min_start_epoch}, first_max_start_epoch={self.first_max_start_epoch}"
            raise FieldError("min_start_epoch", value, f"increasing numbers up to {self.max_start_epoch}")

    @property
    def epochs_needed(self) -> int:
        """Epochs the teachers must train for."""
        return max(super().epochs_needed, self.label_epoch)

    def start_epochs(self, iteration: int) -> tuple[int, int]:
        """Return T⁻ and min(T⁺, T + ⌊(T⁺ - T) · iteration / expand_iterations⌋)."""
        widened = (self.max_start_epoch - self.first_max_start_epoch) * iteration // self.expand_iterations
        return self.min_start_epoch, min(self.max_start_epoch, self.first_max_start_epoch + widened)

    def prepare(self, context: IterationContext) -> None:
        """Fill images, then labels: the mean logits of the teachers that get an image right, of all where
        none does.
        """
        super().prepare(context)
        syn = context.syn
        assert syn.soft_labels is not None
        logits_TNC = torch.stack(
            [self._logits(context, t, syn.images) for t in range(len(teachers_of(context)))]
        )
        with torch.no_grad():
            syn.soft_labels.copy_(mean_of_correct(logits_TNC, syn.labels))

    def initial(self, context: IterationContext, c: int, ipc: int) -> torch.Tensor:
        """Return the first ``ipc`` of a class, in the order of ``init``, that teacher 0 recognises.

        Where these are too few the next teacher says which to add, and so on; what no teacher recognises
        comes last.
        """
        # Of the whole class; noise can be had without end, also where the class is smaller than the set.
        count = max(ipc, len(context.real.class_indices(c)))
        images_NCHW = self.init(context.real, c, count, context.rng)
        teachers = len(teachers_of(context))
        chosen_by_N = torch.full((len(images_NCHW),), teachers, device=images_NCHW.device)
        for teacher in range(teachers):
            unknown_N = chosen_by_N == teachers
            if len(images_NCHW) - int(unknown_N.sum()) >= ipc:
                break
            chosen_by_N[unknown_N & (self._logits(context, teacher, images_NCHW).argmax(1) == c)] = teacher
        return images_NCHW[chosen_by_N.argsort(stable=True)[:ipc]]

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
    """Return each image's logits (N, C), averaged over the teachers that get it right; over all where none
    does.
    """
    right_TN = logits_TNC.argmax(2) == labels_N
    weight_TN = torch.where(right_TN.any(0), right_TN, torch.ones_like(right_TN)).to(logits_TNC)
    return (weight_TN[..., None] * logits_TNC).sum(0) / weight_TN.sum(0)[:, None]
