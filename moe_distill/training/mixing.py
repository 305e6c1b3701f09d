"""Mixing of images and of their soft targets: mixup, CutMix, and the fusion of experts.

All targets are soft, (N, classes): the cross-entropy with λy + (1 - λ)y' is the λ-weighted sum of the two
cross-entropies, so one loss works for every way of mixing.
"""

from collections.abc import Sequence
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
    """Return one-hot float32 targets (N, classes) of class numbers (N,).

    Example:
        >>> soft_targets(torch.tensor([1, 0]), classes=2)
        tensor([[0., 1.],
                [1., 0.]])
    """
    return torch.nn.functional.one_hot(labels_N, classes).float()


def mixup(a: Tensor, b: Tensor, lam_N: Tensor) -> Tensor:
    """Return lam * a + (1 - lam) * b for images or targets with N rows, lam of shape (N,) or (1,).

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Example:
        >>> mixup(torch.ones(2, 1), torch.zeros(2, 1), torch.tensor([0.25, 0.5]))
        tensor([[0.2500],
                [0.5000]])
    """
    # Shaped to broadcast over all dimensions but the first.
    lam = lam_N.to(a).reshape(-1, *[1] * (a.dim() - 1))
    return lam * a + (1 - lam) * b


def soft_cross_entropy(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """Return the mean over the batch of -Σ_c target_c log softmax(logits)_c, a scalar in nats."""
    return -(targets_NC * logits_NC.log_softmax(dim=-1)).sum(dim=-1).mean()


def soft_divergence(logits_NC: Tensor, targets_NC: Tensor, temperature: float) -> Tensor:
    """Return the mean over the batch of KL(targets ‖ softmax(logits / T)), a scalar in nats.

    Unlike the usual distillation loss it is not multiplied by T², as in RDED.

    Args:
        logits_NC: Logits of the student.
        targets_NC: Probabilities at the same temperature; a row that sums to w has weight w.
        temperature: T.
    """
    share_NC = targets_NC / targets_NC.sum(dim=-1, keepdim=True)
    # xlogy is 0 at 0, where the product would be NaN.
    negative_entropy = torch.special.xlogy(targets_NC, share_NC).sum(dim=-1).mean()
    return soft_cross_entropy(logits_NC / temperature, targets_NC) + negative_entropy


def tempered(probabilities_NC: Tensor, temperature: float) -> Tensor:
    """Return softmax(z / T) given softmax(z); a one-hot row does not change.

    Example:
        >>> tempered(torch.tensor([[0.8, 0.2]]), temperature=2.0)
        tensor([[0.6667, 0.3333]])
    """
    return (probabilities_NC.log() / temperature).softmax(dim=-1)


class CutMixPlan(NamedTuple):
    """The draws of one CutMix: each image's partner in the batch, the box's centre (row, column), and λ."""

    partner_N: Tensor
    centre_2: Tensor
    lam: Tensor


@checked
@dataclass(frozen=True)
class CutMix:
    """Paste a box of another image of the batch into each image (Yun et al., ICCV 2019).

    The box is that of IDC's code: its side is int(size * sqrt(1 - lam)), and it extends side // 2 to both
    sides of its centre, clipped at the border. Targets are mixed by the area of the clipped box.

    Args:
        prob: Share of the batches that are mixed.
        beta: lam ~ Beta(beta, beta), drawn once per batch.
    """

    prob: Share = 0.5
    beta: Positive = 1.0

    def draw(self, rng: torch.Generator, n: int, size: int) -> CutMixPlan | None:
        """Draw for a batch of ``n`` images of ``size`` pixels per side; None leaves the batch unmixed."""
        if float(torch.rand((), generator=rng)) >= self.prob:
            return None
        lam = seeding.beta(self.beta, 1, rng)
        return CutMixPlan(torch.randperm(n, generator=rng), torch.randint(size, (2,), generator=rng), lam)

    @staticmethod
    def apply(x_NCHW: Tensor, targets_NC: Tensor, plan: CutMixPlan | None) -> tuple[Tensor, Tensor]:
        """Return the mixed images and targets, with the shapes and dtypes of the originals."""
        if plan is None:
            return x_NCHW, targets_NC
        # In float64: a rounded root in float32 can cost the box a pixel.
        cut = (1 - plan.lam.double()).sqrt()
        inside_H, inside_W = (
            _inside(size, centre, (size * cut).long())
            for size, centre in zip(x_NCHW.shape[-2:], plan.centre_2, strict=True)
        )
        # Clipped at the border, so the area may be smaller than 1 - lam.
        box_HW = inside_H[:, None] & inside_W
        partner_N = plan.partner_N.to(x_NCHW.device)
        mixed = torch.where(box_HW.to(x_NCHW.device), x_NCHW[partner_N], x_NCHW)
        return mixed, mixup(targets_NC, targets_NC[partner_N], 1 - box_HW.double().mean()[None])


def _inside(size: int, centre: Tensor, side: Tensor) -> Tensor:
    """Return a mask (size,) of the lines [centre - side // 2, centre + side // 2) of an image."""
    line = torch.arange(size)
    return (line >= centre - side // 2) & (line < centre + side // 2)


@dataclass(frozen=True)
class NoFusion(Fusion):
    """Train on the union without mixing."""

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Return None: batches are not mixed.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.
        """
        return None

    def describe_for(self, experts: int) -> str:
        """Return the name recorded with results."""
        return "none"


@checked
@dataclass(frozen=True)
class Vanilla(Fusion):
    """Mix the batch with a random permutation of itself, ignoring experts (Zhang et al., ICLR 2018).

    Args:
        alpha: lam ~ Beta(alpha, alpha); 0 means no mixing.
        per: Whether lam is drawn once per "batch" or for each "sample".
    """

    alpha: NotNegative = 1.0
    per: Per = "batch"

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw a permutation of the batch; an image may be mixed with itself.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.
        """
        if self.alpha <= 0:
            return None
        lam_B = _draw_lam(self.alpha, self.per, len(first_B), rng)
        return Mix(first_B[torch.randperm(len(first_B), generator=rng)], lam_B)

    def describe_for(self, experts: int) -> str:
        """Return the name recorded with results."""
        if self.alpha <= 0:
            return "none"
        return _titled("vanilla", self.alpha, ["sample"] if self.per == "sample" else [])


@checked
@dataclass(frozen=True)
class CrossExpert(Fusion):
    """Mix each image with one of another expert (MoE paper Eq. 4).

    x̃ = λx_p + (1 - λ)x_q with x_p ∈ S_i, x_q ∈ S_j, i ≠ j.

    Args:
        alpha: lam ~ Beta(alpha, alpha); 0 means no mixing.
        per: Whether lam is drawn once per "batch" or for each "sample".
        pairing: Whether partners are of "any" class or of the "same_class" only.
        alone: What to do if the union has a single expert: "none" or "vanilla".
    """

    alpha: NotNegative = 1.0
    per: Per = "batch"
    pairing: Literal["any", "same_class"] = "any"
    alone: Literal["none", "vanilla"] = "none"

    def draw(self, rng: torch.Generator, first_B: Tensor, expert_M: Tensor, label_M: Tensor) -> Mix | None:
        """Draw another expert uniformly, then one of its images uniformly.

        Args:
            rng: A CPU generator.
            first_B: The batch, as indices into the union.
            expert_M: Expert of each image of the union.
            label_M: Class of each image of the union.

        Raises:
            InputError: Partners must be of the same class, but no other expert has images of some class.
        """
        acting = self._acting(len(expert_M.unique()))
        if acting == "none":
            return None
        if acting == "vanilla":
            return Vanilla(self.alpha, self.per).draw(rng, first_B, expert_M, label_M)
        lam_B = _draw_lam(self.alpha, self.per, len(first_B), rng)
        # Partners are drawn among images of the same kind: the class, or one kind for all.
        kind_M = label_M if self.pairing == "same_class" else torch.zeros_like(label_M)
        return Mix(_draw_partners(rng, first_B, expert_M, kind_M), lam_B)

    def describe_for(self, experts: int) -> str:
        """Return the name, recorded with results, of what it does to the union of so many experts."""
        acting = self._acting(experts)
        if acting == "none":
            return "none"
        if acting == "vanilla":
            return Vanilla(self.alpha, self.per).describe_for(experts)
        departures = ["sample"] if self.per == "sample" else []
        if self.pairing != "any":
            departures.append("same_class")
        return _titled(acting, self.alpha, departures)

    def _acting(self, experts: int) -> Literal["none", "vanilla", "cross_expert"]:
        """Return which mixing is done with so many experts."""
        if self.alpha <= 0:
            return "none"
        return "cross_expert" if experts > 1 else self.alone


def _draw_partners(rng: torch.Generator, first_B: Tensor, expert_M: Tensor, kind_M: Tensor) -> Tensor:
    """Draw another expert for each image, then one of that expert's images of the same kind.

    Args:
        rng: A CPU generator.
        first_B: The batch, as indices into the union.
        expert_M: Expert of each image of the union.
        kind_M: Kind of each image of the union; partners have the same kind.
    """
    kinds = int(kind_M.max()) + 1
    # A cell holds the images of one expert and kind; sorted by cell, each is a run of known start and length.
    cell_M = expert_M * kinds + kind_M
    count_KC = cell_M.bincount(minlength=(int(expert_M.max()) + 1) * kinds).reshape(-1, kinds)
    kind_B = kind_M[first_B]
    # Never the image's own expert.
    eligible_BK = (count_KC > 0).T[kind_B].scatter(1, expert_M[first_B, None], False)
    if not eligible_BK.any(dim=1).all():
        raise InputError("fusion.pairing", "same_class", "any, where a class belongs to a single expert")
    # Uniform over experts, not over images, so that a larger expert is not preferred.
    chosen_B = torch.multinomial(eligible_BK.float(), 1, generator=rng).squeeze(1)
    count_B = count_KC[chosen_B, kind_B]
    # float64, so that rounding up to the count itself, one past the last image, does not happen.
    rank_B = (torch.rand(len(first_B), dtype=torch.float64, generator=rng) * count_B).long()
    start_KC = (count_KC.flatten().cumsum(0) - count_KC.flatten()).view_as(count_KC)
    return cell_M.argsort(stable=True)[start_KC[chosen_B, kind_B] + rank_B]


def _titled(name: str, alpha: float, departures: Sequence[str]) -> str:
    """Return a name followed by the settings in which a fusion departs from the original rule."""
    return "-".join([name, *([] if alpha == 1 else [f"alpha{alpha:g}"]), *departures])


def _draw_lam(alpha: float, per: str, n: int, rng: torch.Generator) -> Tensor:
    """Return λ of each of ``n`` images; with ``per="batch"`` all are the same."""
    return seeding.beta(alpha, 1 if per == "batch" else n, rng).expand(n)
