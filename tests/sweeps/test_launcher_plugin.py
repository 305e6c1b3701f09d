import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus
from hydra.errors import CompactHydraException, ConfigCompositionException
from hydra.types import HydraContext, RunMode

from moe_distill.errors import InputError
from moe_distill.results.attempts import attempt

CONFIG = """
x: 0
hydra: {sweep: {dir: "SWEEP", subdir: "x${x}-${hydra:job.num}"}}
"""


@pytest.fixture
def composed(tmp_path, plugin):
    """Composer of a sweep's own configuration in tmp_path, and its context."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "config.yaml").write_text(CONFIG.replace("SWEEP", str(tmp_path / "it's = a, sweep")))
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def compose(*overrides):
            return loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)

        yield compose, HydraContext(config_loader=loader, callbacks=None)


def launcher(plugin, composed, *overrides, module="no_such_module"):
    compose, context = composed
    made = plugin.ProcessLauncher(n_jobs=1, gpus=None, module=module, warm=False)
    made.setup(
        hydra_context=context, task_function=launcher, config=compose("hydra/launcher=process", *overrides)
    )
    return made


def test_the_options_are_a_config_group(plugin, composed):
    compose, _ = composed
    node = compose("hydra/launcher=process", "hydra.launcher.gpus='0,1;2,3'").hydra.launcher
    assert node == {
        "_target_": "hydra_plugins.moe_distill_launcher.ProcessLauncher",
        "n_jobs": 1,
        "gpus": "0,1;2,3",
        "module": None,
        "warm": True,
    }


def test_a_mistake_in_any_cell_comes_before_the_first_job(tmp_path, plugin, composed):
    with pytest.raises(ConfigCompositionException, match="nokey"):
        launcher(plugin, composed).launch([["x=1"], ["nokey=2"]], 0)
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_two_jobs_never_share_a_folder(tmp_path, plugin, composed):
    with pytest.raises(InputError, match=r"x1: a folder for each job; .*\(x=1\) and \(x=1\)") as caught:
        launcher(plugin, composed, "hydra.sweep.subdir='x${x}'").launch([["x=1"], ["x=2"], ["x=1"]], 0)
    assert isinstance(caught.value, CompactHydraException)  # Hydra prints these without a traceback
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_job_that_is_running_stops_its_sweep_before_any_job(tmp_path, plugin, composed):
    sweep = tmp_path / "it's = a, sweep"
    said = r"sweep: a sweep of which no job is running; .* already at \(x=2\)$"
    with attempt(sweep / "x2-1", "alone"), pytest.raises(InputError, match=said) as caught:
        launcher(plugin, composed).launch([["x=1"], ["x=2"]], 0)
    assert isinstance(caught.value, CompactHydraException) and [path.name for path in sweep.glob("x*")] == [
        "x2-1"
    ]
    launcher(plugin, composed).launch([["x=1"], ["x=2"]], 0)
    assert (sweep / "x2-1" / "console.log").is_file()


def test_a_failed_job_raises_when_its_value_is_read_and_hydra_adds_nothing(
    tmp_path, plugin, composed, capsys
):
    (job,) = launcher(plugin, composed).launch([["x=1"]], 3)
    console = tmp_path / "it's = a, sweep" / "x1-3" / "console.log"
    assert (job.status, list(job.overrides), job.cfg.x) == (JobStatus.FAILED, ["x=1"], 1)
    assert (job.hydra_cfg.hydra.job.num, job.hydra_cfg.hydra.runtime.output_dir) == (3, str(console.parent))
    with pytest.raises(RuntimeError) as caught:
        _ = job.return_value
    assert str(caught.value) == "1 of 1 jobs failed, as said above; the same command goes on"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("n_jobs", "gpus", "visible", "slots"),
    [
        (3, None, "0,1", [None, None, None]),
        (1, "0,1;2,3", None, ["0,1", "2,3"]),
        (2, "0 ; 0", None, ["0", "0"]),
        (1, "auto", "4, 6", ["4", "6"]),
        (1, "auto", "GPU-8a,-1", ["GPU-8a"]),
    ],
)
def test_gpu_slots(plugin, n_jobs, gpus, visible, slots):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert plugin.gpu_slots(n_jobs, gpus, environ) == slots


@pytest.mark.parametrize(
    ("n_jobs", "gpus", "line"),
    [
        (0, None, r"hydra\.launcher\.n_jobs=0: 1 or more"),
        (3, "0;1", r"hydra\.launcher\.n_jobs=3: .* gpus=0;1 has 2 slots"),
        (1, "0;;1", r"hydra\.launcher\.gpus=0;;1: null, auto"),
        (1, "0,,1", r"hydra\.launcher\.gpus=0,,1: null, auto"),
        (1, "auto", r"hydra\.launcher\.gpus=auto: no GPU"),
    ],
)
def test_gpu_slots_that_cannot_be(plugin, n_jobs, gpus, line):
    with pytest.raises(InputError, match=line):
        plugin.gpu_slots(n_jobs, gpus, {"CUDA_VISIBLE_DEVICES": ""})


def test_auto_asks_the_driver(tmp_path, plugin, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plugin.visible_gpus({}) == []
    smi = tmp_path / "nvidia-smi"
    listing = "GPU 0: H (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-2)\nGPU 1: H (UUID: GPU-3)\n"
    smi.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && echo '{listing}'\n")
    smi.chmod(0o755)
    assert plugin.visible_gpus({}) == ["0", "1"]


def test_the_launcher_needs_no_torch(plugin):
    heavy = "{'torch', 'lightning'} & {*sys.modules}"
    code = f"import sys, hydra_plugins.moe_distill_launcher; sys.exit(bool({heavy}))"
    path = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    assert subprocess.run([sys.executable, "-c", code], env=path).returncode == 0
