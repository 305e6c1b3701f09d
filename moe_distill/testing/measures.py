"""Conformance tests for measures of diversity."""

import math
import warnings
from collections.abc import Iterator
from itertools import combinations
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from moe_distill.diversity.measures import Measure
from moe_distill.errors import InputError
from moe_distill.seeding import stream


def features(*shape: int, name: str = "x", dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal features, the same for the same name.

    Example:
        >>> torch.equal(features(4, 2), features(4, 2)), torch.equal(features(4, 2), features(4, 2, name="y"))
        (True, False)
    """
    return torch.randn(*shape, generator=stream(0, name), dtype=dtype)


def gradient(measure: Measure, f_ND: Tensor, g_MD: Tensor) -> Tensor:
    """Return a measure's gradient with respect to its first argument, of shape (N, D)."""
    f_ND = f_ND.clone().requires_grad_()
    return torch.autograd.grad(measure(f_ND, g_MD), f_ND)[0]


class MeasureConformance:
    """What every measure must satisfy: a finite symmetric scalar, lower for more diverse sets.

    Attributes:
        measure: The measure under test.
    """

    measure: ClassVar[Measure]

    @pytest.fixture(autouse=True)
    def quiet(self) -> Iterator[None]:
        """Suppress warnings about the small number of rows used here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield

    @pytest.fixture
    def tried(self) -> Measure:
        """The measure; override it to test several measures with one class."""
        return type(self).measure

    def test_it_is_a_finite_symmetric_scalar(self, tried: Measure) -> None:
        """Value and gradient are symmetric for independent, dependent and rectified features."""
        f, g = (features(20, 6, name=name, dtype=torch.float32) for name in "xy")
        # Rectified features have ties and zeros, as those after a ReLU.
        for a, b in ((f, g), (f, f + 0.5 * g), (f.relu(), g.relu())):
            value = tried(a, b)
            assert value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)
            torch.testing.assert_close(value, tried(b, a), rtol=1e-5, atol=1e-6)
            second = b.clone().requires_grad_()
            by_second = torch.autograd.grad(tried(a, second), second)[0]
            torch.testing.assert_close(gradient(tried, b, a), by_second, atol=1e-6, rtol=1e-4)
            assert gradient(tried, a, b).isfinite().all()

    def test_it_is_lower_for_independent_than_for_identical_features(self, tried: Measure) -> None:
        """A lower value means more diverse features."""
        f, g = (features(20, 6, name=name, dtype=torch.float32) for name in "xy")
        # By a margin, so that rounding cannot decide it.
        assert tried(f, g) < tried(f, f.clone()) - 1e-3

    def test_a_diverged_set_is_not_hidden(self, tried: Measure) -> None:
        """A NaN feature makes the measure NaN, so that a diverged distillation is noticed."""
        f, g = features(12, 5), features(12, 5, name="y")
        f[3, 2] = float("nan")
        assert math.isnan(tried(f, g))

    def test_duplicate_and_dead_rows_keep_the_gradient_finite(self, tried: Measure) -> None:
        """The gradient also stays small: equal or featureless images occur early in distilling."""
        f, g = (features(12, 5, name=name, dtype=torch.float32) for name in "xy")
        f[:4] = f[0]
        g[5] = 0
        for a, b in ((f, g), (g, f), (f, f.clone())):
            grad_ND = gradient(tried, a, b)
            assert grad_ND.isfinite().all() and grad_ND.abs().max() < 100
        mostly_equal = f.clone()
        mostly_equal[:11] = f[0]  # the median distance is 0, by which kernels divide
        assert torch.isfinite(tried(mostly_equal, g))
        assert gradient(tried, mostly_equal, g).isfinite().all()

    def test_detached_peers_give_the_gradient_of_the_full_pair_sum(self, tried: Measure) -> None:
        """Each expert can therefore differentiate with respect to its own features only."""
        # Sets that depend on one another, or the gradients would be close to zero.
        shared = features(11, 4, name="shared")
        sets = [(shared + 0.5 * features(11, 4, name=str(i))).requires_grad_() for i in range(3)]
        pairs = torch.stack([tried(a, b) for a, b in combinations(sets, 2)])
        whole = torch.autograd.grad(pairs.sum(), sets)
        for i, mine in enumerate(sets):
            alone = torch.stack([tried(mine, peer.detach()) for j, peer in enumerate(sets) if j != i]).sum()
            torch.testing.assert_close(torch.autograd.grad(alone, mine)[0], whole[i])

    def test_half_precision_is_computed_in_single(self, tried: Measure) -> None:
        """Also under autocast: differences of distances lose too many digits in half precision."""
        f = features(12, 8)
        g = (0.7 * f @ features(8, 8, name="map") + 0.5 * features(12, 8, name="noise")).bfloat16()
        f = f.bfloat16()
        expected = tried(f.double(), g.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, mixed = tried(f, g), tried(f.float(), g.float())
        assert value.dtype == torch.float32 and torch.equal(value, mixed)
        torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-5)

    def test_too_few_rows_are_refused(self, tried: Measure) -> None:
        """The measure works with ``least_rows`` rows and refuses fewer."""
        least = tried.least_rows
        assert torch.isfinite(tried(features(least, 3), features(least, 3, name="y")))
        with pytest.raises(
            InputError, match=rf"diversity\.measure={tried.title}: needs {least} rows or more"
        ):
            tried(features(least - 1, 3), features(least - 1, 3, name="y"))

    def test_unequal_rows_are_for_measures_that_pair_none(self, tried: Measure) -> None:
        """A paired measure refuses unequal numbers of rows."""
        f, g = features(9, 3), features(12, 3, name="y")
        if tried.paired:
            with pytest.raises(InputError, match="got 9 and 12"):
                tried(f, g)
        else:
            assert torch.isfinite(tried(f, g))
