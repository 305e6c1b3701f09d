"""Imports everything that a job imports: the fork server loads this module once and forks every job.

Nothing here computes, and nothing is imported that starts threads (polars does): a fork copies no threads,
and the locks that they hold would never open in a job.
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
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.sweeps.launchers.warm import NOTE

# Modules that the package imports only inside functions.
_LATER = ("matplotlib.backends.backend_svg", "scipy.stats", "sklearn.datasets.data", "torch._dynamo")
# And not wandb: it makes a folder for pictures when it is imported, which the first job to end would remove.
# Not imported: the commands, which a job runs as __main__, and the tests for plug-ins, which need pytest.
_LEFT_OUT = ("__main__", "report", "run", "status", "testing")


def _names() -> Iterator[str]:
    """Yield the names of all modules of the package, then of libraries that they import later."""
    for module in pkgutil.walk_packages(moe_distill.__path__, "moe_distill."):
        if module.name.split(".")[1] not in _LEFT_OUT:
            yield module.name
    yield from _LATER


def _import_all() -> None:
    sweep = os.getppid()
    for name in _names():
        if os.getppid() != sweep:  # the sweep has ended, and this process has a new parent
            sys.exit()
        importlib.import_module(name)
    Image.init()
    register()
    # The first composition is slow: Hydra searches for plugins, and its parser builds its tables.
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        compose("config", ["seed=0"], return_hydra_config=True)


@contextlib.contextmanager
def _without_arrow() -> Iterator[None]:
    """Keep pyarrow out, which starts a thread: where there is pandas, scikit-learn imports both."""
    name = "pyarrow"
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if sys.modules[name] is None:
            del sys.modules[name]


try:
    with _without_arrow():
        _import_all()
finally:  # also after an ImportError: the job imports that module itself and reports the error
    gc.freeze()  # the collector would write to every object, and so copy all memory pages into each job
    atexit.register(gc.unfreeze)  # otherwise libraries report the frozen objects as leaks
    with contextlib.suppress(OSError):  # the sweep has ended, and its folder is gone
        Path(os.environ[NOTE]).touch()
