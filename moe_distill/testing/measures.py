"""What every diversity measure promises."""

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
    """Return standard normal features, the same for the same name."""
    return torch.randn(*shape, generator=stream(0, name), dtype=dtype)


def gradient(measure: Measure, f_ND: Tensor, g_MD: Tensor) -> Tensor:
    """Return a measure's gradient by its first argument."""
    f_ND = f_ND.clone().requires_grad_()
    return torch.autograd.grad(measure(f_ND, g_MD), f_ND)[0]


class MeasureConformance:
    """What every measure promises: a finite symmetric scalar, lower for more diverse sets, whose gradient
    adds up.

    Attributes:
        measure: The measure.
    """

    measure: ClassVar[Measure]

    @pytest.fixture(autouse=True)
    def quiet(self) -> Iterator[None]:
        """Let nothing warn of the few rows on which measures are tried."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield

    @pytest.fixture
    def tried(self) -> Measure:
        """The measure that is tried; override it to try several with one class."""
        return type(self).measure

    def test_it_is_a_finite_symmetric_scalar(self, tried: Measure) -> None:
        """In value and in gradient, for independent, dependent and rectified features."""
        f, g = (features(20, 6, name=name, dtype=torch.float32) for name in "xy")
        for a, b in ((f, g), (f, f + 0.5 * g), (f.relu(), g.relu())):
            value = tried(a, b)
            assert value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)
            torch.testing.assert_close(value, tried(b, a), rtol=1e-5, atol=1e-6)
            second = b.clone().requires_grad_()
            turned = torch.autograd.grad(tried(a, second), second)[0]
            torch.testing.assert_close(gradient(tried, b, a), turned, atol=1e-6, rtol=1e-4)
            assert gradient(tried, a, b).isfinite().all()

    def test_it_is_lower_for_independent_than_for_identical_features(self, tried: Measure) -> None:
        """Lower means more diverse."""
        f, g = (features(20, 6, name=name, dtype=torch.float32) for name in "xy")
        assert tried(f, g) < tried(f, f.clone()) - 1e-3

    def test_a_diverged_set_is_not_hidden(self, tried: Measure) -> None:
        """A feature that is no number makes the measure none."""
        f, g = features(12, 5), features(12, 5, name="y")
        f[3, 2] = float("nan")
        assert math.isnan(tried(f, g))

    def test_duplicate_and_dead_rows_keep_the_gradient_finite(self, tried: Measure) -> None:
        """And small: equal images and images without any feature occur early in distilling."""
        f, g = (features(12, 5, name=name, dtype=torch.float32) for name in "xy")
        f[:4] = f[0]
        g[5] = 0
        for a, b in ((f, g), (g, f), (f, f.clone())):
            slope = gradient(tried, a, b)
            assert slope.isfinite().all() and slope.abs().max() < 100
        mostly = f.clone()
        mostly[:11] = f[0]  # the median distance is 0
        assert torch.isfinite(tried(mostly, g)) and gradient(tried, mostly, g).isfinite().all()

    def test_detached_peers_give_the_gradient_of_the_full_pair_sum(self, tried: Measure) -> None:
        """So each expert can differentiate its own side alone."""
        shared = features(11, 4, name="shared")
        sets = [(shared + 0.5 * features(11, 4, name=str(i))).requires_grad_() for i in range(3)]
        pairs = torch.stack([tried(a, b) for a, b in combinations(sets, 2)])
        whole = torch.autograd.grad(pairs.sum(), sets)
        for i, mine in enumerate(sets):
            alone = torch.stack([tried(mine, peer.detach()) for j, peer in enumerate(sets) if j != i]).sum()
            torch.testing.assert_close(torch.autograd.grad(alone, mine)[0], whole[i])

    def test_half_precision_is_computed_in_single(self, tried: Measure) -> None:
        """Also under autocast, as distances cancel."""
        f = features(12, 8)
        g = (0.7 * f @ features(8, 8, name="map") + 0.5 * features(12, 8, name="noise")).bfloat16()
        f = f.bfloat16()
        expected = tried(f.double(), g.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, mixed = tried(f, g), tried(f.float(), g.float())
        assert value.dtype == torch.float32 and torch.equal(value, mixed)
        torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-5)

    def test_too_few_rows_are_refused(self, tried: Measure) -> None:
        """With as many as it says are the least it works."""
        least = tried.least_rows
        assert torch.isfinite(tried(features(least, 3), features(least, 3, name="y")))
        with pytest.raises(
            InputError, match=rf"diversity\.measure={tried.title}: needs {least} rows or more"
        ):
            tried(features(least - 1, 3), features(least - 1, 3, name="y"))

    def test_unequal_rows_are_for_measures_that_pair_none(self, tried: Measure) -> None:
        """A paired measure refuses them."""
        f, g = features(9, 3), features(12, 3, name="y")
        if tried.paired:
            with pytest.raises(InputError, match="got 9 and 12"):
                tried(f, g)
        else:
            assert torch.isfinite(tried(f, g))
