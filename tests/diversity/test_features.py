"""Features of whole sets, and their two principal axes."""

import functools

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from moe_distill.data.real_set import RealSet
from moe_distill.diversity.features import features_of_set, projected
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream


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


def test_features_of_a_set_are_those_of_its_standardised_images_taken_by_chunks(monkeypatch):
    rng = stream(0, "images")
    images = torch.randint(256, (1100, 1, 8, 8), generator=rng, dtype=torch.uint8)
    real = RealSet(images, torch.arange(1100) % 2, ("a", "b"), (0.3,), (0.6,), "toy", "test")
    network = build(functools.partial(ConvNet, width=0.05), channels=1, classes=2, size=8, rng=rng).eval()
    with torch.no_grad():
        oracle = network.embed((images.float() / 255 - 0.3) / 0.6)
    normalised, seen = RealSet.normalised, []
    monkeypatch.setattr(RealSet, "normalised", lambda self, x: seen.append(len(x)) or normalised(self, x))
    torch.testing.assert_close(features_of_set(network, real), oracle)
    assert seen == [512, 512, 76]
