"""The two principal axes of features."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from moe_distill.diversity.features import projected


@pytest.mark.parametrize("shape", [(30, 7), (5, 40), (4, 1)])
def test_the_projection_is_that_of_principal_components(shape):
    features_ND = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 3 + 5
    flat_N2, share = projected(features_ND)
    pca = PCA(min(2, shape[1]), svd_solver="full").fit(features_ND.double().numpy())
    wanted = pca.transform(features_ND.double().numpy())
    for axis in range(wanted.shape[1]):
        column = wanted[:, axis] * np.sign(wanted[np.abs(wanted[:, axis]).argmax(), axis])
        np.testing.assert_allclose(flat_N2[:, axis].numpy(), column, atol=1e-9)
        assert flat_N2[flat_N2[:, axis].abs().argmax(), axis] > 0
    assert share == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-9)
    assert flat_N2.shape == (shape[0], 2)


def test_features_that_are_all_alike_lie_on_one_point():
    flat_N2, share = projected(torch.full((4, 3), 2.5))
    assert flat_N2.abs().max() == 0 and share == 0
