"""The gated partition against naive loops, and on data whose labels follow a rule in each of two clusters."""

import math

import pytest
import torch

from moe_distill.data.partition.gated import Gated, Mixture, imbalance, standardised
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.seeding import stream


def mixture(dim=4, k=3, classes=5, seed=0):
    rng = stream(seed, "mixture")
    shapes = (dim, k), (k,), (k, dim, classes), (k, 1, classes)
    return Mixture(*(torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes))


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def naive_nll(given, f_ND, y_N):
    """The mean of −log Σ_k g_k p_k, number by number."""
    gate, bias, experts, biases = (
        w.tolist() for w in (given.gate_DK, given.gate_bias_K, given.experts_KDC, given.expert_biases_K1C)
    )
    total = 0.0
    for f, y in zip(f_ND.tolist(), y_N.tolist(), strict=True):
        g = softmax([sum(f[d] * gate[d][k] for d in range(len(f))) + bias[k] for k in range(len(bias))])
        likelihood = 0.0
        for k in range(len(bias)):
            logits = [
                sum(f[d] * experts[k][d][c] for d in range(len(f))) + biases[k][0][c]
                for c in range(len(biases[k][0]))
            ]
            likelihood += g[k] * softmax(logits)[y]
        total -= math.log(likelihood)
    return total / len(f_ND)


def naive_imbalance(gate_NK, y_N):
    """The mean over the classes at hand of K Σ_k s_k² − 1."""
    found = []
    for c in sorted(set(y_N.tolist())):
        rows = [g for g, y in zip(gate_NK.tolist(), y_N.tolist(), strict=True) if y == c]
        shares = [sum(row[k] for row in rows) / len(rows) for k in range(gate_NK.shape[1])]
        found.append(len(shares) * sum(s * s for s in shares) - 1)
    return sum(found) / len(found)


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_the_loss_against_a_naive_double_loop(balance):
    f_ND = torch.randn(11, 4, generator=stream(1, "f"), dtype=torch.float64)
    y_N = torch.tensor([0, 4, 2, 2, 0, 4, 4, 2, 0, 0, 4])  # no image of classes 1 and 3
    given = mixture()
    gate_NK = torch.softmax(f_ND @ given.gate_DK + given.gate_bias_K, 1)
    oracle = naive_nll(given, f_ND, y_N) + balance * naive_imbalance(gate_NK, y_N)
    assert float(given.loss(f_ND, y_N, balance)) == pytest.approx(oracle, rel=1e-12)


def test_imbalance_is_0_for_equal_shares_and_at_most_one_less_than_the_experts():
    y_N = torch.tensor([0, 0, 0, 1, 1, 1])
    dealt = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2, 0, 1]]
    by_class = torch.eye(3, dtype=torch.float64)[[0, 0, 0, 1, 1, 1]]  # equal over all, not within a class
    assert float(imbalance(dealt, y_N)) == pytest.approx(0, abs=1e-12)
    assert float(imbalance(by_class, y_N)) == pytest.approx(2)


def test_standardised_features_have_mean_0_and_equal_deviations():
    f_ND = torch.tensor([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]])
    z_ND = standardised(f_ND)
    mean, std = 4.0, math.sqrt((9 + 1 + 16) / 3)
    assert z_ND[:, 0].tolist() == pytest.approx([(v - mean) / std / math.sqrt(2) for v in (1, 3, 8)])
    assert z_ND[:, 1].tolist() == [0, 0, 0]


def ruled(seed, per=60, classes=3, dim=6):
    """Return a set, its features and clusters: two clusters apart along one feature, each with a label rule
    of its own.

    Each class has ``per`` images in each cluster.
    """
    rng = stream(seed, "ruled")
    rules = torch.randn(2, dim, classes, generator=rng)
    features, labels, clusters = [], [], []
    for cluster, side in ((0, -3.0), (1, 3.0)):
        x_ND = torch.randn(4000, dim, generator=rng)
        y_N = (x_ND @ rules[cluster]).argmax(1)
        x_ND = torch.cat([side + 0.5 * torch.randn(4000, 1, generator=rng), x_ND], 1)
        for c in range(classes):
            features.append(x_ND[y_N == c][:per])
            labels.append(torch.full((per,), c))
            clusters.append(torch.full((per,), cluster))
    order_N = torch.randperm(2 * per * classes, generator=rng)
    f_ND, y_N, cluster_N = (torch.cat(parts)[order_N] for parts in (features, labels, clusters))
    images = torch.zeros(len(y_N), 1, 8, 8, dtype=torch.uint8)
    return RealSet(images, y_N, ("a", "b", "c"), (0.5,), (0.5,), "toy", "test"), f_ND, cluster_N


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_gate_finds_the_clusters_whose_label_rules_differ(seed):
    real, f_ND, cluster_N = ruled(seed)
    parts = Gated().split(real, 2, stream(seed, "partition"), lambda _: f_ND)
    agreeing = sum(int((cluster_N[part] == number).sum()) for number, part in enumerate(parts)) / len(real)
    assert max(agreeing, 1 - agreeing) > 0.95


def test_the_mixture_explains_labels_that_no_single_classifier_does():
    real, f_ND, _ = ruled(0)
    f_ND, y_N = standardised(f_ND), real.labels_N
    one, two = (Gated().fit(f_ND, y_N, 3, k, stream(0, "fit")).loss(f_ND, y_N, 0.0) for k in (1, 2))
    assert two < 0.5 * one


def test_of_several_fits_the_best_is_taken(monkeypatch):
    real, f_ND, _ = ruled(0, per=5)
    fits, fit = [], Gated.fit
    monkeypatch.setattr(Gated, "fit", lambda *given: fits.append(fit(*given)) or fits[-1])
    parts = Gated(starts=4, steps=30).split(real, 2, stream(1, "partition"), lambda _: f_ND)
    losses = [float(made.loss(standardised(f_ND), real.labels_N, 1.0)) for made in fits]
    assert len(set(losses)) == 4 and losses.index(min(losses)) > 0
    best = fits[losses.index(min(losses))]
    monkeypatch.setattr(Gated, "fit", lambda *_: best)
    again = Gated().split(real, 2, stream(9), lambda _: f_ND)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("name", ["starts", "steps", "batch_size", "lr", "balance"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=rf"^{name}=-1: a (whole )?number"):
        Gated(**{name: -1})
