"""What is told of a set whose images are averaged is told of the average, which is what students see."""

import functools

import pytest
import torch
from test_page import a_set

from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.pipelines.distill import mean_dependence
from moe_distill.reports.gallery import set_picture
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet


def test_the_picture_is_of_the_average_where_that_is_evaluated():
    one, other = a_set(0), a_set(1)
    averaged = SyntheticSet(one.images.detach(), one.provenance, average=other.images.detach())
    assert set_picture(averaged).tobytes() == set_picture(other).tobytes() != set_picture(one).tobytes()


def test_the_dependence_of_averaged_sets_is_that_of_the_averages():
    p = Provenance("toys", "v", "f" * 64, ("a", "b"), (0.5,), (0.2,), "ftd", 0, 8)
    drawn = [torch.randn(16, 1, 8, 8, generator=stream(i, "drawn")) for i in range(3)]
    network = build(
        functools.partial(ConvNet, depth=2, width=0.25), channels=1, classes=2, size=8, rng=stream(0, "phi")
    )
    alike = SyntheticSet.union([SyntheticSet(x, p, average=drawn[2]) for x in drawn[:2]])
    apart = SyntheticSet.union([SyntheticSet(drawn[2], p, average=x) for x in drawn[:2]])
    assert mean_dependence(alike, [network]) == pytest.approx(1.0, abs=1e-4)
    assert mean_dependence(apart, [network]) < 0.5
