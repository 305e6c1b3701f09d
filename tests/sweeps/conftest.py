import importlib

import pytest
from conftest_slurm import slurm
from conftest_sweeping import cluster, sweeping

__all__ = ["cluster", "slurm", "sweeping"]


@pytest.fixture
def plugin():
    """The plugin's module, from a checkout or installed."""
    return importlib.import_module("hydra_plugins.moe_distill_launcher")


@pytest.fixture
def slurm_plugin():
    """The plugin's module for Slurm."""
    return importlib.import_module("hydra_plugins.moe_distill_slurm")
