"""What tests of whole runs share: a configuration at smoke scale, run in this process in a folder of its
own."""

import copy
import errno
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest_called import called  # noqa: F401 (a fixture)
from conftest_hub import hub  # noqa: F401 (a fixture)
from conftest_suite import Suite
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register


@pytest.fixture(autouse=True)
def no_job_of_hydra(monkeypatch):
    """Start outside any job: the last one's overrides, left in this process, would stand in the rows of the
    next."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


@pytest.fixture
def one_thread():
    """Run on one thread, whose number decides the last bits of a gradient."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def exact_matrix_products():
    """Turn off the device's short mantissas, which differ from the CPU in the third digit."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def unreadable(monkeypatch):
    """Let nobody open a file that is given: whoever runs the tests may be root, who opens all."""
    plain, closed = Path.open, set()

    def opened(self, *given, **named):
        if self in closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return plain(self, *given, **named)

    monkeypatch.setattr(Path, "open", opened)
    return closed.add


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 3 MiB; a smaller one would count as full from the start."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a file system needs privileges")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def composing():
    """Hydra, ready to compose the suite's configuration."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield


@pytest.fixture
def suite(tmp_path, composing, monkeypatch):
    """A suite in a fresh folder; the process gets its threads back."""
    monkeypatch.delenv("MOE_DISTILL_HOME", raising=False)
    threads = torch.get_num_threads()
    yield Suite(tmp_path)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shared_suite(tmp_path_factory, composing):
    """A suite that the tests of a file share, one after the other."""
    threads = torch.get_num_threads()
    yield Suite(Path(tmp_path_factory.mktemp("suite")))
    torch.set_num_threads(threads)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep a file's tests on one worker, whose fixtures they share; of test_smoke.py, an experiment's.

    The marks of ``--dist loadgroup`` would say the same, but pytest-xdist 3.8 cannot hand them on under
    pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path, _, test = nodeid.partition("::")
            return f"{path}[{test.partition('[')[2]}" if path.endswith("test_smoke.py") else path

    return ByFixture(config, log)


@pytest.fixture(scope="module")
def composed(composing):
    """Gives the configuration of a command line, each composed once."""
    known = functools.cache(lambda overrides: compose("config", [*overrides, "paths.output=/nowhere"]))
    return lambda *overrides: copy.deepcopy(known(overrides))
