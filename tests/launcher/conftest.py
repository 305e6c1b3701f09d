import importlib
from pathlib import Path

import pytest

import moe_distill.launcher

PLUGIN_PATH = Path(moe_distill.launcher.__file__).parent


@pytest.fixture
def plugin(monkeypatch):
    """The plugin's module, from a checkout or installed."""
    if (PLUGIN_PATH / "hydra_plugins").is_dir():
        monkeypatch.syspath_prepend(str(PLUGIN_PATH))
    return importlib.import_module("hydra_plugins.moe_distill_launcher")
