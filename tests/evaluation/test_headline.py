"""The numbers that every job shows under the same names."""

import pytest
from hydra.utils import instantiate

from moe_distill.evaluation.columns import columns_of_plan
from moe_distill.evaluation.headline import accuracies, over_random, wandb_config
from moe_distill.results.rows import COLUMNS


def row(roster, architecture, accuracy, **more):
    common = {
        "roster": roster,
        "method": roster.rstrip("x0123456789"),
        "ipc": "10",
        "noe": 1,
        "dataset": "digits",
    }
    return {
        **dict.fromkeys(COLUMNS, ""),
        **common,
        "architecture": architecture,
        "accuracy_last": accuracy,
        **more,
    }


def test_accuracies_are_means_over_students_and_over_those_of_each_architecture():
    rows = [row("dm10x1", a, x) for a, x in (("a", 0.1), ("a", "0.3"), ("b", 0.9))]
    told = {"accuracy": (0.1 + 0.3 + 0.9) / 3, "accuracy/a": 0.2, "accuracy/b": 0.9}
    assert accuracies(rows) == pytest.approx(told, abs=1e-15)


def test_students_that_diverged_are_in_no_mean():
    rows = [row("dm10x1", a, x) for a, x in (("a", 0.1), ("a", "nan"), ("b", "nan"))]
    assert accuracies(rows) == {"accuracy": 0.1, "accuracy/a": 0.1}
    assert accuracies(rows[1:]) == {}


def test_the_lead_over_random_is_of_the_first_set_and_paired_by_architecture_and_seed():
    own = [row("dm10x1", a, x, seed=s) for a, x, s in (("a", 0.5, 0), ("a", 0.7, 1), ("b", 0.9, 0))]
    single = [row("idm10x1", a, 0.99, seed=s) for a, s in (("a", 0), ("a", 1), ("b", 0))]
    random = [row("random10x1", a, x, seed=s) for a, x, s in (("a", 0.1, 1), ("a", 0.4, 0), ("b", 0.8, 0))]
    lead = (((0.5 - 0.4) + (0.7 - 0.1)) / 2 + (0.9 - 0.8)) / 2
    assert over_random([*own, *single, *random]) == pytest.approx({"accuracy_over_random": lead}, abs=1e-15)
    assert over_random([*own, *single]) == over_random([*random, *own]) == {}
    assert over_random([*own, *(row("random20x1", r["architecture"], 0.1, ipc="20") for r in own)]) == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["method=dm", "split=10x2"],
            {"method": "dm", "roster": "dm10x2", "ipc": 10, "noe": 2, "budget": 20},
        ),
        (["experts=dm_idm", "recipe=dm"], {"method": "dm+idm", "roster": "dm5+idm5", "noe": 2, "budget": 10}),
        (["experts=uneven", "experts.ipcs=[7,3]"], {"roster": "idm7+idm3", "ipc": 5, "noe": 2, "budget": 10}),
        (["split=10x1"], {"diversity": "none", "partition": "none"}),
        (
            ["diversity=paper", "data=cifar100", "scale=small"],
            {"diversity": "paper", "dataset": "cifar100", "scale": "small"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_axes_are_of_the_plan_that_acts_and_sizes_are_whole_numbers(suite, given, told):
    cfg = suite.compose(*given)
    plan = instantiate(cfg.plan, _convert_="all")
    found = wandb_config(plan, dataset=cfg.data.name, scale=cfg.scale_name, ipc=cfg.ipc, noe=cfg.noe)
    assert {name: found[name] for name in told} == told
    assert all(type(found[name]) is int for name in ("ipc", "noe", "budget"))
    assert set(columns_of_plan(plan)) <= set(COLUMNS) and set(found) - set(COLUMNS) == {"budget"}
