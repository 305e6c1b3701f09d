"""What a sweep keeps to be repeated by: its own command line, and one for each cell that leaves the others alone."""

import shlex
import sys

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode

import moe_distill.run
from moe_distill.config import conf_dir, register
from moe_distill.pipelines.cells import Sweep
from moe_distill.sweep import asked

TINY = ("+experiment=table4", "scale=smoke", "students=convnet3", "seeds=1", "logger=none", "method=dm")


@pytest.fixture
def composed(plugin):
    """Gives a function that returns the composed jobs of a sweep, and the loader that composes single runs."""
    before = HydraConfig.instance().cfg
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def jobs(*overrides, cells):
            config = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
            made = plugin.ProcessLauncher(1, None, "moe_distill.run")
            context = HydraContext(config_loader=loader, callbacks=None)
            made.setup(hydra_context=context, task_function=moe_distill.run.main, config=config)
            task = list(config.hydra.overrides.task)
            return made._compose_all([[*task, *cell] for cell in cells], 0)

        yield jobs, loader
    HydraConfig.instance().cfg = before


def test_a_cells_command_runs_it_in_its_own_folder(tmp_path, composed):
    jobs, loader = composed
    runs = tmp_path / "it's = a, place"
    quoted = str(runs).replace("'", r"\'")
    configs = jobs(*TINY, f"paths.runs='{quoted}'", cells=[["mixup_alpha=0.2"], ["mixup_alpha=0.3"]])
    for cell, alpha in zip(asked(configs).cells, (0.2, 0.3), strict=True):
        overrides = shlex.split(cell.command)[3:]
        alone = loader.load_configuration("config", overrides, RunMode.RUN)
        assert alone.hydra.mode == RunMode.RUN and alone.hydra.run.dir == str(runs / "table4" / cell.folder)
        assert alone.mixup_alpha == alpha


@pytest.mark.parametrize(
    ("given", "own", "kept"),
    [
        (["pipeline=report"], [], []),
        (["pipeline=status", "seed=1"], ["pipeline=score"], ["seed=1"]),
        (["pipeline=score"], ["pipeline=score"], ["pipeline=score"]),
        (["pipeline=score,probe"], ["pipeline=probe"], ["pipeline=score,probe"]),
    ],
)
def test_the_pipeline_that_looks_at_a_sweep_is_not_kept_as_what_repeats_it(monkeypatch, composed, given, own, kept):
    monkeypatch.setattr(sys, "argv", ["run", *TINY, *given])
    sweep = asked(composed[0](*TINY, cells=[[*own, "diversity=none"]]))
    assert isinstance(sweep, Sweep) and shlex.split(sweep.command)[3:] == [*TINY, *kept]
