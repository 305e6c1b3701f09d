"""Imports what a job imports: the process that starts jobs loads this module once, and forks every job from
it.

Nothing here computes, and nothing is imported that starts threads (polars does): a fork copies none of them,
and the locks they hold would never open in a job.
"""

import atexit
import contextlib
import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from PIL import Image

import moe_distill
from moe_distill.config.schema import conf_dir, register
from moe_distill.sweeps.launchers.warm import NOTE

# What jobs import only when they come to need it.
_LATER = ("matplotlib.backends.backend_svg", "scipy.stats", "sklearn.datasets.data", "torch._dynamo", "wandb")
# What no job imports: commands, which a job runs itself, and the tests for plug-ins, which need pytest.
_LEFT_OUT = ("__main__", "report", "run", "status", "testing")


def _names() -> Iterator[str]:
    """Yield the modules of all rooms, each once those before it are imported, and what they import later."""
    for module in pkgutil.walk_packages(moe_distill.__path__, "moe_distill."):
        if module.name.split(".")[1] not in _LEFT_OUT:
            yield module.name
    yield from _LATER


def _import_all() -> None:
    sweep = os.getppid()
    for name in _names():
        if os.getppid() != sweep:  # it was stopped meanwhile
            sys.exit()
        importlib.import_module(name)
    Image.init()
    register()
    # Hydra looks for plugins, and its parser builds its tables, when a first configuration is composed.
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        compose("config", ["seed=0"], return_hydra_config=True)


try:
    _import_all()
finally:  # what could not be imported a job imports itself, and says why it cannot
    gc.freeze()  # the collector would write to every object, and each job would get a copy of all pages
    atexit.register(gc.unfreeze)  # or libraries report what is left as leaks
    with contextlib.suppress(OSError):  # nobody waits any more
        Path(os.environ[NOTE]).touch()
