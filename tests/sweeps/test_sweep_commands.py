"""What a sweep keeps: commands that repeat it and each of its cells, and what tells their work apart."""

import shlex
import sys
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict

import moe_distill.run
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.results.attempts import attempt
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.store import Store
from moe_distill.sweeps.hooks import before, instantiate_jobs, status, sweep_of
from moe_distill.sweeps.jobs import Sweep
from moe_distill.sweeps.looking import Look, current_look, looking

pytestmark = pytest.mark.slow

TINY = ("+experiment=table4", "scale=smoke", "students=convnet3", "seeds=1", "logger=none", "method=dm")


def no_work(*_, **__):
    return {}


@pytest.fixture
def composed(plugin):
    """Gives a function that returns the composed jobs of a sweep, and the loader that composes single
    runs."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def jobs(*overrides, cells):
            config = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
            made = plugin.ProcessLauncher(1, None, "moe_distill.run", warm=False)
            context = HydraContext(config_loader=loader, callbacks=None)
            made.setup(hydra_context=context, task_function=moe_distill.run.main, config=config)
            task = list(config.hydra.overrides.task)
            return made._compose_all([[*task, *cell] for cell in cells], 0)

        yield jobs, loader


def test_a_cells_command_runs_it_in_its_own_folder(tmp_path, composed):
    jobs, loader = composed
    runs = tmp_path / "it's = a, place"
    quoted = str(runs).replace("'", r"\'")
    configs = jobs(*TINY, f"paths.runs='{quoted}'", cells=[["mixup_alpha=0.2"], ["mixup_alpha=0.3"]])
    for cell, alpha in zip(sweep_of(instantiate_jobs(configs)).cells, (0.2, 0.3), strict=True):
        overrides = shlex.split(cell.command)[1:]
        alone = loader.load_configuration("config", overrides, RunMode.RUN)
        assert alone.hydra.mode == RunMode.RUN and alone.hydra.run.dir == str(runs / "table4" / cell.folder)
        assert alone.mixup_alpha == alpha


@pytest.mark.parametrize(("given", "folder"), [((), "sweep"), (("name=mine",), "mine"), (TINY[:1], "table4")])
def test_a_sweep_that_nobody_names_does_not_lie_in_the_folder_of_such_a_run(
    tmp_path, composed, given, folder
):
    jobs, loader = composed
    (config,) = jobs("logger=none", f"paths.runs={tmp_path}", *given, cells=[["seed=1"]])
    assert config.hydra.sweep.dir == str(tmp_path / folder)
    alone = loader.load_configuration("config", [f"paths.runs={tmp_path}"], RunMode.RUN)
    assert alone.hydra.run.dir == str(tmp_path / "single")


def test_what_looks_at_a_sweep_is_called_in_place_of_its_jobs(monkeypatch, tmp_path, plugin, composed):
    """With the settings of the jobs, whose command is what repeats the sweep."""
    given = [
        "+experiment=ddranking",
        *TINY[1:],
        f"paths.runs={tmp_path}",
        f"paths.store={tmp_path}",
        "pipeline.lrs=[0.02]",
    ]
    monkeypatch.setattr(sys, "argv", ["status", *given])
    seen = []
    config = composed[1].load_configuration("config", given, RunMode.MULTIRUN)
    made = plugin.ProcessLauncher(1, None, "moe_distill.run", warm=False)
    context = HydraContext(config_loader=composed[1], callbacks=None)
    made.setup(hydra_context=context, task_function=moe_distill.run.main, config=config)
    with looking(Look(lambda configs: seen.extend(configs) or "", no_work)):
        made.launch([[*config.hydra.overrides.task, f"split={split}"] for split in ("5x2", "10x1")], 0)
    assert [list(cfg.pipeline.lrs) for cfg in seen] == [[0.02]] * 2 and current_look() is None
    assert shlex.split(sweep_of(instantiate_jobs(seen)).command) == ["moe-distill", *given]
    assert not list(tmp_path.glob("*/*/console.log"))


def test_a_cell_without_rows_is_done_only_by_the_work_that_is_asked_for(tmp_path, monkeypatch, composed):
    """What has the same folder at another scale, with other data or another store is not that work."""
    jobs, loader = composed
    nothing = FinishedRows(Store(tmp_path / "store"))

    def cell(*given):
        task = (*TINY, "data=folder", "data.root=here", "pipeline=pretrain", f"paths.runs={tmp_path}", *given)
        return sweep_of(instantiate_jobs(jobs(*task, cells=[["seed=1"]]))).cells[0]

    here, sweep = cell(), tmp_path / "table4"
    others = [cell("scale=small"), cell("data.root=elsewhere"), cell("paths.store=other")]
    assert {other.folder for other in others} == {here.folder}
    monkeypatch.setattr("moe_distill.pipelines.pretrain.pretrain", no_work)
    monkeypatch.setattr("moe_distill.pipelines.pretrain.Pretrain.has_stages", False)
    alone = loader.load_configuration("config", shlex.split(here.command)[1:], RunMode.RUN)
    with open_dict(alone.hydra):
        alone.hydra.runtime.output_dir = alone.hydra.run.dir
    HydraConfig.instance().set_config(alone)
    moe_distill.run.run(OmegaConf.masked_copy(alone, [str(name) for name in alone if name != "hydra"]))
    assert [c.state(sweep, nothing) for c in (here, *others)] == ["done", *["missing"] * 3]


def test_a_sweep_notes_which_jobs_without_rows_find_all_that_they_would_make(tmp_path, composed):
    def idle(*given):
        task = (*TINY, f"paths.runs={tmp_path}", f"paths.store={tmp_path}", *given)
        jobs = composed[0](*task, cells=[["seed=1"]])
        before(jobs)
        return [cell.idle for cell in Sweep.read(Path(jobs[0].hydra.runtime.output_dir).parent).cells]

    no_networks = ("pipeline=pretrain", "diversity=none", "partition=stratified")
    assert (idle(*no_networks), idle("pipeline=distill"), idle()) == ([True], [False], [False])


def test_what_a_job_without_rows_has_lost_since_it_was_done_is_foretold(tmp_path, composed):
    task = (*TINY, f"paths.runs={tmp_path}", f"paths.store={tmp_path / 'store'}", "pipeline=pretrain")
    configs = composed[0](*task, cells=[["seed=1"]])
    (cell,) = sweep_of(instantiate_jobs(configs)).cells
    folder = Path(configs[0].hydra.runtime.output_dir)
    with attempt(folder, "run") as tried:
        tried.work = cell.work
    text = status(configs)
    assert "1 done" in text and "of work in 1 job" in text and "nothing is left" not in text


def test_jobs_that_judge_alone_await_their_own_rows_and_none_of_a_set_from_elsewhere(tmp_path, composed):
    def rosters(*given):
        task = (*TINY, f"paths.runs={tmp_path}", f"paths.store={tmp_path}", "baselines=random", *given)
        (cell,) = sweep_of(instantiate_jobs(composed[0](*task, cells=[["split=5x2"]]))).cells
        return [row["roster"] for row in cell.expected_rows]

    assert rosters() == ["dm5x2", "random10x1"]
    assert rosters("pipeline=evaluate") == ["dm5x2"] and rosters("pipeline=upper_bound") == ["full_dataset"]
    assert rosters("pipeline=evaluate", "pipeline.path=there") == rosters("pipeline=measure") == []


def test_jobs_of_equal_data_load_them_once(tmp_path, monkeypatch, composed):
    loaded = []
    inner = Digits.load
    monkeypatch.setattr(Digits, "load", lambda *given: loaded.append(given) or inner(*given))
    task = (*TINY, f"paths.runs={tmp_path}", f"paths.store={tmp_path}", "baselines=random")
    told = status(composed[0](*task, cells=[["seed=1"], ["seed=2"]]))
    assert "2 missing" in told and "in 2 jobs" in told and len(loaded) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+method.foo=1", r"^method\.foo=1: no such key; there are "),
        ("+pipeline.foo=1", r"^pipeline\.foo=1: no such key; there are baselines, plans, protocol$"),
        ("+runtime.foo=1", r"^runtime\.foo=1: no such key; there are "),
        ("recipe.epochs=many", r"^recipe\.epochs=many: a whole number of at least 1$"),
    ],
)
def test_what_does_not_fit_in_any_job_is_one_line_before_the_first(tmp_path, composed, given, said):
    configs = composed[0](*TINY, f"paths.runs={tmp_path}", cells=[["seed=1"], ["seed=2", given]])
    with pytest.raises(InputError, match=said):
        before(configs)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("given", "cells", "said"),
    [
        ("+question.axis=nope", [["seed=1"]], r"^question\.axis=nope: columns among "),
        ("+question.axis=roster", [["seed=1"]], r"^question\.axis=roster: a column of numbers$"),
        (
            "+question.axis=noe",
            [["split=5x2", f"diversity={name}"] for name in ("none", "paper")],
            r"^question\.lines=dm: also what tells its rows apart: diversity$",
        ),
    ],
)
def test_a_question_that_rows_to_come_cannot_answer_is_refused_before_the_first(
    tmp_path, composed, given, cells, said
):
    task = (*TINY, f"paths.runs={tmp_path / 'runs'}", f"paths.store={tmp_path}", "recipe=dsa", given)
    with pytest.raises(InputError, match=said):
        before(composed[0](*task, cells=cells))
    assert not (tmp_path / "runs").exists()
