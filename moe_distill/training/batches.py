"""What students train on: pools of images, and the batches made of them."""

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
    """Images to train on, wherever they are kept.

    Attributes:
        take: Returns standardised float images (B, C, H, W) for indices (B,).
        labels_M: Labels of all M images, on the CPU.
        experts_M: The expert each image came from (zeros for real data), on the CPU.
        classes: Number of classes.
        targets_MC: Learned probabilities (M, classes) in place of the labels, or None.
        label: Returns a teacher's probabilities (B, classes) of standardised images (B, C, H, W), in place of
            any targets; or None.
        pieces_M: Patches a side of which each image is stitched; None where all are whole.
        normalisation: How the images are standardised; needed by recipes that augment pixels.
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

    def targets_of(self, index_B: torch.Tensor) -> torch.Tensor:
        """Return the soft targets (B, classes) of some images, on the CPU or where learned ones lie."""
        if self.targets_MC is None:
            return soft_targets(self.labels_M[index_B], self.classes)
        return self.targets_MC[index_B.to(self.targets_MC.device)]


def real_pool(real: RealSet) -> TrainingPool:
    """Return a pool over real images, standardised as they are taken."""
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
    """Return a pool over standardised images that lie on the device."""

    def take(index_B: torch.Tensor) -> torch.Tensor:
        return images_MCHW[index_B.to(images_MCHW.device)]

    return TrainingPool(take, labels_M, experts_M, classes, targets_MC, normalisation=normalisation)


def fused(pool: TrainingPool, fusion: Fusion) -> TrainingPool:
    """Return the pool as a fusion leaves it before any training: itself, or its pairs mixed for good.

    A mixed image keeps the number of its first image's expert, and the class of both.
    """
    pairs = fusion.pairs(pool.experts_M, pool.labels_M)
    if pairs is None:
        return pool

    def take(index_B: torch.Tensor) -> torch.Tensor:
        return mixup(
            pool.take(pairs.first_P[index_B]), pool.take(pairs.partner_P[index_B]), pairs.lam_P[index_B]
        )

    targets_PC = None
    if pool.targets_MC is not None:
        targets_PC = mixup(pool.targets_of(pairs.first_P), pool.targets_of(pairs.partner_P), pairs.lam_P)
    labels_P, experts_P = pool.labels_M[pairs.first_P], pool.experts_M[pairs.first_P]
    return dataclasses.replace(
        pool, take=take, labels_M=labels_P, experts_M=experts_P, targets_MC=targets_PC, pieces_M=None
    )


def training_batch(
    pool: TrainingPool, first_B: torch.Tensor, recipe: Recipe, fusion: Fusion | None, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (B, C, H, W) and soft targets (B, classes) of one step; twice as many where mixed ones
    are added.

    Each constituent of a mixed image is augmented by itself, then mixed, then cut-mixed (MoE paper Eq. 4; IDC
    §4). Images that are added to the batch are mixed as they are stored. All targets then weigh double: the
    mean over the batch is the sum of the two halves' mean losses. A teacher that labels sees the images last,
    as the student does.
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
        more_x, more_targets = _mixed(_stored(pool, first_B), _stored(pool, mix.partner_B), mix)
        x, targets = torch.cat([x, more_x]), 2 * torch.cat([targets, more_targets])
    if pool.label is not None:
        targets = targets.sum(1, keepdim=True) * pool.label(x)
    return x, targets


def _mixed(
    first: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor], mix: Mix
) -> tuple[torch.Tensor, torch.Tensor]:
    lam_B = mix.lam_B.to(first[0].device)
    return mixup(first[0], other[0], lam_B), mixup(first[1], other[1], lam_B)


def _augmented(
    pool: TrainingPool, index_B: torch.Tensor, recipe: Recipe, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    x, targets = _stored(pool, index_B)
    if recipe.regions and pool.pieces_M is not None:
        x = _regions(x, pool.pieces_M[index_B], rng)
    if recipe.pixels is not None:
        assert pool.normalisation is not None
        x = recipe.pixels(x, pool.normalisation, rng)
    if recipe.augment is not None:
        x = recipe.augment.apply(x, recipe.augment.draw(rng, len(index_B), x.shape[-1], shared=False))
    return x, targets


def _regions(x_BCHW: torch.Tensor, pieces_B: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    x_BCHW = x_BCHW.clone()
    for factor in (f for f in pieces_B.unique().tolist() if f > 1):
        rows_Q = (pieces_B == factor).nonzero().squeeze(1)
        stitched = patches.shuffled(x_BCHW[rows_Q], patches.draw_orders(rng, len(rows_Q), factor))
        regions = patches.draw_regions(rng, len(rows_Q), x_BCHW.shape[-1], 1 / factor)
        x_BCHW[rows_Q] = patches.enlarged(stitched, regions)
    return x_BCHW


def _stored(pool: TrainingPool, index_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = pool.take(index_B)
    return x, pool.targets_of(index_B).to(x.device)
