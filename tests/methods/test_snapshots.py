"""Snapshots as networks: which are drawn, against their law, and that they are the recorded ones."""

import math

import numpy as np
import pytest
import torch
from conftest_tgdd import Recorded, array, network_of
from torch.nn.utils import parameters_to_vector

from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.teachers.snapshots import SnapshotSource, draw_epochs


def test_epochs_are_drawn_by_the_published_law():
    epochs, window, n = 60, 7, 100_000
    rng = stream(0, "times")
    drawn = [draw_epochs(rng, 5, epochs, window) for _ in range(n)]
    gaps = np.array([t.constraint - t.matching for t in drawn])
    # Of j = 0, …, E, each equally likely, the constraint has min(window, E - j + 1) epochs to lie in.
    widths = np.array([min(window, epochs - j + 1) for j in range(epochs + 1)])
    law = {
        "same": (gaps == 0, (1 / widths).mean()),
        "gap": (gaps, ((widths - 1) / 2).mean()),
    }
    assert law["same"][1] == pytest.approx(0.16897, abs=1e-5)
    assert law["gap"][1] == pytest.approx(2.8279, abs=1e-4)
    for values, expected in law.values():
        assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(n)
    assert {t.teacher for t in drawn} == {*range(5)} and {t.matching for t in drawn} == {*range(61)}


@pytest.mark.parametrize(("window", "gaps"), [(1, {0}), (4, {0, 1, 2, 3})])
def test_the_window_bounds_the_gap(window, gaps):
    rng = stream(0, "times")
    drawn = [draw_epochs(rng, 1, 3, window) for _ in range(400)]
    assert {t.constraint - t.matching for t in drawn} == gaps


def test_a_window_of_more_epochs_than_there_are_is_refused():
    with pytest.raises(InputError, match=r"^window=5: at most 4, the snapshots of 3 epochs"):
        SnapshotSource("snapshot", 3, 5)


def test_interpolated_weights_lie_between_the_first_and_the_last():
    source = SnapshotSource("interpolate", 3, 1)
    source.use([network_of(array("step.snapshot.0.0"), 16, 3) for _ in range(2)])
    ends = [[Recorded().snapshot(teacher, epoch) for epoch in (0, 3)] for teacher in range(2)]
    rng, weights = stream(0, "x"), []
    for _ in range(300):
        matching, constraint = (parameters_to_vector(n.parameters()) for n in source.draw(Recorded(), rng))
        ((first, last),) = (pair for pair in ends if torch.allclose(pair[1], constraint))
        span = first - last
        weights.append(float((matching - last) @ span / (span @ span)))
        torch.testing.assert_close(matching, weights[-1] * first + (1 - weights[-1]) * last)
        assert not matching.requires_grad and not constraint.requires_grad
    # Uniform from 0 to 1: the mean's standard error is 1/√(12 n).
    assert 0 <= min(weights) < 0.05 and 0.95 < max(weights) < 1
    assert abs(np.mean(weights) - 0.5) < 4 / math.sqrt(12 * len(weights))


def test_equal_epochs_are_one_network():
    source = SnapshotSource("snapshot", 3, 1)
    source.use([network_of(array("step.snapshot.0.0"), 16, 3) for _ in range(2)])
    matching, constraint = source.draw(Recorded(), stream(0, "x"))
    assert matching is constraint
