"""The scores against numbers worked out by hand and by exact arithmetic, their limits, and what they
refuse."""

import math
from decimal import Decimal, getcontext

import pytest

from moe_distill.errors import InputError
from moe_distill.evaluation import ddranking as scores

ROBUST = ("real_hard", "syn_hard", "syn_any", "rnd_any")
LEADS = ("syn_any", "rnd_any", "syn_plain", "rnd_plain")


def exact(difference):
    """Return (e^x - 1/e) / (e - 1/e) to 40 digits."""
    getcontext().prec = 40
    e = Decimal(1).exp()
    return float((Decimal(difference).exp() - 1 / e) / (e - 1 / e))


# Accuracies, then w, HLR, IOR and α by hand.
CASES = [
    ((0.85, 0.52, 0.60, 0.31), 0.5, 0.33, 0.29, -0.02),
    ((0.85, 0.52, 0.60, 0.31), 1.0, 0.33, 0.29, 0.29),
    ((0.85, 0.52, 0.60, 0.31), 0.0, 0.33, 0.29, -0.33),
    ((0.50, 0.60, 0.70, 0.20), 0.25, -0.10, 0.50, 0.20),
    ((0.80, 0.30, 0.10, 0.45), 0.5, 0.50, -0.35, -0.425),
]


@pytest.mark.parametrize(("accuracies", "w", "hlr", "ior", "alpha"), CASES)
def test_label_robustness_is_as_worked_out_by_hand(accuracies, w, hlr, ior, alpha):
    real_hard, syn_hard, syn_any, rnd_any = accuracies
    given = dict(zip(ROBUST, accuracies, strict=True))
    assert scores.hlr(real_hard=real_hard, syn_hard=syn_hard) == pytest.approx(hlr, abs=1e-12)
    assert scores.ior(syn_any=syn_any, rnd_any=rnd_any) == pytest.approx(ior, abs=1e-12)
    assert scores.alpha(**given, w=w) == pytest.approx(alpha, abs=1e-12)
    assert scores.lrs(**given, w=w) == pytest.approx(exact(alpha), abs=1e-12)


@pytest.mark.parametrize(("gamma", "beta"), [(0.5, 0.16), (1.0, 0.30), (0.0, 0.02), (0.25, 0.09)])
def test_augmentation_robustness_is_as_worked_out_by_hand(gamma, beta):
    given = dict(zip(LEADS, (0.62, 0.32, 0.41, 0.39), strict=True))
    assert scores.beta(**given, gamma=gamma) == pytest.approx(beta, abs=1e-12)
    assert scores.ars(**given, gamma=gamma) == pytest.approx(exact(beta), abs=1e-12)


def test_the_weights_default_to_a_half():
    robust = dict(zip(ROBUST, (0.85, 0.52, 0.60, 0.31), strict=True))
    leads = dict(zip(LEADS, (0.62, 0.32, 0.41, 0.39), strict=True))
    assert scores.lrs(**robust) == scores.lrs(**robust, w=0.5) != scores.lrs(**robust, w=0.4)
    assert scores.ars(**leads) == scores.ars(**leads, gamma=0.5) != scores.ars(**leads, gamma=0.4)


def test_known_values_of_the_normalisation():
    perfect = {"real_hard": 0.8, "syn_hard": 0.8, "syn_any": 0.9, "rnd_any": 0.2}  # HLR 0, IOR .7
    assert scores.lrs(**perfect) == pytest.approx(0.447, abs=5e-4)
    assert scores.normalised(0.0) == pytest.approx(1 / (math.e + 1), abs=1e-15)  # .269
    # what percent taken for fractions comes to in the published code
    assert scores.normalised(-17.0) == pytest.approx(-0.1565, abs=5e-5)
    assert scores.normalised(10.0) == pytest.approx(9371, abs=1)


def test_the_limits_are_zero_and_one():
    worst = {"real_hard": 1.0, "syn_hard": 0.0, "syn_any": 0.0, "rnd_any": 1.0}
    best = {"real_hard": 0.0, "syn_hard": 1.0, "syn_any": 1.0, "rnd_any": 0.0}
    assert (scores.lrs(**worst), scores.lrs(**best)) == (0.0, 1.0)
    worst_lead = {"syn_any": 0.0, "rnd_any": 1.0, "syn_plain": 0.0, "rnd_plain": 1.0}
    assert (scores.ars(**worst_lead), scores.ars(**{k: 1 - v for k, v in worst_lead.items()})) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "better"), [("real_hard", -1), ("syn_hard", 1), ("syn_any", 1), ("rnd_any", -1)]
)
def test_each_accuracy_moves_the_score_its_own_way(name, better):
    given = dict.fromkeys(ROBUST, 0.5)
    assert (scores.lrs(**{**given, name: 0.6}) - scores.lrs(**given)) * better > 0.01


@pytest.mark.parametrize("value", [52.0, 1.0001, -0.01, float("nan")])
@pytest.mark.parametrize(
    ("score", "names"), [(scores.lrs, ROBUST), (scores.alpha, ROBUST), (scores.ars, LEADS)]
)
def test_an_accuracy_that_is_no_fraction_is_refused_by_its_name(score, names, value):
    for name in names:
        with pytest.raises(InputError) as refused:
            score(**{**dict.fromkeys(names, 0.5), name: value})
        assert (
            str(refused.value) == f"accuracy {name}={value}: a fraction from 0 to 1 (percent divided by 100)"
        )


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_that_is_none_is_refused_by_its_key(weight):
    with pytest.raises(InputError, match=r"^w=.*from 0 to 1$"):
        scores.lrs(**dict.fromkeys(ROBUST, 0.5), w=weight)
    with pytest.raises(InputError, match=r"^gamma=.*from 0 to 1$"):
        scores.ars(**dict.fromkeys(LEADS, 0.5), gamma=weight)
