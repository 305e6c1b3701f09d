"""Fixtures of the stages' tests."""

from conftest_pretraining import runtime

__all__ = ["runtime"]
