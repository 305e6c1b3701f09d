"""Fixtures of the tests of a run's context."""

from conftest_pretraining import runtime

__all__ = ["runtime"]
