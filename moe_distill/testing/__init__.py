"""What every method, network, measure and data set promises, as test classes that one's own parts inherit.

A test file of a plug-in needs one class a part::

    from functools import partial

    from mine import Mine
    from moe_distill.testing import MethodConformance

    class TestMine(MethodConformance):
        method = partial(Mine, iterations=3)

pytest is needed here and nowhere else in the package.
"""

import pytest

# Or a failed assertion would show no values: pytest rewrites those of test files alone.
pytest.register_assert_rewrite(
    *(f"{__name__}.{kind}" for kind in ("data", "measures", "methods", "networks"))
)

from moe_distill.testing.data import DataConformance  # noqa: E402
from moe_distill.testing.measures import MeasureConformance  # noqa: E402
from moe_distill.testing.methods import MethodConformance  # noqa: E402
from moe_distill.testing.networks import NetworkConformance  # noqa: E402

__all__ = ["DataConformance", "MeasureConformance", "MethodConformance", "NetworkConformance"]
