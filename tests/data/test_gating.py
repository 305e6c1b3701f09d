"""Parts dealt out by a gate: the mixture's likelihood, what the gate learns, and how it deals."""

import math

import pytest
import torch

from moe_distill.data.gating import Gated, negative_log_likelihood, standardised
from moe_distill.data.realset import RealSet
from moe_distill.errors import InputError
from moe_distill.seeding import stream

COUNTS = (41, 60)


def softmax(values):
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def test_the_likelihood_is_that_of_a_plain_loop():
    rng = torch.Generator().manual_seed(1)
    n, dim, k, classes = 7, 4, 3, 5
    shapes = ((dim, k), (k,), (k, dim, classes), (k, 1, classes))
    weights = tuple(torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes)
    f_ND, y_N = torch.randn(n, dim, generator=rng, dtype=torch.float64), torch.randint(classes, (n,), generator=rng)
    gate, bias, experts, biases = (w.tolist() for w in weights)
    total = 0.0
    for f, y in zip(f_ND.tolist(), y_N.tolist(), strict=True):
        g = softmax([sum(f[d] * gate[d][j] for d in range(dim)) + bias[j] for j in range(k)])
        p = [
            softmax([sum(f[d] * experts[j][d][c] for d in range(dim)) + biases[j][0][c] for c in range(classes)])[y]
            for j in range(k)
        ]
        total -= math.log(sum(a * b for a, b in zip(g, p, strict=True)))
    assert float(negative_log_likelihood(weights, f_ND, y_N)) == pytest.approx(total / n, rel=1e-12)


@pytest.fixture
def real():
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(COUNTS)])
    labels = labels[torch.randperm(sum(COUNTS), generator=stream(0, "labels"))]
    images = torch.randint(256, (sum(COUNTS), 1, 8, 8), generator=stream(0, "pixels"), dtype=torch.uint8)
    return RealSet(images, labels, ("a", "b"), (0.5,), (0.5,), "toy", "test")


def pixels(real):
    return real.images_NCHW.flatten(1).float()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_parts_are_disjoint_balanced_and_cover_and_the_seed_decides(real, k):
    gated = Gated(steps=20, batch_size=32)
    parts = gated.split(real, k, stream(1), pixels)
    assert torch.cat(parts).sort().values.tolist() == list(range(sum(COUNTS)))
    assert all(torch.equal(part, part.sort().values) for part in parts)
    counts = torch.stack([torch.bincount(real.labels_N[part], minlength=2) for part in parts])
    assert (counts.amax(0) - counts.amin(0)).tolist() == [int(n % k > 0) for n in COUNTS]
    again = gated.split(real, k, stream(1), pixels)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


def test_the_gate_finds_where_another_rule_holds():
    """The label is the sign of one feature, which is turned round where another feature is negative."""
    rng = torch.Generator().manual_seed(2)
    where, sign = torch.randint(2, (2, 600), generator=rng) * 2 - 1
    f_ND = torch.stack([where * 2.0, sign * 1.0, torch.zeros(600)], 1) + 0.3 * torch.randn(600, 3, generator=rng)
    labels = (where * sign > 0).long()
    images = torch.zeros(600, 1, 8, 8, dtype=torch.uint8)
    real = RealSet(images, labels, ("a", "b"), (0.5,), (0.5,), "toy", "test")
    first, _ = Gated(steps=400, batch_size=256, lr=0.05).split(real, 2, stream(0), lambda _: f_ND)
    share = float((where[first] > 0).float().mean())
    assert max(share, 1 - share) > 0.9


def test_features_of_no_variation_stay_zero():
    f_ND = torch.stack([torch.full((5,), 3.0), torch.arange(5.0)], 1)
    done = standardised(f_ND)
    assert done[:, 0].abs().max() == 0
    assert done[:, 1].mean().abs() < 1e-6 and float(done[:, 1].square().mean()) == pytest.approx(1, rel=1e-5)


def test_what_cannot_be_dealt_out_is_refused(real):
    with pytest.raises(InputError, match=r"^noe=42: 1 to 41"):
        Gated().split(real, 42, stream(0), pixels)
    with pytest.raises(InputError, match=r"^partition=gated: "):
        Gated().split(real, 2, stream(0))
    with pytest.raises(InputError, match=r"^partition.lr=0: a number above 0"):
        Gated(lr=0)
