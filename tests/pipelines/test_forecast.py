"""What a sweep is foretold to cost: finished work is left out, shared work counts once, bad cells are refused."""

import pytest
import torch
from hydra.utils import instantiate

from moe_distill.errors import InputError
from moe_distill.pipelines.forecast import distilling, foretold, in_words, studying
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.speed import apart
from moe_distill.records import Store
from moe_distill.sweep import built, foretell

ONE = ("students=convnet3", "seeds=1", "recipe.epochs=1", "method=dm")


def parts(suite, *given):
    """Return plan, baselines, examination and store of a command line."""
    cfg = suite.compose(*ONE, *given)
    plan, baselines, exam = (instantiate(cfg[n], _convert_="all") for n in ("plan", "baselines", "exam"))
    return plan, list(baselines.values()), exam, Results(Store(cfg.paths.store))


def test_finished_stages_are_left_out_of_the_forecast(suite):
    given = ("baselines=random",)
    before = [s.name for s in foretold(*parts(suite, *given))]
    assert before[:3] == ["teachers", "distill dm5x2", "students dm5x2"]
    assert before[3:] == ["distill random10x1", "students random10x1"]
    suite("pipeline=pretrain", *ONE)
    suite("pipeline=distill", *ONE)
    assert [s.name for s in foretold(*parts(suite, *given))] == [n for n in before if n not in before[:2]]
    suite("pipeline=full", *ONE, *given)
    assert foretold(*parts(suite, *given)) == []
    assert [s.name for s in foretold(*parts(suite, *given, "seeds=2"))] == ["students dm5x2", "students random10x1"]


def test_the_work_is_what_counting_forward_passes_gives(suite):
    plan, _, exam, _ = parts(suite)
    train, test = plan.data.load(suite.store)
    # Two experts × 3 iterations × 10 classes × (real images forward, 5 synthetic forward and backward).
    per_expert = len(train) // 10 // 2
    assert distilling(plan, train) == 2 * 3 * 10 * (min(256, per_expert) + 3 * 5)
    # An epoch more than asked (the published loop is inclusive), 100 images thrice each, tested once.
    assert studying(plan, exam, train, test, 2) == 2 * (3 * 2 * 100 + len(test))


def test_jobs_that_share_a_stage_pay_for_it_once(suite):
    cells = [suite.compose(*ONE, f"seed={seed}") for seed in (0, 1)]
    lines = foretell(built(cells)).splitlines()
    assert [line.split("min  ")[1] for line in lines[:-1]] == [
        "digits teachers",
        "digits distill dm5x2",
        "digits students dm5x2",
    ]
    assert "of work in 2 jobs" in lines[-1]
    stages = [s for cfg in cells for s in foretold(*parts(suite, f"seed={cfg.seed}"))]
    addresses = [s.address for s in stages if s.name == "teachers"]
    assert len(addresses) == 2 and len(set(addresses)) == 1
    assert len({s.address for s in stages if s.name != "teachers"}) == 4
    suite("pipeline=full", *ONE, "seed=0")
    assert "of work in 1 job, one after the other" in foretell(built(cells))


def test_a_cell_that_cannot_run_stops_the_sweep_before_it_starts(suite):
    with pytest.raises(InputError, match=r"^ipc=59: at most 58"):
        foretell(built([suite.compose(*ONE), suite.compose(*ONE, "ipc=59")]))


def test_a_gpu_is_left_alone_where_jobs_work_on_the_cpu_and_else_measured_in_another_process(suite, monkeypatch):
    asked = []
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(
        "moe_distill.pipelines.speed.apart", lambda *given: asked.append(given) or [1.0] * len(given[0])
    )
    assert "of work in 1 job" in foretell(built([suite.compose(*ONE, "trainer=cpu")])) and asked == []
    cfg = suite.compose(*ONE, "trainer=auto", "hydra.launcher.gpus='2,3;4'", return_hydra_config=True)
    assert "of work in 1 job" in foretell(built([cfg]))
    ((works, device, visible),) = asked
    assert works and (device, visible) == ("cuda", "2,3")


def test_another_process_measures_the_same_networks(suite, monkeypatch):
    plan, _, exam, _ = parts(suite)
    monkeypatch.setattr("moe_distill.pipelines.speed.build", None)  # this process cannot
    found = apart([(network, 1, 10, 8) for network in (plan.network, *exam.students.values())], "cpu", "5")
    assert len(found) == 2 and all(0 < seconds < 1 for seconds in found)


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
    assert in_words(seconds) == words
