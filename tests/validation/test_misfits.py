"""What a value must be instead, in words."""

import math

import pytest

from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import Count


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (0, "a whole number of at least 1"),
        (math.nan, "a whole number of at least 1"),
        (2**31, "a whole number of at least 1 and at most 2147483647"),
    ],
)
def test_a_limit_of_the_machine_is_named_to_those_alone_who_exceed_it(value, allowed):
    assert misfit(Count, value)[2] == allowed
