import importlib
from pathlib import Path

import pytest
from conftest_slurm import slurm
from conftest_sweeping import cluster, sweeping

import moe_distill.sweeps.launchers

__all__ = ["cluster", "slurm", "sweeping"]
PLUGIN_PATH = Path(moe_distill.sweeps.launchers.__file__).parent


@pytest.fixture
def plugin(monkeypatch):
    """The plugin's module, from a checkout or installed."""
    return imported("moe_distill_launcher", monkeypatch)


@pytest.fixture
def slurm_plugin(monkeypatch):
    """The plugin's module for Slurm."""
    return imported("moe_distill_slurm", monkeypatch)


def imported(name, monkeypatch):
    if (PLUGIN_PATH / "hydra_plugins").is_dir():
        monkeypatch.syspath_prepend(str(PLUGIN_PATH))
    return importlib.import_module(f"hydra_plugins.{name}")
