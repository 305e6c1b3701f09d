"""A sweep of the suite at its start, a whole one as a command, and programs in Slurm's place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

import moe_distill
import moe_distill.run
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register

ROOT = Path(moe_distill.__file__).parents[1]
# A job of seconds: two experts of DM on digits, one student.
TINY = (
    *("scale=smoke", "logger=none", "threads=1", "trainer=cpu", "method=dm", "split=5x2"),
    *("students=convnet3", "seeds=1"),
)


def swept(home, *overrides):
    """Run a sweep of tiny jobs as its own command in a folder; return how it ended."""
    env = {name: value for name, value in os.environ.items() if name != "MOE_DISTILL_HOME"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "moe_distill" / "sweeps")])
    command = [sys.executable, "-m", "moe_distill.run", "-m", *TINY, *overrides]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=900)


SBATCH = '#!/bin/sh\ncp "$1" {home}/script; echo "Submitted batch job 7"\n'


@pytest.fixture
def sweeping(tmp_path, slurm_plugin, plugin):
    """Gives a sweep's configuration at its start, and what launches cells of it."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def sweep(*overrides):
            register()  # here, as it also says which warnings not to show
            config = loader.load_configuration(
                "config", ["data=digits", *overrides, f"paths.runs={tmp_path}"], RunMode.MULTIRUN
            )
            options = {k: v for k, v in config.hydra.launcher.items() if k != "_target_"}
            kind = {"submitit_slurm": slurm_plugin.SlurmLauncher, "process": plugin.ProcessLauncher}
            made = kind[config.hydra.runtime.choices["hydra/launcher"]](**options)
            context = HydraContext(config_loader=loader, callbacks=None)
            made.setup(hydra_context=context, task_function=moe_distill.run.main, config=config)
            every = list(config.hydra.overrides.task)
            return config, lambda *cells: made.launch([[*every, cell] for cell in cells], 0)

        yield sweep


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Gives a function that puts an ``sbatch`` where Slurm would be."""

    def install(sbatch):
        programs = tmp_path / "bin"
        programs.mkdir()
        for name, text in {"srun": "#!/bin/sh\n", "sbatch": sbatch.format(home=tmp_path)}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    return install
