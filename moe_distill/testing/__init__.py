"""Conformance tests for plug-ins: what every part, recipe and experiment must satisfy.

A plug-in's test file needs one class for each part, which inherits the tests::

    from functools import partial

    from mine import Mine
    from moe_distill.testing import MethodConformance

    class TestMine(MethodConformance):
        method = partial(Mine, iterations=3)

This is the only part of the package that needs pytest.
"""

import pytest

# By default pytest rewrites the assertions of test files only; without this, a failed one here would not show
# its values. Must come before the modules are imported.
pytest.register_assert_rewrite(
    *(f"{__name__}.{kind}" for kind in ("data", "experiments", "measures", "methods", "networks", "recipes"))
)

from moe_distill.testing.data import DataConformance  # noqa: E402
from moe_distill.testing.experiments import ExperimentConformance  # noqa: E402
from moe_distill.testing.measures import MeasureConformance  # noqa: E402
from moe_distill.testing.methods import MethodConformance  # noqa: E402
from moe_distill.testing.networks import NetworkConformance  # noqa: E402
from moe_distill.testing.recipes import RecipeConformance  # noqa: E402

__all__ = [
    "DataConformance",
    "ExperimentConformance",
    "MeasureConformance",
    "MethodConformance",
    "NetworkConformance",
    "RecipeConformance",
]
