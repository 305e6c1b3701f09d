"""The perceptron against its sums written out in float64, and its published size."""

import numpy as np
import torch

from moe_distill.models.base import build
from moe_distill.models.mlp import MLP
from moe_distill.seeding import stream


def test_logits_against_naive_float64():
    network = build(MLP, channels=2, classes=5, size=9, rng=stream(0, "mlp"))
    x_NCHW = torch.randn(3, 2, 9, 9, generator=stream(0, "x"))
    w1, b1, w2, b2, w3, b3 = (p.detach().double().numpy() for p in network.parameters())
    for x, logits in zip(x_NCHW.double().numpy(), network(x_NCHW).detach(), strict=True):
        hidden = np.maximum(w2 @ np.maximum(w1 @ x.ravel() + b1, 0) + b2, 0)
        np.testing.assert_allclose(logits, w3 @ hidden + b3, atol=1e-5)


def test_size_is_the_published_one():
    network = build(MLP, channels=3, classes=10, size=32, rng=stream(0, "mlp"))
    assert sum(p.numel() for p in network.parameters()) == 411_146
