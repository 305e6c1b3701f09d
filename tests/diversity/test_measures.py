"""Values of the diversity measures against double loops in float64, golden arrays and values of the library
dcor."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
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

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden/dcor_clom.npz"))
LIBRARY = dict(np.load(Path(__file__).parents[1] / "golden/dcor_library.npz"))
CASES = sorted({key.split("/")[1] for key in GOLDEN if key.startswith("dcor/")})

B_DCOR = DistanceCorrelation(l2norm=False)
U_DCOR = DistanceCorrelation(centring="u", l2norm=False)


def loop_distances(x):
    return [[math.sqrt(sum((a - b) ** 2 for a, b in zip(r, s, strict=True))) for s in x] for r in x]


def loop_gram(x, kernel):
    x = x.tolist()
    if kernel == "linear":
        return [[sum(a * b for a, b in zip(r, s, strict=True)) for s in x] for r in x]
    d = loop_distances(x)
    if kernel == "distance":
        return d
    sigma = np.median([d[i][j] for i, j in combinations(range(len(x)), 2)])
    return [[math.exp(-(v**2) / (2 * sigma**2)) for v in row] for row in d]


def loop_hsic(k, m, centring):
    """tr(KHLH)/n² as double and quadruple sums; the unbiased one by Song et al.'s traces of hollow
    matrices."""
    n, idx = len(k), range(len(k))
    if centring == "double":
        total = sum(k[i][j] * m[i][j] for i in idx for j in idx) / n**2
        mixed = sum(sum(k[i]) * sum(m[i]) for i in idx) / n**3
        return total + sum(map(sum, k)) * sum(map(sum, m)) / n**4 - 2 * mixed
    k = [[0.0 if i == j else k[i][j] for j in idx] for i in idx]
    m = [[0.0 if i == j else m[i][j] for j in idx] for i in idx]
    trace = sum(k[i][j] * m[j][i] for i in idx for j in idx)
    sums = sum(map(sum, k)) * sum(map(sum, m)) / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * sum(k[i][j] * m[j][t] for i in idx for j in idx for t in idx)
    return (trace + sums - mixed) / (n * (n - 3))


def loop_cosine(r, s):
    dot = sum(a * b for a, b in zip(r, s, strict=True))
    return dot / math.sqrt(sum(a * a for a in r)) / math.sqrt(sum(b * b for b in s))


def loop_discrepancy(gram, n):
    first, last = range(n), range(n, len(gram))
    mean = lambda rows, cols: sum(gram[i][j] for i in rows for j in cols) / (len(rows) * len(cols))  # noqa: E731
    return mean(first, first) + mean(last, last) - 2 * mean(first, last)


@pytest.mark.parametrize("n", [4, 5, 12])
@pytest.mark.parametrize("centring", ["double", "u"])
@pytest.mark.parametrize("kernel", ["distance", "linear", "rbf"])
@pytest.mark.filterwarnings("ignore:a U-centred")
def test_alignments_against_loops(kernel, centring, n):
    f, g = dependent(n)
    k, m = loop_gram(f, kernel), loop_gram(g, kernel)
    covariance = loop_hsic(k, m, centring)
    ratio = covariance / math.sqrt(loop_hsic(k, k, centring) * loop_hsic(m, m, centring))
    if kernel == "distance":
        pair = DistanceCovariance(centring=centring), DistanceCorrelation(centring=centring, l2norm=False)
    else:
        pair = HSIC(kernel=kernel, centring=centring), CKA(kernel=kernel, centring=centring)
    assert float(pair[0](f, g)) == pytest.approx(covariance, rel=1e-9, abs=1e-13)
    assert float(pair[1](f, g)) == pytest.approx(ratio, rel=1e-9, abs=1e-12)


def test_cosines_against_loops():
    f, g = dependent(7, 4, 4)
    short = g[:5]
    paired = sum(loop_cosine(r, s) ** 2 for r, s in zip(f.tolist(), g.tolist(), strict=True)) / 7
    pairs = [loop_cosine(r, s) for r in f.tolist() for s in short.tolist()]
    assert float(PairedCosine()(f, g)) == pytest.approx(paired, rel=1e-12)
    assert float(CosineAllPairs()(f, short)) == pytest.approx(sum(pairs) / 35, rel=1e-12)
    assert float(Orthogonality()(f, short)) == pytest.approx(sum(c * c for c in pairs) / 35, rel=1e-12)


@pytest.mark.parametrize("n, m", [(7, 5), (6, 6), (1, 4), (1, 1)])
def test_discrepancies_against_loops(n, m):
    f, g = randn(n, 3), randn(m, 3, name="y") + 0.5
    pooled = torch.cat([f, g])
    assert float(NegativeMMD()(f, g)) == pytest.approx(
        -loop_discrepancy(loop_gram(pooled, "rbf"), n), rel=1e-10
    )
    energy = loop_discrepancy(loop_gram(pooled, "distance"), n)
    assert float(NegativeEnergy()(f, g)) == pytest.approx(energy, rel=1e-10)
    assert float(NegativeEnergy()(f, g)) < 0 > float(NegativeMMD()(f, g))


def test_energy_against_the_library():
    f, g = (torch.from_numpy(LIBRARY[f"n9_m6_p4/{side}"]) for side in "XY")
    assert float(NegativeEnergy()(f, g)) == pytest.approx(-LIBRARY["n9_m6_p4/energy_distance"], rel=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    x, y = (torch.from_numpy(GOLDEN[f"dcor/{case}/{side}"]) for side in "XY")
    checks = {}
    for letter, centring in (("b", "double"), ("u", "u")):
        covariance = DistanceCovariance(centring=centring)
        checks[f"dcor/{case}/{letter}_dcov2"] = covariance(x, y)
        checks[f"dcor/{case}/{letter}_dvarx2"] = covariance(x, x)
        checks[f"dcor/{case}/{letter}_dvary2"] = covariance(y, y)
        checks[f"dcor/{case}/{letter}_dcor2"] = DistanceCorrelation(centring=centring, l2norm=False)(x, y)
    checks[f"cka/{case}/linear"] = CKA(kernel="linear")(x, y)
    checks[f"cka/{case}/linear_debiased"] = CKA(kernel="linear", centring="u")(x, y)
    checks[f"cka/{case}/rbf"] = CKA(kernel="rbf")(x, y)
    for kernel in ("linear", "rbf"):
        checks[f"hsic/{case}/{kernel}_biased_n2"] = HSIC(kernel=kernel)(x, y)
        checks[f"hsic/{case}/{kernel}_unbiased"] = HSIC(kernel=kernel, centring="u")(x, y)
    for side, f in (("x", x), ("y", y)):
        width = gram.median_bandwidth(-2 * gram.distance_gram(f))
        checks[f"hsic/{case}/rbf_sigma_{side}"] = width
    known = {key: float(value) for key, value in checks.items() if key in GOLDEN}
    assert len(known) >= (8 if case == "n10_constX" else 17)
    for key, value in known.items():
        assert value == pytest.approx(float(GOLDEN[key]), rel=1e-8, abs=1e-15), key


def test_golden_centred_matrices():
    case = "dcor/n10_p3_q5_lin"
    for side, letter in (("X", "A"), ("Y", "B")):
        distance = -2 * gram.distance_gram(torch.from_numpy(GOLDEN[f"{case}/{side}"]))
        np.testing.assert_allclose(
            gram.double_centre(distance), GOLDEN[f"{case}/{letter}_double"], atol=1e-12
        )
        np.testing.assert_allclose(gram.u_centre(distance), GOLDEN[f"{case}/{letter}_ucent"], atol=1e-12)


@pytest.mark.parametrize("case", ["n10_p1_q1", "n23_p4_q2", "n50_p64_q64"])
def test_against_the_library(case):
    f, g = (torch.from_numpy(LIBRARY[f"{case}/{side}"]) for side in "XY")
    assert float(B_DCOR(f, g)) == pytest.approx(LIBRARY[f"{case}/b_dcor2"], rel=1e-10)
    assert float(U_DCOR(f, g)) == pytest.approx(LIBRARY[f"{case}/u_dcor2"], rel=1e-9)
    assert float(unbiased_dcor2(f, g)) == float(U_DCOR(f, g))
    assert float(DistanceCovariance()(f, g)) == pytest.approx(LIBRARY[f"{case}/b_dcov2"], rel=1e-10)
    if f.shape[1] > 1:
        assert float(DistanceCorrelation()(f, g)) == pytest.approx(
            LIBRARY[f"{case}/b_dcor2_of_unit_rows"], rel=1e-10
        )


def test_saturation_of_the_biased_estimator():
    """Independent noise at n = 50: the published levels are .538/-.043 (p = 16) and .976/-.006 (p = 512)."""
    for p, biased, slack in ((16, 0.538, 0.06), (512, 0.976, 0.006)):
        f, g = randn(50, p), randn(50, p, name="y")
        assert float(B_DCOR(f, g)) == pytest.approx(biased, abs=slack)
        assert abs(float(U_DCOR(f, g))) < 0.1
    # Shared class means in class order: dependent in truth, and only the corrected estimator tells the two
    # apart.
    means = randn(10, 512, name="means").repeat_interleave(5, 0)
    f, g = means + 0.3 * f, means + 0.3 * g
    assert float(U_DCOR(f, g)) > 0.9


@pytest.mark.parametrize("experts", [2, 3, 5])
def test_negative_correlation_of_all_pairs_is_the_penalty_of_the_ensemble(experts):
    sets = [randn(4 + i, 3, name=f"set {i}") + i for i in range(experts)]
    means = [[sum(column) / len(f) for column in zip(*f.tolist(), strict=True)] for f in sets]
    centre = [sum(column) / experts for column in zip(*means, strict=True)]
    apart = [[m - c for m, c in zip(mean, centre, strict=True)] for mean in means]
    penalty = sum(
        sum(a * b for a, b in zip(apart[i], apart[j], strict=True))
        for i in range(experts)
        for j in range(experts)
        if j != i
    )
    pairs = [float(NegativeCorrelation()(sets[i], sets[j])) for i in range(experts) for j in range(i)]
    assert sum(pairs) == pytest.approx(experts / 2 * penalty, rel=1e-12)
