"""Fixtures of the experts' tests."""

from conftest_mixture import real, run
from conftest_toys import published

__all__ = ["published", "real", "run"]
