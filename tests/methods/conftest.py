"""Fixtures of the methods' tests."""

from conftest_methods import real, round_of

__all__ = ["real", "round_of"]
