"""What a way of mixing the experts' images promises, and variants: beside the batch, now and then, once for
good.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from moe_distill import seeding
from moe_distill.errors import FieldError
from moe_distill.validation.values import Positive, Share, checked

_EVERY_BATCH = "a fusion that mixes every batch, or students would see batches of different sizes"


class Mix(NamedTuple):
    """Whom each image of a batch is mixed with: indices into the union's images, and the first images'
    weights.

    The mixed images take the place of the batch's, or stand beside them.
    """

    partner_B: Tensor
    lam_B: Tensor
    beside: bool = False


class Pairs(NamedTuple):
    """Which images of the union are mixed for good, as indices into it, and the first images' weights."""

    first_P: Tensor
    partner_P: Tensor
    lam_P: Tensor


class Fusion(Protocol):
    """A way of mixing the union of the experts' images when a student is trained on them."""

    def pairs(self, expert_M: Tensor, label_M: Tensor) -> Pairs | None:
        """Draw what replaces the images before any training; None, as for most, leaves them as they are."""
        return None

    def left_of(self, images: int, classes: int) -> int:
        """Return how many images are trained on, of so many in classes of equal size."""
        return images

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw the partners of one batch; None leaves the batch unmixed.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union's M decoded images.
            expert_M: The expert of each image of the union, int64 on the CPU.
            label_M: The class of each image of the union, int64 on the CPU.
        """
        ...

    def describe_for(self, experts: int) -> str:
        """Name what this does to the union of so many experts, as recorded with a result."""
        ...


@checked
@dataclass(frozen=True)
class Additive(Fusion):
    """Train on the batch and on a mixed copy of it: CE(augmented originals) + CE(mixed originals, not
    augmented).

    The first image weighs more, λ ← max(λ, 1 - λ). IDM's evaluator has this form.

    Args:
        of: Draws whom the images are mixed with.

    Raises:
        FieldError: When it does not mix batches.
    """

    of: Fusion

    def __post_init__(self) -> None:
        _require_of_batches(self.of)
        if isinstance(self.of, Sometimes):
            raise FieldError("of", "sometimes", _EVERY_BATCH)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw as the fusion it is made of."""
        mix = self.of.draw(rng, first_B, expert_M, label_M)
        return mix and Mix(mix.partner_B, torch.maximum(mix.lam_B, 1 - mix.lam_B), beside=True)

    def describe_for(self, experts: int) -> str:
        """Name it for a result."""
        return _named("additive", self.of, experts)


@checked
@dataclass(frozen=True)
class Sometimes(Fusion):
    """Mix a share of the batches and leave the others as they are.

    Args:
        of: Mixes the share.
        prob: The probability that a batch is mixed.

    Raises:
        FieldError: When ``of`` does not mix batches.
    """

    of: Fusion
    prob: Share

    def __post_init__(self) -> None:
        _require_of_batches(self.of)
        if isinstance(self.of, Additive):
            raise FieldError("of", "additive", _EVERY_BATCH)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw whether the batch is mixed, then as the fusion it is made of."""
        if float(torch.rand((), generator=rng)) >= self.prob:
            return None
        return self.of.draw(rng, first_B, expert_M, label_M)

    def describe_for(self, experts: int) -> str:
        """Name it for a result."""
        return _named(f"{self.prob:g}of", self.of, experts) if self.prob else "none"


@checked
@dataclass(frozen=True)
class Offline(Fusion):
    """Mix the images two to one, within their class, once and before any training; half as many are trained
    on.

    The control of how much mixing owes to its being drawn anew for every batch. Partners are chosen at
    random: of different experts as long as there are any, else within the one expert. An odd image of a class
    stays as it is.

    Args:
        alpha: lam ~ Beta(alpha, alpha) of each pair.
        seed: All students train on the same pairs; another seed draws others.
    """

    alpha: Positive = 1.0
    seed: int = 0

    def pairs(self, expert_M: Tensor, label_M: Tensor) -> Pairs:
        """Draw the pairs, class by class."""
        rng = seeding.stream(self.seed, "offline fusion")
        halves = [_halves(label_M.eq(c).nonzero().squeeze(1), expert_M, rng) for c in label_M.unique()]
        first_P, partner_P = (torch.cat(part) for part in zip(*halves, strict=True))
        return Pairs(first_P, partner_P, seeding.beta(self.alpha, len(first_P), rng))

    def left_of(self, images: int, classes: int) -> int:
        """Return the number of pairs, an odd image with itself."""
        return classes * -(-(images // classes) // 2)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> None:
        """Mix nothing more."""
        return

    def describe_for(self, experts: int) -> str:
        """Name it for a result."""
        return (
            "offline"
            + ("" if self.alpha == 1 else f"-alpha{self.alpha:g}")
            + (f"-seed{self.seed}" * (self.seed > 0))
        )


def _halves(member_N: Tensor, expert_M: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the first images and the partners of one class, ⌈N/2⌉ each; an odd image is its own partner.

    With the experts one after the other, an image and the one half the line further are of different experts
    unless one expert holds more than half of them.
    """
    shuffled_N = member_N[torch.randperm(len(member_N), generator=rng)]
    rank_K = torch.randperm(int(expert_M.max()) + 1, generator=rng)
    line_N = shuffled_N[rank_K[expert_M[shuffled_N]].argsort(stable=True)]
    half = (len(line_N) + 1) // 2
    first, partner = line_N[:half], line_N[half:]
    return first, torch.cat([partner, first[len(partner) :]])


def _require_of_batches(of: Fusion) -> None:
    if isinstance(of, Offline):
        raise FieldError(
            "of", "offline", "a fusion that mixes batches; offline has mixed before there are any"
        )


def _named(word: str, of: Fusion, experts: int) -> str:
    inner = of.describe_for(experts)
    return inner if inner == "none" else f"{word}-{inner}"
