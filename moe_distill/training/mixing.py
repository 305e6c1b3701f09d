"""Mixing of images and of their soft targets: mixup, CutMix, and the fusion of experts.

All targets are soft, (N, classes): the cross-entropy with λy + (1 - λ)y' is the λ-weighted sum of the two
cross-entropies, so that one loss serves every way of mixing.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from moe_distill import seeding
from moe_distill.errors import InputError
from moe_distill.training.fusion import Fusion, Mix
from moe_distill.validation.values import NotNegative, Positive, Share, checked

Per = Literal["batch", "sample"]


def soft_targets(labels_N: Tensor, classes: int) -> Tensor:
    """Turn class numbers (N,) into one-hot float32 targets (N, classes)."""
    return torch.nn.functional.one_hot(labels_N, classes).float()


def mixup(a: Tensor, b: Tensor, lam_N: Tensor) -> Tensor:
    """Return lam * a + (1 - lam) * b for images or targets with N rows, lam of shape (N,) or (1,)."""
    lam = lam_N.to(a).reshape(-1, *[1] * (a.dim() - 1))
    return lam * a + (1 - lam) * b


def soft_cross_entropy(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """Return the mean over the batch of -Σ_c target_c log softmax(logits)_c, a scalar in nats."""
    return -(targets_NC * logits_NC.log_softmax(dim=-1)).sum(dim=-1).mean()


def soft_divergence(logits_NC: Tensor, targets_NC: Tensor, temperature: float) -> Tensor:
    """Return the mean over the batch of KL(targets ‖ softmax(logits / T)), in nats, not multiplied by T²
    (RDED).

    Args:
        logits_NC: Of the student.
        targets_NC: Probabilities at that temperature; a row that sums to w weighs w.
        temperature: T.
    """
    share_NC = targets_NC / targets_NC.sum(dim=-1, keepdim=True)
    negative_entropy = torch.special.xlogy(targets_NC, share_NC).sum(dim=-1).mean()
    return soft_cross_entropy(logits_NC / temperature, targets_NC) + negative_entropy


def tempered(probabilities_NC: Tensor, temperature: float) -> Tensor:
    """Return softmax(z / T), given softmax(z); a one-hot row stays as it is."""
    return (probabilities_NC.log() / temperature).softmax(dim=-1)


class CutMixPlan(NamedTuple):
    """The draws of one CutMix: each image's partner in the batch, the box's centre (row, column), and
    lambda.
    """

    partner_N: Tensor
    centre_2: Tensor
    lam: Tensor


@checked
@dataclass(frozen=True)
class CutMix:
    """Paste a box of another image of the batch into each one (Yun et al., ICCV 2019), with IDC's box.

    The box has the side int(size * sqrt(1 - lam)), reaches side // 2 to both sides of its centre and is
    clipped at the border; the targets are mixed by the area that is left.

    Args:
        prob: The share of batches that are mixed.
        beta: lam ~ Beta(beta, beta), one for the batch.
    """

    prob: Share = 0.5
    beta: Positive = 1.0

    def draw(self, rng: torch.Generator, n: int, size: int) -> CutMixPlan | None:
        """Draw for a batch of ``n`` images of ``size`` pixels a side; None leaves the batch as it is."""
        if float(torch.rand((), generator=rng)) >= self.prob:
            return None
        lam = seeding.beta(self.beta, 1, rng)
        return CutMixPlan(torch.randperm(n, generator=rng), torch.randint(size, (2,), generator=rng), lam)

    @staticmethod
    def apply(x_NCHW: Tensor, targets_NC: Tensor, plan: CutMixPlan | None) -> tuple[Tensor, Tensor]:
        """Return the mixed images and targets, of the shapes and types of the given ones."""
        if plan is None:
            return x_NCHW, targets_NC
        # float64, lest a rounded root lose the box a pixel
        cut = (1 - plan.lam.double()).sqrt()
        inside_H, inside_W = (
            _inside(size, centre, (size * cut).long())
            for size, centre in zip(x_NCHW.shape[-2:], plan.centre_2, strict=True)
        )
        box_HW = inside_H[:, None] & inside_W
        partner_N = plan.partner_N.to(x_NCHW.device)
        mixed = torch.where(box_HW.to(x_NCHW.device), x_NCHW[partner_N], x_NCHW)
        return mixed, mixup(targets_NC, targets_NC[partner_N], 1 - box_HW.double().mean()[None])


def _inside(size: int, centre: Tensor, side: Tensor) -> Tensor:
    """Mark the lines [centre - side // 2, centre + side // 2) of an image, (size,)."""
    line = torch.arange(size)
    return (line >= centre - side // 2) & (line < centre + side // 2)


@dataclass(frozen=True)
class NoFusion(Fusion):
    """Train on the union as it is."""

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Mix nothing."""
        return None

    def describe_for(self, experts: int) -> str:
        """Name it for a result."""
        return "none"


@checked
@dataclass(frozen=True)
class Vanilla(Fusion):
    """Mix the batch with a random permutation of itself, whatever the experts (Zhang et al., ICLR 2018).

    Args:
        alpha: lam ~ Beta(alpha, alpha); 0 mixes nothing.
        per: Whether lam is drawn once for the "batch" or for each "sample".
    """

    alpha: NotNegative = 1.0
    per: Per = "batch"

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw a permutation of the batch; an image may meet itself."""
        if self.alpha <= 0:
            return None
        lam_B = _draw_lam(self.alpha, self.per, len(first_B), rng)
        return Mix(first_B[torch.randperm(len(first_B), generator=rng)], lam_B)

    def describe_for(self, experts: int) -> str:
        """Name it for a result."""
        return _titled("vanilla", self.alpha, "sample" * (self.per == "sample")) if self.alpha > 0 else "none"


@checked
@dataclass(frozen=True)
class CrossExpert(Fusion):
    """Mix each image with one of another expert, x̃ = λx_p + (1 - λ)x_q with x_p ∈ S_i, x_q ∈ S_j, i ≠ j
    (equation 4).

    Args:
        alpha: lam ~ Beta(alpha, alpha); 0 mixes nothing.
        per: Whether lam is drawn once for the "batch" or for each "sample".
        pairing: Partners of "any" class, or of the "same_class" only.
        alone: What to do when the union has one expert: "none" or "vanilla".
    """

    alpha: NotNegative = 1.0
    per: Per = "batch"
    pairing: Literal["any", "same_class"] = "any"
    alone: Literal["none", "vanilla"] = "none"

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw another expert uniformly, then uniformly one of its images.

        Raises:
            InputError: When images of the same class are asked for and no other expert has one.
        """
        acting = self._acting(len(expert_M.unique()))
        if acting == "none":
            return None
        if acting == "vanilla":
            return Vanilla(self.alpha, self.per).draw(rng, first_B, expert_M, label_M)
        lam_B = _draw_lam(self.alpha, self.per, len(first_B), rng)
        kind_M = label_M if self.pairing == "same_class" else torch.zeros_like(label_M)
        return Mix(_draw_partners(rng, first_B, expert_M, kind_M), lam_B)

    def describe_for(self, experts: int) -> str:
        """Name what it does to the union of so many experts."""
        acting = self._acting(experts)
        if acting != "cross_expert":
            return acting if acting == "none" else Vanilla(self.alpha, self.per).describe_for(experts)
        return _titled(
            acting, self.alpha, "sample" * (self.per == "sample"), "same_class" * (self.pairing != "any")
        )

    def _acting(self, experts: int) -> str:
        return "none" if self.alpha <= 0 else "cross_expert" if experts > 1 else self.alone


def _draw_partners(rng: torch.Generator, first_B: Tensor, expert_M: Tensor, kind_M: Tensor) -> Tensor:
    """Draw for each image an expert among the others that hold its kind, then one of that expert's images of
    it.
    """
    kinds = int(kind_M.max()) + 1
    cell_M = expert_M * kinds + kind_M
    count_KC = cell_M.bincount(minlength=(int(expert_M.max()) + 1) * kinds).reshape(-1, kinds)
    kind_B = kind_M[first_B]
    eligible_BK = (count_KC > 0).T[kind_B].scatter(1, expert_M[first_B, None], False)
    if not eligible_BK.any(dim=1).all():
        raise InputError("fusion.pairing", "same_class", "any, where a class belongs to a single expert")
    chosen_B = torch.multinomial(eligible_BK.float(), 1, generator=rng).squeeze(1)
    count_B = count_KC[chosen_B, kind_B]
    rank_B = (torch.rand(len(first_B), dtype=torch.float64, generator=rng) * count_B).long()
    start_KC = (count_KC.flatten().cumsum(0) - count_KC.flatten()).view_as(count_KC)
    return cell_M.argsort(stable=True)[start_KC[chosen_B, kind_B] + rank_B]


def _titled(name: str, alpha: float, *departures: str) -> str:
    """Return a name and the settings in which a fusion departs from the original rule."""
    return "-".join(word for word in (name, f"alpha{alpha:g}" * (alpha != 1), *departures) if word)


def _draw_lam(alpha: float, per: str, n: int, rng: torch.Generator) -> Tensor:
    return seeding.beta(alpha, 1 if per == "batch" else n, rng).expand(n)
