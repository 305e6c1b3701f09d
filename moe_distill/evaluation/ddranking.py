"""Scores of distilled sets that set apart what labels, augmentation and recipe contribute (DD-Ranking).

All accuracies are fractions in [0, 1], as in DD-Ranking's documentation, whose scores then lie in [0, 1]. The
code of its version 0.2.0 puts percent into the same exponentials, so that what it prints (an LRS of -0.16 for
many a set) cannot be compared with these. ``real``, ``syn`` and ``rnd`` name what was trained on: all real
images, the distilled set, as many random real images. ``hard`` is a training towards hard labels; ``any`` the
set's own recipe.
"""

import math

from moe_distill.errors import FieldError, InputError


def hlr(*, real_hard: float, syn_hard: float) -> float:
    """Return the hard-label recovery, acc(real, hard) - acc(syn, hard), in [-1, 1]; lower is better.

    Raises:
        InputError: An accuracy is no fraction, as for all functions here.
    """
    _require(real_hard=real_hard, syn_hard=syn_hard)
    return real_hard - syn_hard


def ior(*, syn_any: float, rnd_any: float) -> float:
    """Return the improvement over random, acc(syn, any) - acc(rnd, any), in [-1, 1]; higher is better."""
    _require(syn_any=syn_any, rnd_any=rnd_any)
    return syn_any - rnd_any


def alpha(*, real_hard: float, syn_hard: float, syn_any: float, rnd_any: float, w: float = 0.5) -> float:
    """Return α = w · IOR - (1 - w) · HLR, in [-1, 1]."""
    require_weights(w=w)
    return w * ior(syn_any=syn_any, rnd_any=rnd_any) - (1 - w) * hlr(real_hard=real_hard, syn_hard=syn_hard)


def lrs(*, real_hard: float, syn_hard: float, syn_any: float, rnd_any: float, w: float = 0.5) -> float:
    """Return the label-robust score, α brought to [0, 1]; 0.269 is that of a set no better than its
    baselines.

    At w = 0.5 even a set that recovers everything stays far below 1: read α, HLR and IOR beside it.
    """
    return normalised(alpha(real_hard=real_hard, syn_hard=syn_hard, syn_any=syn_any, rnd_any=rnd_any, w=w))


def beta(*, syn_any: float, rnd_any: float, syn_plain: float, rnd_plain: float, gamma: float = 0.5) -> float:
    """Return β = γ · (lead over random with augmentation) + (1 - γ) · (lead without), in [-1, 1].

    Args:
        syn_any: Accuracy with the recipe's augmentation; ``rnd_any`` likewise.
        rnd_any: See ``syn_any``.
        syn_plain: Accuracy without any augmentation; ``rnd_plain`` likewise.
        rnd_plain: See ``syn_plain``.
        gamma: Weight of the lead with augmentation.
    """
    require_weights(gamma=gamma)
    _require(syn_plain=syn_plain, rnd_plain=rnd_plain)
    return gamma * ior(syn_any=syn_any, rnd_any=rnd_any) + (1 - gamma) * (syn_plain - rnd_plain)


def ars(*, syn_any: float, rnd_any: float, syn_plain: float, rnd_plain: float, gamma: float = 0.5) -> float:
    """Return the augmentation-robust score, β (see :func:`beta`) brought to [0, 1] as LRS is."""
    return normalised(
        beta(syn_any=syn_any, rnd_any=rnd_any, syn_plain=syn_plain, rnd_plain=rnd_plain, gamma=gamma)
    )


def normalised(difference: float) -> float:
    """Return (e^x - e^-1) / (e - e^-1): 0 for x = -1, 1 for x = 1."""
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))


def require_weights(**weights: float) -> None:
    """Refuse a weight, by its name, that is not in [0, 1]."""
    for name, value in weights.items():
        if not 0 <= value <= 1:
            raise FieldError(name, value, "a weight from 0 to 1")


def _require(**accuracies: float) -> None:
    for name, value in accuracies.items():
        if not 0 <= value <= 1:
            raise InputError(f"accuracy {name}", value, "a fraction from 0 to 1 (percent divided by 100)")
