"""Scores of distilled sets that separate what labels, augmentation and recipe contribute (DD-Ranking).

Source: the documentation of DD-Ranking 0.2 (github.com/NUS-HPC-AI-Lab/DD-Ranking), its scores LRS and ARS.

All accuracies are fractions in [0, 1], as in that documentation, whose scores then lie in [0, 1]. The code of
version 0.2.0 puts percent into the same exponentials, so its printed scores (an LRS of -0.16 for many a set)
cannot be compared with these. In the arguments' names, ``real``, ``syn`` and ``rnd`` say what was trained on:
all real images, the distilled set, or as many random real images. ``hard`` is a training towards hard labels,
``any`` one by the set's own recipe, ``plain`` one without any augmentation.
"""

import math
from collections.abc import Mapping

from moe_distill.errors import FieldError, InputError


def hlr(*, real_hard: float, syn_hard: float) -> float:
    """Return the hard-label recovery, acc(real, hard) - acc(syn, hard), in [-1, 1]; lower is better.

    Raises:
        InputError: An accuracy is not in [0, 1].
    """
    _require(real_hard=real_hard, syn_hard=syn_hard)
    return real_hard - syn_hard


def ior(*, syn_any: float, rnd_any: float) -> float:
    """Return the improvement over random, acc(syn, any) - acc(rnd, any), in [-1, 1]; higher is better.

    Raises:
        InputError: An accuracy is not in [0, 1].
    """
    _require(syn_any=syn_any, rnd_any=rnd_any)
    return syn_any - rnd_any


def alpha(*, real_hard: float, syn_hard: float, syn_any: float, rnd_any: float, w: float = 0.5) -> float:
    """Return α = w · IOR - (1 - w) · HLR, in [-1, 1].

    Args:
        real_hard: Accuracy of all real images towards hard labels.
        syn_hard: Accuracy of the set towards hard labels.
        syn_any: Accuracy of the set by its own recipe.
        rnd_any: Accuracy of random images by the set's recipe.
        w: Weight of the improvement over random, in [0, 1].

    Raises:
        FieldError: The weight is not in [0, 1].
        InputError: An accuracy is not in [0, 1].
    """
    require_weights(w=w)
    # HLR is subtracted, because a lower one is better.
    return w * ior(syn_any=syn_any, rnd_any=rnd_any) - (1 - w) * hlr(real_hard=real_hard, syn_hard=syn_hard)


def lrs(*, real_hard: float, syn_hard: float, syn_any: float, rnd_any: float, w: float = 0.5) -> float:
    """Return the label-robust score, α normalised to [0, 1].

    It is 0.269 for a set that is no better than its baselines. At w = 0.5 even a set that recovers everything
    stays far below 1: read α, HLR and IOR beside it.

    Args:
        real_hard: See :func:`alpha`, as for the others.
        syn_hard: See ``real_hard``.
        syn_any: See ``real_hard``.
        rnd_any: See ``real_hard``.
        w: See ``real_hard``.

    Raises:
        FieldError: The weight is not in [0, 1].
        InputError: An accuracy is not in [0, 1].

    Example:
        >>> round(lrs(real_hard=0.5, syn_hard=0.5, syn_any=0.4, rnd_any=0.4), 3)
        0.269
    """
    return normalised(alpha(real_hard=real_hard, syn_hard=syn_hard, syn_any=syn_any, rnd_any=rnd_any, w=w))


def beta(*, syn_any: float, rnd_any: float, syn_plain: float, rnd_plain: float, gamma: float = 0.5) -> float:
    """Return β = γ · (lead over random with augmentation) + (1 - γ) · (lead without), in [-1, 1].

    Args:
        syn_any: Accuracy of the set with the recipe's augmentation.
        rnd_any: Accuracy of random images with the recipe's augmentation.
        syn_plain: Accuracy of the set without any augmentation.
        rnd_plain: Accuracy of random images without any augmentation.
        gamma: Weight of the lead with augmentation, in [0, 1].

    Raises:
        FieldError: The weight is not in [0, 1].
        InputError: An accuracy is not in [0, 1].
    """
    require_weights(gamma=gamma)
    _require(syn_plain=syn_plain, rnd_plain=rnd_plain)
    return gamma * ior(syn_any=syn_any, rnd_any=rnd_any) + (1 - gamma) * (syn_plain - rnd_plain)


def ars(*, syn_any: float, rnd_any: float, syn_plain: float, rnd_plain: float, gamma: float = 0.5) -> float:
    """Return the augmentation-robust score: β normalised to [0, 1], as LRS is of α.

    Args:
        syn_any: See :func:`beta`, as for the others.
        rnd_any: See ``syn_any``.
        syn_plain: See ``syn_any``.
        rnd_plain: See ``syn_any``.
        gamma: See ``syn_any``.

    Raises:
        FieldError: The weight is not in [0, 1].
        InputError: An accuracy is not in [0, 1].
    """
    return normalised(
        beta(syn_any=syn_any, rnd_any=rnd_any, syn_plain=syn_plain, rnd_plain=rnd_plain, gamma=gamma)
    )


def normalised(difference: float) -> float:
    """Return (e^x - e^-1) / (e - e^-1): 0 for x = -1, 1 for x = 1.

    Example:
        >>> normalised(-1), normalised(1)
        (0.0, 1.0)
    """
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))


def scores_of(means: Mapping[str, float], w: float, gamma: float) -> dict[str, float]:
    """Return every score of a set.

    Args:
        means: Mean accuracy (a fraction) of each of the six trainings, by name.
        w: Weight of IOR in LRS, in [0, 1].
        gamma: Weight of the lead with augmentation in ARS, in [0, 1].

    Raises:
        FieldError: A weight is not in [0, 1].
        InputError: A mean is not in [0, 1].

    Example:
        >>> trainings = ("syn_any", "rnd_any", "syn_hard", "real_hard", "syn_plain", "rnd_plain")
        >>> no_better = dict.fromkeys(trainings, 0.5)
        >>> {name: round(score, 3) for name, score in scores_of(no_better, w=0.5, gamma=0.5).items()}
        {'hlr': 0.0, 'ior': 0.0, 'alpha': 0.0, 'lrs': 0.269, 'beta': 0.0, 'ars': 0.269}
    """
    robust = {name: means[name] for name in ("real_hard", "syn_hard", "syn_any", "rnd_any")}
    leads = {name: means[name] for name in ("syn_any", "rnd_any", "syn_plain", "rnd_plain")}
    return {
        "hlr": hlr(real_hard=means["real_hard"], syn_hard=means["syn_hard"]),
        "ior": ior(syn_any=means["syn_any"], rnd_any=means["rnd_any"]),
        "alpha": alpha(**robust, w=w),
        "lrs": lrs(**robust, w=w),
        "beta": beta(**leads, gamma=gamma),
        "ars": ars(**leads, gamma=gamma),
    }


def require_weights(**weights: float) -> None:
    """Refuse a weight that is not in [0, 1].

    Args:
        **weights: The weights by the names that an error calls them.

    Raises:
        FieldError: One of them is outside.
    """
    for name, value in weights.items():
        if not 0 <= value <= 1:
            raise FieldError(name, value, "a weight from 0 to 1")


def _require(**accuracies: float) -> None:
    for name, value in accuracies.items():
        if not 0 <= value <= 1:  # also refuses NaN, for which no comparison holds
            raise InputError(f"accuracy {name}", value, "a fraction from 0 to 1 (percent divided by 100)")
