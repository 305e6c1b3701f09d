"""Pools of images that students train on, and the batches drawn from them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from moe_distill.data import patches
from moe_distill.data.normalization import Normalisation
from moe_distill.data.real_set import RealSet
from moe_distill.training.fusion import Fusion, Mix
from moe_distill.training.mixing import mixup, soft_targets
from moe_distill.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingPool:
    """M images to train on, on any device, with their labels.

    Attributes:
        take: Returns standardised float images (B, C, H, W) for indices (B,).
        labels_M: Labels of all M images, on the CPU.
        experts_M: Number of the expert that each image comes from (zeros for real data), on the CPU.
        classes: Number of classes.
        targets_MC: Learned probabilities (M, classes) that replace the labels, or None.
        label: Returns a teacher's probabilities (B, classes) for standardised images (B, C, H, W), which
            replace all other targets; or None.
        pieces_M: Patches per side that each image is stitched from; None if all images are whole.
        normalisation: Normalisation of the images; required by recipes that augment pixels.
    """

    take: Callable[[torch.Tensor], torch.Tensor]
    labels_M: torch.Tensor
    experts_M: torch.Tensor
    classes: int
    targets_MC: torch.Tensor | None = None
    label: Callable[[torch.Tensor], torch.Tensor] | None = None
    normalisation: Normalisation | None = None
    pieces_M: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels_M)

    def of_experts(self, members: torch.Tensor) -> "TrainingPool":
        """Return the images of some experts, given their numbers, in the order of the pool."""
        rows_P = torch.isin(self.experts_M, members).nonzero().squeeze(1)
        if len(rows_P) == len(self):
            return self
        return dataclasses.replace(
            self,
            take=lambda index_B: self.take(rows_P[index_B]),
            labels_M=self.labels_M[rows_P],
            experts_M=self.experts_M[rows_P],
            targets_MC=None if self.targets_MC is None else self.targets_of(rows_P),
            pieces_M=None if self.pieces_M is None else self.pieces_M[rows_P],
        )

    def targets_of(self, index_B: torch.Tensor) -> torch.Tensor:
        """Return the soft targets (B, classes) at some indices, where learned ones lie or on the CPU."""
        if self.targets_MC is None:
            return soft_targets(self.labels_M[index_B], self.classes)
        return self.targets_MC[index_B.to(self.targets_MC.device)]


def real_pool(real: RealSet) -> TrainingPool:
    """Return a pool over real images."""
    # Standardised as they are taken: float images of the whole set would take four times the memory.
    return TrainingPool(
        take=lambda index_B: real.normalised(real.images_NCHW[index_B.to(real.device)]),
        labels_M=real.labels_N.cpu(),
        experts_M=torch.zeros(len(real), dtype=torch.int64),
        classes=len(real.classes),
        normalisation=real.normalisation,
    )


def tensor_pool(
    images_MCHW: torch.Tensor,
    labels_M: torch.Tensor,
    experts_M: torch.Tensor,
    classes: int,
    targets_MC: torch.Tensor | None = None,
    normalisation: Normalisation | None = None,
) -> TrainingPool:
    """Return a pool over standardised images that are already on the device.

    Args:
        images_MCHW: The images.
        labels_M: Their labels, on the CPU.
        experts_M: Number of the expert that each image comes from, on the CPU.
        classes: Number of classes.
        targets_MC: Learned probabilities (M, classes) that replace the labels, or None.
        normalisation: Normalisation of the images; required by recipes that augment pixels.

    Example:
        >>> labels_M = torch.tensor([0, 2, 1])
        >>> pool = tensor_pool(torch.zeros(3, 1, 8, 8), labels_M, torch.zeros(3), classes=3)
        >>> pool.targets_of(torch.tensor([1]))
        tensor([[0., 0., 1.]])
    """

    def take(index_B: torch.Tensor) -> torch.Tensor:
        return images_MCHW[index_B.to(images_MCHW.device)]

    return TrainingPool(take, labels_M, experts_M, classes, targets_MC, normalisation=normalisation)


def fused(pool: TrainingPool, fusion: Fusion) -> TrainingPool:
    """Return the pool after the mixing that a fusion does once before training; most fusions do none.

    A mixed image has the class of both its images and the expert number of the first.
    """
    pairs = fusion.pairs(pool.experts_M, pool.labels_M)
    if pairs is None:
        return pool

    def take(index_B: torch.Tensor) -> torch.Tensor:
        first, partner = pool.take(pairs.first_P[index_B]), pool.take(pairs.partner_P[index_B])
        return mixup(first, partner, pairs.lam_P[index_B])

    targets_PC = None
    if pool.targets_MC is not None:
        targets_PC = mixup(pool.targets_of(pairs.first_P), pool.targets_of(pairs.partner_P), pairs.lam_P)
    # Both images of a pair have the same class.
    labels_P, experts_P = pool.labels_M[pairs.first_P], pool.experts_M[pairs.first_P]
    return dataclasses.replace(
        pool, take=take, labels_M=labels_P, experts_M=experts_P, targets_MC=targets_PC, pieces_M=None
    )


def training_batch(
    pool: TrainingPool, first_B: torch.Tensor, recipe: Recipe, fusion: Fusion | None, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and soft targets of one training step.

    Images are augmented one by one, then mixed with their partners, then cut-mixed (MoE paper Eq. 4; IDC §4).
    A fusion may add mixed images to the batch instead of replacing it; these are mixed without augmentation.

    Args:
        pool: The pool that the batch is taken from.
        first_B: Indices of the batch's images in the pool.
        recipe: Augmentation and CutMix.
        fusion: How images of different experts are mixed, or None.
        rng: A CPU generator; all draws come from it.

    Returns:
        Images (B, C, H, W) and targets (B, classes); 2 B of each if mixed images are added.
    """
    x, targets = _augmented(pool, first_B, recipe, rng)
    mix = None if fusion is None else fusion.draw(rng, first_B, pool.experts_M, pool.labels_M)
    if mix is not None and not mix.beside:
        x, targets = _mixed((x, targets), _augmented(pool, mix.partner_B, recipe, rng), mix)
    if recipe.cutmix is not None:
        plan = recipe.cutmix.draw(rng, len(first_B), x.shape[-1])
        if plan is not None:
            x, targets = recipe.cutmix.apply(x, targets, plan)
    if mix is not None and mix.beside:
        added_x, added_targets = _mixed(_stored(pool, first_B), _stored(pool, mix.partner_B), mix)
        # Doubled, so that the mean over the 2 B images is the sum of the two halves' mean losses.
        x, targets = torch.cat([x, added_x]), 2 * torch.cat([targets, added_targets])
    if pool.label is not None:
        # Last, on the images that the student sees. The sum over classes keeps the weight of a row.
        targets = targets.sum(1, keepdim=True) * pool.label(x)
    return x, targets


def _mixed(
    first: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor], mix: Mix
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix images and targets with those of their partners."""
    # Weights are drawn on the CPU.
    lam_B = mix.lam_B.to(first[0].device)
    return mixup(first[0], other[0], lam_B), mixup(first[1], other[1], lam_B)


def _augmented(
    pool: TrainingPool, index_B: torch.Tensor, recipe: Recipe, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, augmented as the recipe says, and their targets."""
    x, targets = _stored(pool, index_B)
    if recipe.regions and pool.pieces_M is not None:
        x = _regions(x, pool.pieces_M[index_B], rng)
    if recipe.pixels is not None:
        # Pixels are augmented before they are standardised, so they are converted there and back.
        assert pool.normalisation is not None
        x = recipe.pixels(x, pool.normalisation, rng)
    if recipe.augment is not None:
        x = recipe.augment.apply(x, recipe.augment.draw(rng, len(index_B), x.shape[-1], shared=False))
    return x, targets


def _regions(x_BCHW: torch.Tensor, pieces_B: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Shuffle the patches of stitched images and enlarge a random region of each (RDED)."""
    # The images of a pool must not change.
    x_BCHW = x_BCHW.clone()
    for factor in pieces_B.unique().tolist():
        if factor <= 1:  # a whole image has no patches
            continue
        rows_Q = (pieces_B == factor).nonzero().squeeze(1)
        stitched = patches.shuffled(x_BCHW[rows_Q], patches.draw_orders(rng, len(rows_Q), factor))
        # A region has at least the area of one patch.
        regions = patches.draw_regions(rng, len(rows_Q), x_BCHW.shape[-1], 1 / factor)
        x_BCHW[rows_Q] = patches.enlarged(stitched, regions)
    return x_BCHW


def _stored(pool: TrainingPool, index_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and targets as they are in the pool, on the device of the images."""
    x = pool.take(index_B)
    return x, pool.targets_of(index_B).to(x.device)
