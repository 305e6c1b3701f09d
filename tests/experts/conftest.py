"""Fixtures of the experts' tests."""

from conftest_mixture import real, run

__all__ = ["real", "run"]
