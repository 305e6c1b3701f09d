"""Distances of gradients against published numbers and naive float64 loops."""

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_distill.methods.matching import distances
from moe_distill.seeding import stream

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "dc.npz")
ALL = ["sum_squares", "sum_absolute", "row_mean_absolute", "row_cosine", "layerwise_cosine", "whole_cosine"]
SHAPES = [(4, 3, 3, 3), (4,), (6, 2, 2), (5, 24), (5,)]


def published_pair():
    """Return DC's two lists of nine tensors in float64."""
    shapes = [tuple(map(int, s.split("x"))) for s in GOLDEN["dc_shapes"]]
    sides = []
    for side in ("real", "syn"):
        flat = torch.from_numpy(GOLDEN[f"dc_grad_{side}_flat"]).double()
        parts = flat.split([math.prod(s) for s in shapes])
        sides.append([p.reshape(s) for p, s in zip(parts, shapes, strict=True)])
    return sides


def random_pair(zero_row=False):
    rng = stream(0, "distances")
    real, synthetic = ([torch.randn(s, generator=rng, dtype=torch.float64) for s in SHAPES] for _ in range(2))
    if zero_row:
        synthetic[0][1] = 0
    return real, synthetic


@pytest.mark.parametrize(
    "name, key", [("layerwise_cosine", "ours"), ("sum_squares", "mse"), ("whole_cosine", "cos")]
)
def test_dc_distances_are_the_published_ones(name, key):
    found = getattr(distances, name)(*published_pair())
    np.testing.assert_allclose(found.item(), GOLDEN[f"dc_{key}_f64"], rtol=1e-9)


def test_each_tensor_adds_its_published_part_to_dc_and_flat_ones_nothing():
    real, synthetic = published_pair()
    parts = GOLDEN["dc_ours_per_tensor_f64"]
    assert (parts == 0).any()
    for r, s, part in zip(real, synthetic, parts, strict=True):
        anchored = distances.layerwise_cosine([real[0], r], [synthetic[0], s])
        np.testing.assert_allclose(anchored.item() - parts[0], part, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize(
    "name, key",
    [("sum_squares", "mse"), ("sum_absolute", "l1"), ("row_mean_absolute", "l1_mean"), ("row_cosine", "cos")],
)
def test_idc_distances_are_the_published_ones(name, key, case):
    real, synthetic = ([torch.from_numpy(GOLDEN[f"dist.{side}{case}"])] for side in "xy")
    found = getattr(distances, name)(real, synthetic)
    np.testing.assert_allclose(found.item(), GOLDEN[f"dist.{key}.{case}"], rtol=1e-5)


def naive_row_cosine(r, s):
    dot, rr, ss = (sum(a * b for a, b in zip(x, y, strict=True)) for x, y in ((r, s), (r, r), (s, s)))
    return 1 - dot / (math.sqrt(rr) * math.sqrt(ss) + 1e-6)


def naive(name, real, synthetic):
    """Return a distance by loops over plain numbers."""
    pairs = [(r.flatten().tolist(), s.flatten().tolist()) for r, s in zip(real, synthetic, strict=True)]
    rows = []
    for (r, s), tensor in zip(pairs, real, strict=True):
        length = len(r) // tensor.shape[0]
        cut = [(r[i : i + length], s[i : i + length], tensor.dim()) for i in range(0, len(r), length)]
        rows += cut
    whole = [list(chain(*side)) for side in zip(*pairs, strict=True)]
    return {
        "sum_squares": lambda: sum((a - b) ** 2 for a, b in zip(*whole, strict=True)),
        "sum_absolute": lambda: sum(abs(a - b) for a, b in zip(*whole, strict=True)),
        "row_mean_absolute": lambda: sum(
            sum(abs(a - b) for a, b in zip(r, s, strict=True)) / len(r) for r, s, _ in rows
        ),
        "row_cosine": lambda: sum(naive_row_cosine(r, s) for r, s, _ in rows),
        "layerwise_cosine": lambda: sum(naive_row_cosine(r, s) for r, s, dim in rows if dim > 1),
        "whole_cosine": lambda: naive_row_cosine(*whole),
    }[name]()


@pytest.mark.parametrize("zero_row", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_distances_of_several_tensors_are_plain_sums(name, zero_row):
    real, synthetic = random_pair(zero_row)
    found = getattr(distances, name)(real, synthetic)
    assert found.shape == ()
    np.testing.assert_allclose(found.item(), naive(name, real, synthetic), rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_distances_have_the_gradient_of_finite_differences(name):
    real, synthetic = random_pair()
    distance = getattr(distances, name)
    given = [s.requires_grad_() for s in synthetic]
    assert torch.autograd.gradcheck(lambda *s: distance(real, s), given)


@pytest.mark.parametrize("name", ["row_cosine", "layerwise_cosine", "whole_cosine"])
def test_the_gradient_is_finite_where_both_sides_vanish(name):
    real = [torch.zeros(2, 3, dtype=torch.float64)]
    synthetic = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    getattr(distances, name)(real, [synthetic]).backward()
    assert synthetic.grad.abs().max() == 0


@pytest.mark.parametrize("name", ["sum_squares", "row_cosine"])
def test_lists_of_different_networks_are_refused(name):
    real, synthetic = random_pair()
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        getattr(distances, name)(real, synthetic[:-1])
