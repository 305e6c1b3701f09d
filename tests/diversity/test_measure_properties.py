"""Properties of the diversity measures: invariances, gradients, degenerate and bad input."""

from dataclasses import FrozenInstanceError
from itertools import product

import pytest
import torch
from conftest_features import dependent, randn

from moe_distill.diversity import gram
from moe_distill.diversity.measures import (
    CKA,
    HSIC,
    DistanceCorrelation,
    DistanceCovariance,
    PairedCosine,
    unbiased_dcor2,
)
from moe_distill.diversity.unpaired import (
    CosineAllPairs,
    NegativeCorrelation,
    NegativeEnergy,
    NegativeMMD,
    Orthogonality,
)
from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.testing.measures import gradient

B_DCOR = DistanceCorrelation(l2norm=False)
U_DCOR = DistanceCorrelation(centring="u", l2norm=False)
RATIOS = [
    B_DCOR,
    U_DCOR,
    *(CKA(kernel=k, centring=c) for k, c in product(("linear", "rbf"), ("double", "u"))),
]
PRODUCTS = [
    *(DistanceCovariance(centring=c) for c in ("double", "u")),
    *(HSIC(kernel=k, centring=c) for k, c in product(("linear", "rbf"), ("double", "u"))),
]
UNPAIRED = [CosineAllPairs(), Orthogonality(), NegativeMMD(), NegativeEnergy(), NegativeCorrelation()]
ALL = [*RATIOS, *PRODUCTS, DistanceCorrelation(), PairedCosine(), *UNPAIRED]


@pytest.mark.parametrize("measure", RATIOS, ids=repr)
def test_ratios_are_invariant(measure):
    f, g = dependent()
    rotation = torch.linalg.qr(randn(3, 3, name="q"))[0]
    order = torch.randperm(14, generator=stream(0, "order"))
    value = float(measure(f, g))
    for twin in ((f + 3, g - 2), (f @ rotation, g), (f[order], g[order]), (7 * f, g), (1e-6 * f, 1e-9 * g)):
        assert float(measure(*twin)) == pytest.approx(value, rel=1e-7, abs=1e-9)
    assert abs(float(measure(f[order], g)) - value) > 1e-3
    assert abs(value) <= 1
    small = measure((1e-9 * f).float(), (1e-9 * g).float())
    assert float(small) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("measure", RATIOS, ids=repr)
def test_identical_features_give_one_and_no_gradient(measure):
    f = randn(12, 4)
    assert float(measure(f, f.clone())) == pytest.approx(1, abs=1e-12)
    assert gradient(measure, f, f.clone()).abs().max() < 1e-10
    assert float(measure(f, 2 * f + 1)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("measure", [*RATIOS, *PRODUCTS, DistanceCorrelation()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill", [0.0, 0.1, 1e4])
def test_constant_features_give_zero_without_gradient(measure, dtype, fill):
    constant, g = torch.full((11, 6), fill, dtype=dtype), randn(11, 6, dtype=dtype)
    for f, h in ((constant, g), (g, constant), (constant, constant)):
        assert float(measure(f, h)) == 0
        assert torch.equal(gradient(measure, f, h), torch.zeros_like(f))


def test_collinear_rows_and_equidistant_rows_are_no_noise():
    f = torch.rand(12, 1, generator=stream(0, "scale")) * torch.rand(1, 7, generator=stream(0, "ray")) + 0.0
    g = randn(12, 7, dtype=torch.float32)
    assert float(DistanceCorrelation()(f, g)) == 0
    assert float(U_DCOR(torch.eye(12), g)) == 0
    # A large constant column must not drown the others.
    h = torch.cat([torch.full((12, 1), 1e6), g], 1)
    assert float(U_DCOR(h, g)) == pytest.approx(1, abs=1e-5)


def test_bandwidth_of_mostly_equal_rows_follows_the_scale():
    f, g = randn(12, 5), randn(12, 5, name="y")
    f[:10] = f[0]
    assert float(CKA()(1000 * f, g)) == pytest.approx(float(CKA()(f, g)), rel=1e-9)


@pytest.mark.parametrize("measure", ALL, ids=repr)
def test_gradcheck(measure, monkeypatch):
    # σ is a constant of the gradient: hold it still for the finite differences as well.
    monkeypatch.setattr(gram, "median_bandwidth", lambda distance: torch.tensor(1.7, dtype=distance.dtype))
    f, g = dependent(10, 3, 3)
    assert torch.autograd.gradcheck(measure, (f.requires_grad_(), g.requires_grad_()))
    assert gradient(measure, f.detach(), g.detach()).abs().max() > 1e-6


def test_bandwidth_is_a_constant_of_the_gradient():
    x = randn(9, 3).requires_grad_()
    width = gram.median_bandwidth(torch.cdist(x, x))
    assert not width.requires_grad
    fixed = torch.exp(-torch.cdist(x, x).square() / (2 * width**2))
    weight = randn(9, 9, name="w")
    expected = torch.autograd.grad((weight * fixed).sum(), x)[0]
    actual = torch.autograd.grad((weight * gram.rbf_gram(x)).sum(), x)[0]
    torch.testing.assert_close(actual, expected)


def test_transforms():
    f, g = randn(12, 4), randn(12, 4, name="y")
    order = min(
        (torch.randperm(12, generator=stream(i)) for i in range(20)), key=lambda o: float(U_DCOR(f, g[o]))
    )
    negative = g[order]
    raw = DistanceCorrelation(centring="u")(f, negative)
    assert raw < 0
    clipped = DistanceCorrelation(centring="u", transform="relu")
    assert float(clipped(f, negative)) == 0
    assert gradient(clipped, f, negative).abs().max() == 0
    assert DistanceCorrelation(centring="u", transform="square")(f, negative) == raw**2
    assert clipped(f, f + 0.1 * g) == DistanceCorrelation(centring="u")(f, f + 0.1 * g) > 0


def test_other_bad_input():
    for build in (CKA, HSIC, DistanceCovariance, DistanceCorrelation):
        with pytest.raises(InputError, match=r"^centring=single: double or u"):
            build(centring="single")
    with pytest.raises(InputError, match=r"^transform=abs: none or relu or square"):
        DistanceCorrelation(transform="abs")
    with pytest.raises(InputError, match=r"^kernel=cubic: linear or rbf"):
        CKA(kernel="cubic")
    with pytest.raises(InputError, match=r"not \(5, 3, 2\)"):
        PairedCosine()(randn(5, 3, 2), randn(5, 3, 2))
    with pytest.raises(InputError, match="needs 4 rows or more"):
        unbiased_dcor2(randn(3, 2), randn(3, 2))
    with pytest.raises(FrozenInstanceError):
        CKA().kernel = "linear"


def test_few_rows_are_warned_of():
    with pytest.warns(UserWarning, match="fewer than 10 rows"):
        unbiased_dcor2(randn(9, 2), randn(9, 2, name="y"))
