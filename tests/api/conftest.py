"""The Python front door in a folder of its own."""

import pytest
import torch

import moe_distill as md

USUAL = {"scale": "smoke", "threads": 1, "trainer": "cpu", "progress": False}


@pytest.fixture(scope="module")
def digits():
    """The training and the test images of scikit-learn's digits."""
    return md.load_dataset("digits")


@pytest.fixture
def usual(tmp_path, monkeypatch):
    """What the calls of a test have in common: the smallest scale, and a store of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOE_DISTILL_HOME", raising=False)
    threads = torch.get_num_threads()
    yield {**USUAL, "store": str(tmp_path / "store")}
    assert torch.get_num_threads() == threads
