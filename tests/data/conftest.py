"""Where a test of data keeps pictures, and what is cached of them."""

import pytest
from conftest_folders import plant


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "own")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
