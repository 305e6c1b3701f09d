"""The yaml tree: everything composes, and every target takes the keys it is given, of the types it names."""

import functools
from pathlib import Path

import pytest
from conftest_experiments import listed_experiments
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.checking import check
from moe_distill.config.folders import conf_dir
from moe_distill.config.refusals import one_line
from moe_distill.config.resolving import input_error_of, resolve_and_check
from moe_distill.config.schema import Config
from moe_distill.errors import InputError
from moe_distill.experts import roster
from moe_distill.experts.filling import Presets

CONF = Path(conf_dir())
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
SCALES = sorted(p.stem for p in (CONF / "scale").glob("*.yaml"))


def jobs():
    """Return command lines that name every option of every group: the first options of all groups, the
    second, …"""
    groups = {}
    for path in sorted(CONF.rglob("*/*.yaml")):
        groups.setdefault(str(path.parent.relative_to(CONF)), []).append(path.stem)
    own = (
        "preset",
        "experiment",
        "diversity",
        "scale",
        "debug",
    )  # a scale overrides others; the rest has its own rules
    choices = [
        [f"{group}={name}" for name in names] for group, names in groups.items() if not group.startswith(own)
    ]
    measures = [("diversity=paper", f"diversity/measure={name}") for name in groups["diversity/measure"]]
    terms = [(f"diversity={name}",) for name in groups["diversity"]] + measures
    largest = max(map(len, [*choices, terms]))
    return [(*(c[i % len(c)] for c in choices), *terms[i % len(terms)]) for i in range(largest)], largest


JOBS, LARGEST_GROUP = jobs()


@pytest.mark.parametrize("job", JOBS, ids=[str(i) for i in range(len(JOBS))])
def test_every_option_composes_and_its_targets_take_its_keys(composed, job):
    assert len(JOBS) == LARGEST_GROUP
    cfg = composed(*job)
    assert len(resolve_and_check(cfg)) > 20
    data = next(o.split("=")[1] for o in job if o.startswith("data="))
    assert cfg.presets.data == data  # by which published rows are looked up


def built(cfg):
    """Return the plan and the protocol of a configuration once it was checked."""
    resolve_and_check(cfg)
    return (instantiate(cfg[name], _convert_="all") for name in ("plan", "protocol"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_built(composed, experiment):
    cfg = composed(f"+experiment={experiment}", "scale=smoke")
    plan, protocol = built(cfg)
    # Of the questions that experiments/README.md lists; a new experiment may be of any size.
    if experiment in listed_experiments():
        splits = {"accuracy_vs_time": (1, 10), "clom": (1, 10), "noe": (2, 12), "repro_dm_crossarch": (1, 50)}
        assert (plan.roster.num_experts, plan.roster.budget) == splits.get(experiment, (2, 10))
        students = {"cost": 1, "cost_teachers": 1, "full_data": 1, "viz_highres": 1, "dcbench": 5}
        assert len(protocol.students) == students.get(experiment, 4)
    assert (plan.roster.num_experts, plan.roster.budget) == (cfg.noe, cfg.ipc * cfg.noe)
    assert protocol.students and protocol.seeds == cfg.seeds


@pytest.mark.slow
@pytest.mark.parametrize("how", [*(f"scale={scale}" for scale in SCALES), "+debug=fast"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_knows_its_jobs_at_every_scale(suite, experiment, how):
    assert suite.cells(f"+experiment={experiment}", how)


@pytest.mark.parametrize("scale", SCALES)
def test_an_experiment_can_be_built_at_every_scale(composed, scale):
    """No file of a scale asks which experiment it is."""
    plan, protocol = built(composed("+experiment=table1", f"scale={scale}"))
    assert (plan.roster.num_experts, plan.roster.budget, len(protocol.students)) == (2, 10, 4)


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        ({"_target_": "moe_distill.training.mixing.Vanilla", "alpa": 1.0}, "alpa"),
        ({"_target_": "moe_distill.training.mixing.Vanilla", "alpha": "much"}, "alpha"),
        ({"_target_": "moe_distill.data.augmentation.dsa.Crop", "ratio": None}, "ratio"),
        ({"_target_": "moe_distill.teachers.pool.PretrainedNetworks", "networks": 5}, "network"),
        ({"_target_": "moe_distill.methods.dm.DM", "_partial_": True, "real_batch": 2.5}, "real_batch"),
        ({"_target_": "moe_distill.methods.dm.DM", "_partial_": True, "iterations": True}, "iterations"),
    ],
)
def test_a_wrong_key_a_missing_one_and_a_wrong_type_are_seen(node, fault):
    with pytest.raises(InputError, match=rf"^mine\.0\.b\.{fault}="):
        check({"mine": [{"b": node}]}, Config)


@pytest.mark.parametrize(
    "override", ["ipc=ten", "noe=2.5", "seeds=null", "width=wide", "ipx=3", "data=cifar11", "trainer.gpus=1"]
)
def test_composition_refuses_unknown_keys_options_and_wrong_types_in_one_line(composed, override):
    with pytest.raises(HydraException) as refused:
        composed(override)
    line = one_line(refused.value)
    assert "\n" not in line and override.split("=")[0].split(".")[-1] in line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("~method", "method=null: one of aum, aum_tiled, ccs, ccs_tiled, datm"),
        ("~data", "data=null: one of cifar10, cifar100"),
        ("~seed", "seed=null: a value: nothing sets it"),
        ("~plan", "plan=null: not removed; change its settings instead"),
        (
            "features.pool=foo",
            "features.pool=foo: settings by name, as features.single.seed refers to one of them",
        ),
    ],
)
def test_what_was_taken_away_or_put_in_a_nodes_place_is_named_once_in_one_line(composed, override, said):
    with pytest.raises((InputError, HydraException, OmegaConfBaseException)) as refused:
        resolve_and_check(composed(override))
    line = str(input_error_of(refused.value) or one_line(refused.value))
    assert line.startswith(said) and "\n" not in line


@pytest.mark.parametrize(
    ("ipc", "noe", "members"), [(5, 3, (5, 5)), (5, 2, (5, 6)), (5, 1, (5, 5)), (5, 2, (10,))]
)
def test_a_listed_roster_must_agree_with_the_split(ipc, noe, members):
    method = functools.partial(get_object("moe_distill.methods.coreset.First"))
    rows = [{"method": method, "ipc": own} for own in members]
    with pytest.raises(InputError, match=f"noe={noe}, ipc \\* noe = {ipc * noe}"):
        roster.listed(rows, Presets("any"), ipc, noe)
