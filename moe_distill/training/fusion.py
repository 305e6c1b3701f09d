"""The protocol of mixing experts' images (fusion), and fusions that change when another one mixes."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from moe_distill import seeding
from moe_distill.errors import FieldError
from moe_distill.validation.values import Positive, Share, checked

_EVERY_BATCH = "a fusion that mixes every batch, or students would see batches of different sizes"


class Mix(NamedTuple):
    """The mixing of one batch.

    Attributes:
        partner_B: The image that each image is mixed with, as indices into the union.
        lam_B: Weights of the batch's own images, (B,) or (1,).
        beside: Whether mixed images are added to the batch instead of replacing its images.
    """

    partner_B: Tensor
    lam_B: Tensor
    beside: bool = False


class Pairs(NamedTuple):
    """The mixing of the whole union before training.

    Attributes:
        first_P: The first image of each pair, as indices into the union.
        partner_P: The second image of each pair.
        lam_P: Weights of the first images.
    """

    first_P: Tensor
    partner_P: Tensor
    lam_P: Tensor


class Fusion(Protocol):
    """A way of mixing the union of all experts' images when students are trained on it."""

    def pairs(self, expert_M: Tensor, label_M: Tensor) -> Pairs | None:
        """Draw the pairs that replace the images before training; None, as for most fusions, keeps them."""
        return None

    def left_of(self, images: int, classes: int) -> int:
        """Return the number of images trained on, given the union's, in classes of equal size."""
        return images

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw the mixing of one batch; None leaves the batch unmixed.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union's M decoded images.
            expert_M: The expert of each image of the union, int64 on the CPU.
            label_M: The class of each image of the union, int64 on the CPU.
        """
        ...

    def describe_for(self, experts: int) -> str:
        """Return the name, as recorded with results, of what this does to the union of so many experts."""
        ...


@checked
@dataclass(frozen=True)
class Additive(Fusion):
    """Train on the batch and on a mixed copy of it: CE(augmented images) + CE(mixed images).

    The mixed images are not augmented, and their first image weighs more, λ ← max(λ, 1 - λ), as in IDM's
    evaluation code.

    Args:
        of: The fusion that draws partners and weights.

    Raises:
        FieldError: ``of`` does not mix every batch.
    """

    of: Fusion

    def __post_init__(self) -> None:
        _require_of_batches(self.of)
        if isinstance(self.of, Sometimes):
            raise FieldError("of", "sometimes", _EVERY_BATCH)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw as the inner fusion does, to be added to the batch.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.
        """
        mix = self.of.draw(rng, first_B, expert_M, label_M)
        if mix is None:
            return None
        return Mix(mix.partner_B, torch.maximum(mix.lam_B, 1 - mix.lam_B), beside=True)

    def describe_for(self, experts: int) -> str:
        """Return the name recorded with results."""
        return _named("additive", self.of, experts)


@checked
@dataclass(frozen=True)
class Sometimes(Fusion):
    """Mix a random share of the batches and leave the others unchanged.

    Args:
        of: The fusion that mixes them.
        prob: Probability that a batch is mixed.

    Raises:
        FieldError: ``of`` does not mix batches, or adds mixed images to them.
    """

    of: Fusion
    prob: Share

    def __post_init__(self) -> None:
        _require_of_batches(self.of)
        if isinstance(self.of, Additive):
            raise FieldError("of", "additive", _EVERY_BATCH)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw whether the batch is mixed; if so, draw as the inner fusion does.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.
        """
        if float(torch.rand((), generator=rng)) >= self.prob:
            return None
        return self.of.draw(rng, first_B, expert_M, label_M)

    def describe_for(self, experts: int) -> str:
        """Return the name recorded with results."""
        return _named(f"{self.prob:g}of", self.of, experts) if self.prob else "none"


@checked
@dataclass(frozen=True)
class Offline(Fusion):
    """Mix pairs of images of one class once, before training, and train on half as many images.

    This is the control for how much mixing gains from new draws in every batch. Partners are random and come
    from different experts as far as possible. If a class has an odd number of images, one stays unmixed.

    Args:
        alpha: lam ~ Beta(alpha, alpha), drawn for each pair.
        seed: Seed of the pairs, which are the same for all students.
    """

    alpha: Positive = 1.0
    seed: int = 0

    def pairs(self, expert_M: Tensor, label_M: Tensor) -> Pairs:
        """Draw the pairs, class by class."""
        # A stream of its own seed, so that all students get the same pairs.
        rng = seeding.stream(self.seed, "offline fusion")
        halves = [_halves(label_M.eq(c).nonzero().squeeze(1), expert_M, rng) for c in label_M.unique()]
        first_P = torch.cat([first for first, _ in halves])
        partner_P = torch.cat([partner for _, partner in halves])
        return Pairs(first_P, partner_P, seeding.beta(self.alpha, len(first_P), rng))

    def left_of(self, images: int, classes: int) -> int:
        """Return the number of pairs; an odd image counts as a pair with itself."""
        return classes * -(-(images // classes) // 2)

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> None:
        """Mix nothing more: the images are mixed already.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.
        """
        return

    def describe_for(self, experts: int) -> str:
        """Return the name recorded with results."""
        alpha = "" if self.alpha == 1 else f"-alpha{self.alpha:g}"
        seed = f"-seed{self.seed}" if self.seed > 0 else ""
        return f"offline{alpha}{seed}"


def _halves(member_N: Tensor, expert_M: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return first images and partners of one class, ⌈N/2⌉ each; an odd image is its own partner."""
    # With images sorted by expert, an image and the one half the line further on belong to different experts,
    # unless one expert has more than half of the images. Experts and their images are in random order.
    shuffled_N = member_N[torch.randperm(len(member_N), generator=rng)]
    rank_K = torch.randperm(int(expert_M.max()) + 1, generator=rng)
    # Stable, so that the images of an expert keep their random order.
    line_N = shuffled_N[rank_K[expert_M[shuffled_N]].argsort(stable=True)]
    # Rounded up: the odd image is in the first half, and has no partner in the second.
    half = (len(line_N) + 1) // 2
    first, partner = line_N[:half], line_N[half:]
    return first, torch.cat([partner, first[len(partner) :]])


def _require_of_batches(inner: Fusion) -> None:
    """Reject an inner fusion that does not mix batches."""
    if isinstance(inner, Offline):
        allowed = "a fusion that mixes batches; offline mixes once, before training"
        raise FieldError("of", "offline", allowed)


def _named(word: str, inner: Fusion, experts: int) -> str:
    """Return the name of a fusion around another one; it is ``none`` if that does nothing."""
    name = inner.describe_for(experts)
    return name if name == "none" else f"{word}-{name}"
