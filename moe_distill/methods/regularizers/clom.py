"""CLoM and CCLoM: losses of the synthetic images under networks trained on real data, for any method.

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

_CHUNK = 512  # images in one pass through a network, to bound memory
# Not published. Avoids 0 / 0 for a feature of zeros, and where all features have the same direction.
_TINY = 1e-12


@dataclass(frozen=True)
class _FromPools:
    """Pools of networks, one per architecture; one network is drawn for each evaluation."""

    pools: Sequence[PretrainedNetworks]
    alpha: NotNegative | Sequence[NotNegative] = 1000.0

    def __post_init__(self) -> None:
        """Check that there are pools and as many α as pools."""
        if not self.pools:
            raise FieldError("pools.architectures", "none", "at least one network")
        if len(self.alphas) != len(self.pools):
            allowed = f"a number of at least 0, or a list of {len(self.pools)}, one per architecture"
            raise FieldError("alpha", self.alpha, allowed)

    @property
    def alphas(self) -> tuple[float, ...]:
        """The weight α of each pool; a single α applies to all of them."""
        if isinstance(self.alpha, Sequence):
            return tuple(self.alpha)
        return (self.alpha,) * len(self.pools)

    @property
    def title(self) -> str:
        """Its name in results: the term, α, and each pool's architecture, size, epochs and own data."""
        # Architectures that are trained alike share one entry: "convnet3/resnet18-2x10ep".
        architectures_by_training: dict[str, list[str]] = {}
        for pool in self.pools:
            data = "" if pool.data is None else f"@{pool.data.name}"
            training = f"{pool.networks}x{pool.recipe.total_epochs}ep{data}"
            architectures_by_training.setdefault(training, []).append(pool.architecture)
        pools = [f"{'/'.join(names)}-{training}" for training, names in architectures_by_training.items()]
        alphas = self.alphas if len({*self.alphas}) > 1 else self.alphas[:1]
        alpha = "/".join(f"{a:g}" for a in alphas)
        return f"{type(self).__name__.lower()}-{alpha}-{'+'.join(pools)}"

    def draw(self, networks: Sequence[Sequence[Network]], rng: torch.Generator) -> tuple[Network, float]:
        """Return a random network and its α: first a uniform architecture, then a uniform copy of it."""
        pool = int(torch.randint(len(networks), (1,), generator=rng))
        copy = int(torch.randint(len(networks[pool]), (1,), generator=rng))
        return networks[pool][copy], self.alphas[pool]


@checked
@dataclass(frozen=True)
class CLoM(_FromPools):
    """Mean cross-entropy of the decoded images under a network that was trained on the same classes.

    Images are not augmented, and their labels are their classes even where the set has soft labels.

    Args:
        pools: The networks, one pool per architecture.
        alpha: Weight of the term: one number, or one per pool.
    """

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return α · mean CE(g(x), y), a scalar (Eq. 2.1).

        Args:
            syn: The expert's set.
            real: Not used.
            networks: The networks of each pool, frozen, in evaluation mode.
            rng: Draws the network.
        """
        network, alpha = self.draw(networks, rng)
        logits_MC = network.classifier(embedded(network, syn.standardised()))
        return alpha * F.cross_entropy(logits_MC, syn.decode()[1])

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Reject networks trained on other classes, whose logits mean something else.

        Raises:
            InputError: A pool's networks were trained on other classes.
        """
        for other in trained_on:
            if other.classes != real.classes:
                value = f"clom with networks of {other.name} ({len(other.classes)} classes)"
                classes = f"the {len(real.classes)} classes of {real.name}"
                raise InputError(
                    "regulariser", value, f"networks of {classes}; cclom takes those of any classes"
                )

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return the forward passes of one evaluation; see :meth:`Regulariser.forward_passes`."""
        return 3.0 * decoded


@checked
@dataclass(frozen=True)
class CCLoM(_FromPools):
    """Distance of decoded images to real ones of their class, relative to the distance to all real images.

    It uses features only, so the networks may have been trained on other classes.

    Args:
        pools: The networks, one pool per architecture.
        alpha: Weight of the term: one number, or one per pool.
        real_batch: Real images drawn for each evaluation; at most as many as there are.
    """

    real_batch: Count = 8196

    @property
    def title(self) -> str:
        """Its name in results, including the size of its real batch."""
        return f"{super().title}-batch{self.real_batch}"

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return α · :func:`share_of_own_class`, a scalar (Eq. 2.2).

        Args:
            syn: The expert's set.
            real: All real training data, drawn from uniformly with replacement.
            networks: The networks of each pool, frozen, in evaluation mode.
            rng: Draws the network and the real images.
        """
        network, alpha = self.draw(networks, rng)
        # With replacement: a permutation of all real images for each evaluation would be slow.
        rows_B = torch.randint(len(real), (self._drawn(len(real)),), generator=rng)
        with torch.no_grad():
            chunks = [(network.embed(x), labels) for x, labels in map(real.at, rows_B.split(_CHUNK))]
        real_BD = torch.cat([features for features, _ in chunks])
        labels_B = torch.cat([labels for _, labels in chunks])
        synthetic_MD = embedded(network, syn.standardised())
        return alpha * share_of_own_class(synthetic_MD, syn.decode()[1], real_BD, labels_B, len(real.classes))

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Accept networks of any classes."""

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return the forward passes of one evaluation; see :meth:`Regulariser.forward_passes`."""
        # Real images go forward only, decoded ones there and back.
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

    It is 1 / classes by chance, and 0 if every synthetic image has the direction of its class.

    Args:
        synthetic_MD: Features of the decoded images.
        labels_M: Their classes.
        real_BD: Features of real images; they get no gradient.
        labels_B: Their classes.
        classes: Number of classes.

    Example:
        >>> axes_ND, labels_N = torch.eye(2), torch.tensor([0, 1])
        >>> float(share_of_own_class(axes_ND, labels_N, axes_ND, labels_N, classes=2))
        0.0
    """
    # Sums of unit vectors u, v give the sum of the distances without the M × B matrix of them:
    # Σ_ji (1 - ⟨u_j, v_i⟩) = M B - ⟨Σ_j u_j, Σ_i v_i⟩, over one class or over all.
    u_CD, m_C = _sums(synthetic_MD, labels_M, classes)
    v_CD, b_C = _sums(real_BD.detach(), labels_B, classes)
    own_class = (m_C * b_C).sum() - (u_CD * v_CD).sum()
    all_classes = m_C.sum() * b_C.sum() - u_CD.sum(0) @ v_CD.sum(0)
    return own_class / all_classes.clamp_min(_TINY)


def _sums(f_ND: torch.Tensor, labels_N: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of each class's unit vectors (C, D), and the number of its rows (C,)."""
    member_NC = F.one_hot(labels_N, classes).to(f_ND)
    return member_NC.T @ F.normalize(f_ND, eps=_TINY), member_NC.sum(0)


def embedded(network: Network, images_MCHW: torch.Tensor) -> torch.Tensor:
    """Return features (M, D) with gradient; a large set is embedded in checkpointed chunks to save memory."""
    chunks = images_MCHW.split(_CHUNK)
    if len(chunks) == 1:
        return network.embed(images_MCHW)
    # The networks are in evaluation mode and draw nothing, so the random state need not be preserved.
    features = [checkpoint(network.embed, x, use_reentrant=False, preserve_rng_state=False) for x in chunks]
    return torch.cat(features)
