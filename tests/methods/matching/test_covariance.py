"""The distance of covariances against NumPy's, with many features and with few."""

import numpy as np
import pytest
import torch

from moe_distill.methods.matching.covariance import squared_distance_of_covariances
from moe_distill.seeding import stream


# Fewer rows than features, more, and as many, where the way of computing it changes.
@pytest.mark.parametrize(("n", "m", "d"), [(6, 4, 50), (60, 40, 5), (6, 4, 10), (6, 4, 11), (2, 2, 3)])
def test_it_is_that_of_the_unbiased_covariances(n, m, d):
    rng = stream(n, "covariance", d)
    real, synthetic = (torch.randn(k, d, generator=rng, dtype=torch.float64) * 3 + 7 for k in (n, m))
    synthetic.requires_grad_()
    distance = squared_distance_of_covariances(real, synthetic)
    gap = np.cov(real.numpy().T) - np.cov(synthetic.detach().numpy().T)
    assert distance.item() == pytest.approx(sum(v * v for v in gap.flatten().tolist()), rel=1e-10)
    (gradient,) = torch.autograd.grad(distance, synthetic)
    # d‖R − S‖² = −2 ⟨R − S, dS⟩, and S = ΣᵢΔᵢΔᵢᵀ/(M − 1) of the centred rows Δ, whose sum is 0.
    centred = synthetic.detach().numpy() - synthetic.detach().numpy().mean(0)
    np.testing.assert_allclose(gradient.numpy(), -4 / (m - 1) * centred @ gap, rtol=1e-9, atol=1e-9)


def test_real_features_get_no_gradient():
    real, synthetic = torch.eye(3).requires_grad_(), (2 * torch.eye(3)).requires_grad_()
    squared_distance_of_covariances(real, synthetic).backward()
    assert real.grad is None and synthetic.grad.any()
