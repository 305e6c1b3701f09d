"""What a sweep is forecast to cost: finished work is left out, shared work counts once, bad cells are
refused."""

from pathlib import Path

import pytest
import torch
from conftest_rows import trained
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.context.run_context import Runtime
from moe_distill.errors import InputError
from moe_distill.experts.forecast import forward_passes
from moe_distill.methods.base import Method
from moe_distill.models.base import build
from moe_distill.pipelines.stage import Work
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.seeding import stream
from moe_distill.store.store import Store
from moe_distill.sweeps.forecast import (
    Forecast,
    forecast,
    format_duration,
    format_forecast,
    memory_line,
    missing,
)
from moe_distill.sweeps.hooks import forecast_jobs, instantiate_jobs
from moe_distill.sweeps.speed import apart

ONE = ("students=convnet3", "seeds=1", "recipe.epochs=1", "method=dm")


def parts(suite, *given):
    """Return pipeline and finished rows of a command line."""
    cfg = suite.compose(*ONE, *given)
    return instantiate(cfg.pipeline, _convert_="all"), FinishedRows(Store(cfg.paths.store))


@pytest.mark.slow
def test_finished_stages_are_left_out_of_the_forecast(suite):
    given = ("baselines=random",)
    before = [s.name for s in missing(*parts(suite, *given))]
    assert before[:3] == ["teachers", "distill dm5x2", "students dm5x2"]
    assert before[3:] == ["distill random10x1", "students random10x1"]
    suite("pipeline=pretrain", *ONE)
    suite("pipeline=distill", *ONE)
    assert [s.name for s in missing(*parts(suite, *given))] == [n for n in before if n not in before[:2]]
    suite("pipeline=full", *ONE, *given)
    assert missing(*parts(suite, *given)) == []
    assert [s.name for s in missing(*parts(suite, *given, "seeds=2"))] == [
        "students dm5x2",
        "students random10x1",
    ]


def test_the_work_is_what_counting_forward_passes_gives(suite):
    pipeline, _ = parts(suite)
    plan, protocol = pipeline.main_plan, pipeline.protocol
    train, test = plan.data.load(suite.store)
    # Two experts × 3 iterations × 10 classes × (real images forward, 5 synthetic forward and backward).
    per_expert = len(train) // 10 // 2
    assert forward_passes(plan, train) == 2 * 3 * 10 * (min(256, per_expert) + 3 * 5)
    # An epoch more than asked (the published loop is inclusive), 100 images thrice each, tested once.
    assert protocol.recipe.forward_passes(plan.decoded(train), len(test), 2) == 2 * (3 * 2 * 100 + len(test))


def test_jobs_that_share_a_stage_pay_for_it_once(suite, monkeypatch):
    cells = [suite.compose(*ONE, f"seed={seed}") for seed in (0, 1)]
    monkeypatch.setattr("moe_distill.sweeps.forecast.speeds", lambda works, *_: [1.0] * len(works))
    *lines, memory, total = forecast_jobs(instantiate_jobs(cells)).splitlines()
    assert memory.startswith("peak memory not forecast") and "of work in 2 jobs" in total
    named = ["digits teachers", "digits distill dm5x2", "digits students dm5x2"]
    assert [line.split("min  ")[1] for line in lines if "min  " in line] == named
    stages = [s for cfg in cells for s in missing(*parts(suite, f"seed={cfg.seed}"))]
    addresses = [s.address for s in stages if s.name == "teachers"]
    assert len(addresses) == 2 and len(set(addresses)) == 1
    assert len({s.address for s in stages if s.name != "teachers"}) == 4
    suite("pipeline=full", *ONE, "seed=0")
    assert "of work in 1 job, one after the other" in forecast_jobs(instantiate_jobs(cells))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pipeline", "stages", "left"),
    [
        ("pretrain", {"pretrain": "teachers"}, []),
        ("upper_bound", {"evaluate": "students all real data"}, []),
        ("measure", {"pretrain": "teachers", "distill": "distill dm5x2"}, []),
        (
            "probe",
            {"pretrain": "teachers", "distill": "distill dm5x2"},
            ["students to probe of dm5x2, done or not, less the classifiers"],
        ),
        (
            "score",
            {
                "pretrain": "teachers",
                "distill": "distill dm5x2",
                "evaluate": "six trainings to score dm5x2, done or not",
            },
            ["six trainings to score dm5x2, done or not"],
        ),
    ],
)
def test_a_forecast_names_the_stages_that_the_pipeline_then_makes(suite, monkeypatch, pipeline, stages, left):
    """Those that cannot tell which of their trainings are done name them again."""
    recipe = ("recipe=full_data", "recipe.epochs=1") if pipeline == "upper_bound" else ()
    given = (f"pipeline={pipeline}", *recipe, *(("pipeline.lrs=[0.01]",) if pipeline == "score" else ()))
    names = {stage.name for stage in missing(*parts(suite, *given))}
    assert names == {*stages.values(), *left}
    made = []
    inner = Runtime.record_cost
    monkeypatch.setattr(
        Runtime,
        "record_cost",
        lambda *format_forecast: made.append(format_forecast[1:]) or inner(*format_forecast),
    )
    suite(*ONE, *given)
    assert {stage for stage, _, _, found in made if not found} == {*stages}
    assert {stage.name for stage in missing(*parts(suite, *given))} == {*left}


@pytest.mark.slow
def test_every_pipeline_lists_its_stages_or_says_that_it_does_not(suite):
    names = [path.stem for path in sorted(Path(conf_dir(), "pipeline").glob("*.yaml"))]
    composed = {name: suite.compose(*ONE, f"pipeline={name}").pipeline for name in names}
    listed = {name for name, node in composed.items() if instantiate(node, _convert_="all").has_stages}
    assert listed == {"full", "pretrain", "distill", "evaluate", "upper_bound", "score", "probe", "measure"}
    text = forecast_jobs(
        instantiate_jobs([suite.compose(*ONE, "pipeline=export"), suite.compose(*ONE, "pipeline=export")])
    )
    assert text == "not forecast: pipeline=export"
    text = forecast_jobs(
        instantiate_jobs([suite.compose(*ONE, "pipeline=evaluate", "pipeline.path=somewhere")])
    )
    assert text.splitlines()[0] == "not forecast: work on the set at somewhere"


def test_students_of_all_real_data_take_longer_than_those_of_the_set(suite):
    (own,) = [s for s in missing(*parts(suite, "baselines=none")) if s.name.startswith("students")]
    (real,) = missing(*parts(suite, "pipeline=upper_bound"))
    train, test = parts(suite, "pipeline=upper_bound")[0].plan.data.load(suite.store)
    assert real.forward_passes == 3 * 2 * len(train) + len(test) and real.forward_passes > own.forward_passes


def test_a_cell_that_cannot_run_stops_the_sweep_before_it_starts(suite):
    with pytest.raises(InputError, match=r"^ipc=59: at most 58"):
        forecast_jobs(instantiate_jobs([suite.compose(*ONE), suite.compose(*ONE, "ipc=59")]))


def test_a_gpu_is_left_alone_where_jobs_work_on_the_cpu_and_else_measured_in_another_process(
    suite, monkeypatch
):
    asked = []
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(
        "moe_distill.sweeps.speed.apart", lambda *given: asked.append(given) or [1.0] * len(given[0])
    )
    assert (
        "of work in 1 job" in forecast_jobs(instantiate_jobs([suite.compose(*ONE, "trainer=cpu")]))
        and asked == []
    )
    cfg = suite.compose(*ONE, "trainer=auto", "hydra.launcher.gpus='2,3;4'", return_hydra_config=True)
    assert "of work in 1 job" in forecast_jobs(instantiate_jobs([cfg]))
    ((works, device, visible),) = asked
    assert works and (device, visible) == ("cuda", "2,3")


@pytest.mark.slow
def test_another_process_measures_the_same_networks(suite, monkeypatch):
    pipeline, _ = parts(suite)
    plan, protocol = pipeline.main_plan, pipeline.protocol
    monkeypatch.setattr("moe_distill.sweeps.speed.build", None)  # this process cannot
    found = apart(
        [Work(network, 1, 10, 8) for network in (plan.network, *protocol.students.values())], "cpu", "5"
    )
    assert len(found) == 2 and all(0 < seconds < 1 for seconds in found)


def test_lines_of_no_time_are_left_out_and_a_method_that_does_not_say_its_cost_has_no_forecast(
    suite, monkeypatch
):
    monkeypatch.setattr("moe_distill.methods.dm.DM.forward_passes", Method.forward_passes)
    coming = forecast_jobs(instantiate_jobs([suite.compose(*ONE, "trainer=cpu")])).splitlines()
    assert " 0.0 min" not in "".join(coming) and "not forecast: digits distill dm5x2" in coming
    assert ", and what is not forecast; stages already" in coming[-1]


def test_disk_is_that_of_every_snapshot_of_every_teacher(suite):
    given = ("method=mtt", "students=convnet3", "seeds=1", "diversity=none", "baselines=none", "split=1x2")
    cfg = suite.compose(*given)
    pipeline = instantiate(cfg.pipeline, _convert_="all")
    results = FinishedRows(Store(cfg.paths.store))
    plan = pipeline.main_plan
    train, _ = plan.data.load(suite.store)
    weights = sum(
        w.numel()
        for w in build(plan.network, channels=1, classes=10, size=train.size, rng=stream(0, "x")).parameters()
    )
    pool = next(iter(plan.trajectory_pools(train).values()))
    expected = 2 * pool.networks * (pool.recipe.total_epochs + 1) * weights * 4
    assert forecast([(pipeline, results)], "cpu", None).disk == expected > 0


@pytest.mark.parametrize(
    ("days", "gpu", "scale", "first"),
    [
        (30, False, "paper", "no GPU is seen here, without which this takes about 30 days; scale=small is "),
        (30, False, "small", "no GPU is seen here, without which this takes about 30 days"),
        (30, True, "paper", "about 30 days of work"),
        (1, False, "paper", "about 24 h of work"),
    ],
)
def test_work_of_days_without_a_gpu_is_the_first_line(monkeypatch, days, gpu, scale, first):
    coming = Forecast({}, {"a": days * 86400.0}, 0.0, [], 1)
    monkeypatch.setattr("moe_distill.sweeps.forecast.forecast", lambda *_: coming)
    monkeypatch.setattr("moe_distill.sweeps.forecast.sees_gpu", lambda _: gpu)
    monkeypatch.setattr("moe_distill.sweeps.forecast.memory_line", lambda *_: "memory")
    line = format_forecast([], "auto", None, scale).replace("memory\n", "").splitlines()[0]
    assert line.startswith(first) and ("scale=small" in line) == (scale == "paper" and days > 2 and not gpu)


def test_memory_is_what_was_recorded_of_like_runs(suite):
    tables = suite.home / "tables" / "some"
    tables.mkdir(parents=True)
    rows = [
        ("dm", "convnet3", 2048),
        ("dm", "convnet3", 4096),
        ("idm", "convnet3", 9999),
        ("dm", "alexnet", 9999),
    ]
    recorded = [
        trained(f"{m}5x2", str(i), dataset="digits", architecture=a, width=0.125, peak_memory_mb=mb)
        for i, (m, a, mb) in enumerate(rows)
    ]
    write_csv(tables / "results.csv", recorded, COLUMNS)
    pipeline = instantiate(suite.compose(*ONE, "width=0.125").pipeline, _convert_="all")
    line = memory_line([(pipeline, FinishedRows(Store(suite.store), tables.parent))], "cpu")
    assert line == "peak memory up to 4.0 GB a job, as recorded of such runs"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172800, "2 days"),
        (1e6, "12 days"),
    ],
)
def test_a_duration_is_said_in_the_largest_unit_it_fills_twice(seconds, words):
    assert format_duration(seconds) == words
