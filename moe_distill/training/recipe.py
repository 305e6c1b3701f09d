"""Training recipes: all settings of a supervised training in one frozen dataclass."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """Return the number of images in an epoch's last batch, which is kept even if it is small.

    Example:
        >>> last_batch(images=600, batch_size=256)
        88
    """
    # No remainder means a full last batch, or a single smaller one.
    return images % batch_size or min(images, batch_size)


def check_optimizer(optimizer: OptimizerFactory, takes_step: bool = False, **settings: float) -> None:
    """Reject an optimiser that cannot be built, by building it once.

    Args:
        optimizer: Builds it.
        takes_step: Whether it must also take a step by gradients alone, without computing them anew.
        settings: What it is built with.

    Raises:
        FieldError: It cannot; the field is the setting that the library's error names, if any.
    """
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    try:
        built = optimizer([parameter], **settings)
        if takes_step:
            built.step()
    except FieldError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        arguments = {**settings, **getattr(optimizer, "keywords", {})}
        # The libraries raise plain errors; a setting is at fault if its name is in the message.
        field = next((name for name in arguments if name in str(error)), "")
        value = arguments.get(field, getattr(optimizer, "func", optimizer).__name__)
        raise FieldError(field, value, f"what the optimiser takes: {error}") from error


@checked
@dataclass(frozen=True)
class Recipe:
    """Settings of a supervised training; the learning rate falls in steps, along a cosine, or both.

    Args:
        name: Usual name of the recipe; recorded with every result.
        epochs: The published number of epochs, E.
        extra_epochs: Epochs run beyond E (1 for the DC family, whose loop is inclusive).
        lr: Initial learning rate.
        weight_decay: Weight decay, as the optimiser defines it.
        optimizer: Builds the optimiser from parameters, ``lr`` and ``weight_decay``.
        batch_size: Images per step; the last, smaller batch of an epoch is kept.
        drops: Fractions of E at which the rate drops; the lower rate is used from epoch
            ``int(E * drop) + drop_offset`` on.
        drop_offset: See ``drops``; 2 for the DC family (drop after epoch index E//2 + 1).
        drop_factor: Factor of the rate at each drop.
        cosine: Share of a cosine's half wave that the rate follows over E: it is multiplied by
            ½(1 + cos(π · cosine · epoch / E)). 0 keeps the rate, 1 ends at zero, 0.5 at one half (RDED).
        fresh_optimizer: Reset the momentum at a drop, as the DC family does by building a new optimiser.
        augment: Per-image augmentation of every batch, or None.
        cutmix: CutMix after the augmentation, or None.
        pixels: Augmentation of the pixels of a batch before all others, or None.
        lr_factors: Factors of ``lr`` by name of the student, for students with their own rate.
        decay_biases: Whether weight decay applies to all parameters, or only to weights with two or more
            dimensions (not to biases, scales of norms and position embeddings).
        labels: Targets of the students. "set": the set's soft labels if it has any, otherwise its classes;
            "hard": its classes; "teacher_online": a teacher's output for each augmented and mixed batch.
        temperature: T of KL(softmax(z_teacher / T) ‖ softmax(z_student / T)), not multiplied by T²; ignored
            for hard labels.
        regions: Whether images stitched from f × f patches are trained on with shuffled patches, and with a
            random region of at least 1 / f of the area of each enlarged (RDED).
        learned_rate: Whether a step size learned with the set replaces ``lr`` and its factors.
        test_points: Fractions of E at which the published recipe tests; the last epoch is always tested.
        stages: ``cumulative``: a student trains on the images of the first expert, then on those of the first
            two, and so on, with its weights carried over; None: on all images at once. See :meth:`in_stages`.

    Example:
        >>> recipe = Recipe("example", epochs=100, lr=0.1, drops=(0.5,))
        >>> recipe.lr_at(49), round(recipe.lr_at(50), 3)
        (0.1, 0.01)
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
    # Not hashed, because a mapping has no hash.
    lr_factors: Mapping[str, Positive] = field(default_factory=dict, hash=False)
    decay_biases: bool = True
    labels: Literal["set", "hard", "teacher_online"] = "set"
    temperature: Positive = 1.0
    pixels: PixelAugmentation | None = None
    learned_rate: bool = False
    regions: bool = False
    stages: Literal["cumulative"] | None = None

    def __post_init__(self) -> None:
        """Store sequences as tuples, and ignore the temperature of hard labels."""
        object.__setattr__(self, "drops", tuple(self.drops))
        object.__setattr__(self, "test_points", tuple(self.test_points))
        if self.labels == "hard":
            # Without effect, so the same for all: equal trainings must have equal keys.
            object.__setattr__(self, "temperature", 1.0)

    def check(self) -> None:
        """Reject an optimiser or a pixel augmentation that cannot be built, before any computation.

        Raises:
            FieldError: One of them cannot be built.
        """
        with within("optimizer"):
            check_optimizer(self.optimizer, lr=self.lr, weight_decay=self.weight_decay)
        if self.pixels is not None:
            with within("pixels"):
                self.pixels.check()

    @property
    def total_epochs(self) -> int:
        """Epochs that are run: E and the extra ones."""
        return self.epochs + self.extra_epochs

    @property
    def drop_epochs(self) -> tuple[int, ...]:
        """Epoch indices from which on the learning rate is lower."""
        return tuple(int(self.epochs * f) + self.drop_offset for f in self.drops)

    @property
    def title(self) -> str:
        """The name of the recipe, and its stages if it has any, as recorded with results."""
        return self.name if self.stages is None else f"{self.name}-{self.stages}"

    def in_stages(self, members: int) -> "tuple[Recipe, ...]":
        """Return the recipe of each stage of a training on a set, in order; the recipe itself without stages.

        Each stage is a training by the whole recipe with its share of the epochs, E / ``members`` up to
        rounding: the learning rate starts and falls anew, with a new optimiser. Only the last is tested.
        Published students train for all epochs in each stage: multiply the epochs by ``members``.

        Args:
            members: Number of experts of the set.

        Source: the evaluation of SeqMatch (Du et al., NeurIPS 2023) and PDD (Chen et al., ICLR 2024); the
            latter's of trajectory matching keeps the optimiser's state and takes the step size learned with
            each stage.

        Raises:
            FieldError: There are fewer epochs than stages.

        Example:
            >>> [stage.epochs for stage in Recipe("example", epochs=7, stages="cumulative").in_stages(3)]
            [2, 2, 3]
        """
        if self.stages is None or members == 1:
            return (self,)
        if self.epochs < members:
            allowed = f"at least {members}, one for each stage (recipe.stages=cumulative)"
            raise FieldError("epochs", self.epochs, allowed)
        ends = [self.epochs * stage // members for stage in range(members + 1)]
        shares = [after - before for before, after in itertools.pairwise(ends)]
        return tuple(replace(self, epochs=share, stages=None) for share in shares)

    def first_lr(self, student: str, learned: float | None) -> float:
        """Return the initial learning rate of a student.

        Args:
            student: The student's name, for ``lr_factors``.
            learned: The step size learned with the set, or None.
        """
        if self.learned_rate and learned is not None:
            return learned
        return self.lr * self.lr_factors.get(student, 1.0)

    def lr_at(self, epoch: int, first: float | None = None) -> float:
        """Return the learning rate at an epoch index, with ``first`` in place of ``lr`` unless it is None."""
        drops_so_far = sum(epoch >= drop for drop in self.drop_epochs)
        stepped = (self.lr if first is None else first) * self.drop_factor**drops_so_far
        return stepped * (1 + math.cos(math.pi * self.cosine * epoch / self.epochs)) / 2

    def optimizer_of(
        self, named_parameters: Iterable[tuple[str, torch.Tensor]], stacked: int = 0
    ) -> torch.optim.Optimizer:
        """Return the optimiser of a network's parameters.

        Args:
            named_parameters: Parameters with their names.
            stacked: Number of leading dimensions that stack students.
        """
        settings = {"lr": self.lr, "weight_decay": self.weight_decay}
        parameters = list(named_parameters)
        if self.decay_biases:
            return self.optimizer([p for _, p in parameters], **settings)
        decayed = [p for name, p in parameters if "weight" in name and p.dim() - stacked > 1]
        others = [p for name, p in parameters if "weight" not in name or p.dim() - stacked <= 1]
        return self.optimizer([{"params": decayed}, {"params": others, "weight_decay": 0.0}], **settings)

    def loss(self, logits_NC: torch.Tensor, targets_NC: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch: cross-entropy, or the divergence from a teacher (a scalar)."""
        if self.labels == "teacher_online" or self.temperature != 1:
            return soft_divergence(logits_NC, targets_NC, self.temperature)
        return soft_cross_entropy(logits_NC, targets_NC)

    def tests_after(self, epoch: int) -> bool:
        """Return True if networks are tested after this epoch index."""
        # 1 means the last epoch, which is tested anyway, after any extra epochs.
        published = {int(self.epochs * f) - 1 for f in self.test_points if f < 1}
        return epoch in published or epoch == self.total_epochs - 1

    def forward_passes(self, images: Sequence[int], tested: int, students: int) -> float:
        """Return the images sent forward by trainings, counting a backward pass as two.

        Args:
            images: Training images from each expert of the set.
            tested: Test images per test.
            students: Number of students.
        """
        stages = self.in_stages(len(images))
        trained = sum(
            stage.total_epochs * seen for stage, seen in zip(stages, self.seen(images), strict=True)
        )
        tests = sum(stages[-1].tests_after(epoch) for epoch in range(stages[-1].total_epochs))
        passes = 4 if self.labels == "teacher_online" else 3  # the teacher sees every batch too
        return students * (passes * trained + tests * tested)

    def seen(self, images: Sequence[int]) -> list[int]:
        """Return the number of images of each stage, given those from each expert of the set."""
        sums = [*itertools.accumulate(images)]
        return sums[-len(self.in_stages(len(images))) :]
