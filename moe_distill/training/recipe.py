"""How a network is trained: everything about it in one frozen record."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.augmentation.pixels import PixelAugmentation
from moe_distill.errors import FieldError, within
from moe_distill.training.mixing import CutMix, soft_cross_entropy, soft_divergence
from moe_distill.validation.values import Count, NotNegative, Positive, Share, Text, Whole, checked

OptimizerFactory = Callable[..., torch.optim.Optimizer]
_SGD = functools.partial(torch.optim.SGD, momentum=0.9)


def last_batch(images: int, batch_size: int) -> int:
    """Return the number of images of an epoch's last batch, which is kept however small."""
    return images % batch_size or min(images, batch_size)


def check_optimizer(optimizer: OptimizerFactory, **settings: float) -> None:
    """Refuse an optimiser that its library does not make.

    Raises:
        FieldError: It does not; the field is the setting that the library names, else the object itself.
    """
    try:
        optimizer([torch.zeros(1, requires_grad=True)], **settings)
    except FieldError:
        raise
    except (ValueError, TypeError) as error:
        given = {**settings, **getattr(optimizer, "keywords", {})}
        field = next((name for name in given if name in str(error)), "")
        value = given.get(field, getattr(optimizer, "func", optimizer).__name__)
        raise FieldError(field, value, f"what the optimiser takes: {error}") from error


@checked
@dataclass(frozen=True)
class Recipe:
    """Supervised training; the rate falls in steps, along a cosine, or both.

    Args:
        name: What the field calls it; recorded with every result.
        epochs: The published number E.
        extra_epochs: Epochs run beyond E (1 for the DC family, whose loop is inclusive).
        lr: First learning rate.
        weight_decay: As the optimiser takes it.
        optimizer: Makes the optimiser of parameters, ``lr`` and ``weight_decay``.
        batch_size: Images per step; the last, smaller batch of an epoch is kept.
        drops: Fractions of E after which the rate falls; the rate used from epoch ``int(E * drop) +
            drop_offset`` on.
        drop_offset: See ``drops``; 2 for the DC family (falls after epoch index E//2 + 1).
        drop_factor: What the rate is multiplied by at each drop.
        cosine: How much of the half wave of a cosine the rate follows over E: it is multiplied by
            ½(1 + cos(π · cosine · epoch / E)). 0 leaves it alone, 1 ends at nothing, 0.5 at a half (RDED).
        fresh_optimizer: Forget the momentum at a drop, as the DC family does by building a new optimiser.
        augment: Per-image augmentation of every batch, or None.
        cutmix: CutMix after the augmentation, or None.
        pixels: Augmentation of the pixels of a batch, ahead of all others, or None.
        lr_factors: What ``lr`` is multiplied by for a student that has its own rate, by the student's name.
        decay_biases: Whether the weight decay acts on everything, or only on what is called a weight and has
            two or more dimensions: not on biases, scales of norms and embeddings of places.
        labels: What the students are trained towards: "set": the set's soft labels where it holds some, else
            its classes; "hard": its classes; "teacher_online": what a teacher makes of each augmented and
            mixed batch.
        temperature: T of KL(softmax(z_teacher / T) ‖ softmax(z_student / T)), not multiplied by T²; without
            effect on hard labels.
        regions: Whether images stitched of f × f patches are trained on with their patches shuffled and,
            each, a region of at least 1 / f of its area enlarged (RDED).
        learned_rate: Whether a step size that was learned with the set takes the place of ``lr`` and its
            factors.
        test_points: Fractions of E at which the published recipe tests; the last epoch is always tested.
    """

    name: Text
    epochs: Count
    extra_epochs: Whole = 0
    lr: Positive = 0.01
    weight_decay: NotNegative = 5e-4
    optimizer: OptimizerFactory = _SGD
    batch_size: Count = 256
    drops: tuple[Share, ...] = ()
    drop_offset: Whole = 0
    drop_factor: Positive = 0.1
    cosine: Share = 0.0
    fresh_optimizer: bool = False
    augment: Augmentation | None = None
    cutmix: CutMix | None = None
    test_points: tuple[Share, ...] = ()
    lr_factors: Mapping[str, Positive] = field(default_factory=dict, hash=False)
    decay_biases: bool = True
    labels: Literal["set", "hard", "teacher_online"] = "set"
    temperature: Positive = 1.0
    pixels: PixelAugmentation | None = None
    learned_rate: bool = False
    regions: bool = False

    def __post_init__(self) -> None:
        """Store sequences as tuples; classes have no temperature."""
        object.__setattr__(self, "drops", tuple(self.drops))
        object.__setattr__(self, "test_points", tuple(self.test_points))
        if self.labels == "hard":
            object.__setattr__(self, "temperature", 1.0)

    def check(self) -> None:
        """Refuse an optimiser that cannot be made, before any work: only its own library knows what it takes.

        Raises:
            FieldError: It cannot.
        """
        with within("optimizer"):
            check_optimizer(self.optimizer, lr=self.lr, weight_decay=self.weight_decay)
        if self.pixels is not None:
            with within("pixels"):
                self.pixels.check()

    @property
    def total_epochs(self) -> int:
        """Epochs really run."""
        return self.epochs + self.extra_epochs

    @property
    def drop_epochs(self) -> tuple[int, ...]:
        """Epoch indices from which the rate is lower."""
        return tuple(int(self.epochs * f) + self.drop_offset for f in self.drops)

    def first_lr(self, student: str, learned: float | None) -> float:
        """Return the first rate of a student, by its name, on a set that learned a step size or did not."""
        own = self.lr * self.lr_factors.get(student, 1.0)
        return learned if self.learned_rate and learned is not None else own

    def lr_at(self, epoch: int, first: float | None = None) -> float:
        """Return the learning rate of an epoch index, starting from ``first`` instead of ``lr`` where
        given.
        """
        passed = sum(epoch >= drop for drop in self.drop_epochs)
        stepped = (self.lr if first is None else first) * self.drop_factor**passed
        return stepped * (1 + math.cos(math.pi * self.cosine * epoch / self.epochs)) / 2

    def optimizer_of(
        self, named: Iterable[tuple[str, torch.Tensor]], stacked: int = 0
    ) -> torch.optim.Optimizer:
        """Return the optimiser of named parameters, which begin with so many ``stacked`` dimensions of
        students.
        """
        settings = {"lr": self.lr, "weight_decay": self.weight_decay}
        held = list(named)
        if self.decay_biases:
            return self.optimizer([p for _, p in held], **settings)
        decayed = [p for name, p in held if "weight" in name and p.dim() - stacked > 1]
        others = [p for name, p in held if "weight" not in name or p.dim() - stacked <= 1]
        return self.optimizer([{"params": decayed}, {"params": others, "weight_decay": 0.0}], **settings)

    def loss(self, logits_NC: torch.Tensor, targets_NC: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch: cross-entropy, or the divergence from a teacher at the
        temperature.
        """
        if self.labels == "teacher_online" or self.temperature != 1:
            return soft_divergence(logits_NC, targets_NC, self.temperature)
        return soft_cross_entropy(logits_NC, targets_NC)

    def tests_after(self, epoch: int) -> bool:
        """Say whether the test set is looked at after this epoch index."""
        published = {int(self.epochs * f) - 1 for f in self.test_points if f < 1}
        return epoch in published or epoch == self.total_epochs - 1

    def forward_passes(self, images: int, tested: int, students: int) -> float:
        """Return images sent forward by trainings, a backward pass counted as two.

        Args:
            images: How many each student is trained on.
            tested: How many it is tested on, each time.
            students: How many students there are.
        """
        tests = sum(self.tests_after(epoch) for epoch in range(self.total_epochs))
        passes = 3 + (self.labels == "teacher_online")
        return students * (passes * self.total_epochs * images + tests * tested)
