"""What tests of whole runs share: a configuration at smoke scale, run in this process in a folder of its own."""

import copy
import functools
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from moe_distill.config import conf_dir, register
from moe_distill.records import merge_rows
from moe_distill.run import run

USUAL = {"scale": "smoke", "logger": "none", "threads": "1", "trainer": "cpu"}


class Suite:
    """Runs command lines below a folder: artifacts in ``store``, tables and pages in ``out``."""

    def __init__(self, home):
        self.home, self.store, self.out = home, home / "store", home / "out"

    def overrides(self, *given):
        """Return a command line: what is given, and the usual for what is not."""
        said = {o.lstrip("+").split("=")[0] for o in given}
        usual = {**USUAL, "paths.store": str(self.store), "paths.output": str(self.out)}
        return [*(f"{k}={v}" for k, v in usual.items() if k not in said), *given]

    def compose(self, *given, **more):
        """Return the configuration of a command line."""
        return compose("config", self.overrides(*given), **more)

    def __call__(self, *given):
        """Run a command line; return its headline number."""
        return run(self.compose(*given))

    def cells(self, *given):
        """Return the command lines of a sweep's jobs as Hydra splits them; one empty line where nothing is swept."""
        sweeper = instantiate(self.compose(*given, return_hydra_config=True).hydra.sweeper)
        parsed = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in (sweeper.params or {}).items()])
        return [list(job) for job in sweeper.split_arguments(parsed, max_batch_size=None)[0]] or [[]]

    def rows(self, folder=None):
        """Return the result rows of a run's folder."""
        from moe_distill.pipelines.rows import COLUMNS

        return merge_rows([(folder or self.out) / "results.csv"], COLUMNS)

    def artifacts(self, kind="*"):
        """Return the folders of finished artifacts."""
        return sorted(m.parent for m in self.store.glob(f"{kind}/*/manifest.json"))


@pytest.fixture(autouse=True)
def no_job_of_hydra(monkeypatch):
    """Start outside any job: the last one's overrides, left in this process, would stand in the rows of the next."""
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

    The marks of ``--dist loadgroup`` would say the same, but pytest-xdist 3.8 cannot hand them on under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path, _, test = nodeid.partition("::")
            return f"{path}[{test.partition('[')[2]}" if path.endswith("test_smoke.py") else path

    return ByFixture(config, log)


@pytest.fixture(scope="module")
def composed():
    """Gives the configuration of a command line, each composed once."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        known = functools.cache(lambda overrides: compose("config", [*overrides, "paths.output=/nowhere"]))
        yield lambda *overrides: copy.deepcopy(known(overrides))
