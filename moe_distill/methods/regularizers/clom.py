"""CLoM and CCLoM: what networks trained on real data think of the synthetic images, as a term of any method.

Lu et al., "Can pre-trained models assist in dataset distillation?", 2023, arXiv:2310.03295.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError, InputError
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import Count, NotNegative, checked

_CHUNK = 512
_TINY = 1e-12  # not published: keeps a feature of zeros, and features that all have one direction, from giving 0 / 0


@dataclass(frozen=True)
class _FromPools:
    """Networks of one or several architectures, one of which is drawn for each evaluation."""

    pools: Sequence[PretrainedNetworks]
    alpha: NotNegative | Sequence[NotNegative] = 1000.0

    def __post_init__(self) -> None:
        """Check that there are pools, and as many α."""
        if not self.pools:
            raise FieldError("pools.architectures", "none", "at least one network")
        if len(self.alphas) != len(self.pools):
            allowed = f"a number of at least 0, or a list of {len(self.pools)}, one an architecture"
            raise FieldError("alpha", self.alpha, allowed)

    @property
    def alphas(self) -> tuple[float, ...]:
        """α of each pool."""
        several = isinstance(self.alpha, Sequence) and not isinstance(self.alpha, str)
        return tuple(self.alpha) if several else (self.alpha,) * len(self.pools)  # type: ignore[arg-type, return-value]

    @property
    def title(self) -> str:
        """What results call it: the term, α, and of each pool its size, architecture, epochs and data of its
        own.
        """
        alike: dict[str, list[str]] = {}
        for pool in self.pools:
            data = "" if pool.data is None else f"@{pool.data.name}"
            alike.setdefault(f"{pool.networks}x{pool.recipe.total_epochs}ep{data}", []).append(
                pool.architecture
            )
        alpha = "/".join(f"{a:g}" for a in (self.alphas if len({*self.alphas}) > 1 else self.alphas[:1]))
        told = [f"{'/'.join(architectures)}-{how}" for how, architectures in alike.items()]
        return f"{type(self).__name__.lower()}-{alpha}-{'+'.join(told)}"

    def draw(self, networks: Sequence[Sequence[Network]], rng: torch.Generator) -> tuple[Network, float]:
        """Return a network and its α: the architecture uniform, then the copy."""
        pool = int(torch.randint(len(networks), (1,), generator=rng))
        copy = int(torch.randint(len(networks[pool]), (1,), generator=rng))
        return networks[pool][copy], self.alphas[pool]


@checked
@dataclass(frozen=True)
class CLoM(_FromPools):
    """Mean cross-entropy of the decoded images under a network that was trained on the same classes.

    The images are seen whole and without augmentation, their labels are those of their class, learned or not.

    Args:
        pools: The networks, one pool an architecture.
        alpha: Weight of the term: one number, or one a pool.
    """

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return α · mean CE(g(x), y), a scalar (spec of the method, Eq. 2.1); ``real`` is not looked at."""
        network, alpha = self.draw(networks, rng)
        logits_MC = network.classifier(embedded(network, syn.standardised()))
        return alpha * F.cross_entropy(logits_MC, syn.decode()[1])

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Refuse networks of other classes, whose logits mean something else.

        Raises:
            InputError: There are such.
        """
        for other in (o for o in trained_on if o.classes != real.classes):
            value = f"clom with networks of {other.name} ({len(other.classes)} classes)"
            allowed = f"networks of the {len(real.classes)} classes of {real.name}; cclom takes those of any classes"
            raise InputError("regulariser", value, allowed)

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return forward equivalents of an evaluation, for so many decoded and real images in all."""
        return 3.0 * decoded


@checked
@dataclass(frozen=True)
class CCLoM(_FromPools):
    """Distance of the decoded images to real images of their class, relative to that to real images of all
    classes.

    It looks at features alone, so that the networks may have been trained on other classes.

    Args:
        pools: The networks, one pool an architecture.
        alpha: Weight of the term: one number, or one a pool.
        real_batch: Real images drawn for each evaluation; at most as many as there are.
    """

    real_batch: Count = 8196

    @property
    def title(self) -> str:
        """What results call it: the size of its real batch too."""
        return f"{super().title}-batch{self.real_batch}"

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return α · :func:`share_of_own_class`, a scalar; real images are drawn uniformly with
        replacement.
        """
        network, alpha = self.draw(networks, rng)
        rows_B = torch.randint(len(real), (self._drawn(len(real)),), generator=rng)
        with torch.no_grad():
            seen = [(network.embed(x), labels) for x, labels in map(real.at, rows_B.split(_CHUNK))]
        real_BD, labels_B = (torch.cat(parts) for parts in zip(*seen, strict=True))
        synthetic_MD = embedded(network, syn.standardised())
        return alpha * share_of_own_class(synthetic_MD, syn.decode()[1], real_BD, labels_B, len(real.classes))

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Refuse nothing."""

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return forward equivalents of an evaluation, for so many decoded and real images in all."""
        return 3.0 * decoded + self._drawn(real)

    def _drawn(self, real: int) -> int:
        return min(self.real_batch, real)


def share_of_own_class(
    synthetic_MD: torch.Tensor,
    labels_M: torch.Tensor,
    real_BD: torch.Tensor,
    labels_B: torch.Tensor,
    classes: int,
) -> torch.Tensor:
    """Return Σ d(j, i) over pairs of one class / Σ d(j, i) over all pairs, d = 1 - cosine (Eq. 2.2).

    1 / classes by chance, 0 where every image has the direction of its class. Sums of unit vectors by class
    give it without the M × B distances: Σ d = M B - ⟨Σ_j u_j, Σ_i v_i⟩.

    Args:
        synthetic_MD: Features of the decoded images.
        labels_M: Their classes.
        real_BD: Features of real images, without gradient.
        labels_B: Their classes.
        classes: Number of classes.
    """
    (u_CD, m_C), (v_CD, b_C) = (
        _sums(f, labels, classes) for f, labels in ((synthetic_MD, labels_M), (real_BD.detach(), labels_B))
    )
    own = (m_C * b_C).sum() - (u_CD * v_CD).sum()
    every = m_C.sum() * b_C.sum() - u_CD.sum(0) @ v_CD.sum(0)
    return own / every.clamp_min(_TINY)


def _sums(f_ND: torch.Tensor, labels_N: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums of the unit vectors of each class, and how many there are."""
    of_NC = F.one_hot(labels_N, classes).to(f_ND)
    return of_NC.T @ F.normalize(f_ND, eps=_TINY), of_NC.sum(0)


def embedded(network: Network, images_MCHW: torch.Tensor) -> torch.Tensor:
    """Return features (M, D) with gradient; a large set goes in chunks, computed again on the way back."""
    chunks = images_MCHW.split(_CHUNK)
    if len(chunks) == 1:
        return network.embed(images_MCHW)
    again = (checkpoint(network.embed, x, use_reentrant=False, preserve_rng_state=False) for x in chunks)
    return torch.cat(list(again))
