"""Whatever decides a number is in a key: each setting of a plan and of its judging, changed, changes what it
is."""

import copy
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from test_every_leaf import leaves

from moe_distill.context.hardware import Hardware
from moe_distill.context.run_context import Runtime
from moe_distill.data.sources.shared import DataCache, Shared
from moe_distill.errors import InputError
from moe_distill.store.identity import key

JOBS = [
    ("method=mtt", "recipe.lr=0.5"),
    ("method=dm", "regulariser=clom", "init=herding"),
    ("method=dm", "perturbation=gaussian", "real_sampling=kmeans", "schedule=linear"),
    *(
        pytest.param(job, marks=pytest.mark.slow)
        for job in (
            ("method=idm", "partition=kmeans"),
            ("method=idc", "fusion=sometimes"),
            ("method=datm",),
            ("method=dm", "partition=difficulty", "init=ccs"),
            ("method=rded", "recipe=rded", "partition=kmeans", "diversity=none"),
        )
    ),
]
# Settings of data and of words in records, which decide nothing of a number by themselves: pixels are in the
# key.
NAMES = {"name", "implied", "title"}
# Decides memory and nothing else: the sum is the same.
MEMORY = {"micro_batch"}
# What any number of a set's own is looked up in; the row taken stands in the method's settings.
LOOKED_UP = {"presets", "shorten"}


def others(value):
    """Yield values in the place of one, nearest first; some of them may not be legal."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, max(1, value - 1), value * 2)
    elif isinstance(value, float):
        yield from (value * 0.5, value * 0.9, value + 0.25, value + 1.0)
    elif isinstance(value, list) and value and all(isinstance(one, float) for one in value):
        yield [*value[:-1], value[-1] * 0.9]


def at(tree, path):
    for name in path:
        tree = tree[name]
    return tree


@pytest.fixture
def identity():
    """Gives what a plan and its judging are stored under, built of their trees; data are loaded once."""
    data_cache = DataCache()

    def of(trees):
        plan, protocol = (
            instantiate(OmegaConf.create(trees[name]), _convert_="all") for name in ("plan", "protocol")
        )
        plan = replace(plan, data=Shared(plan.data, data_cache))
        train, test = plan.data.load(Path())
        settings = plan.settings(train, Path())
        return key([settings, *(protocol.keys(settings, test, name) for name in protocol.students)])

    return of


def deciding(trees):
    """Yield the path of each setting that decides a number and can be changed here."""
    for path in leaves(trees):
        apart = (
            {*path} & (NAMES | MEMORY | LOOKED_UP) or path[:2] == ("plan", "data") or path[-1] == "_partial_"
        )
        if not apart:
            yield path


def changed(identity, trees, path):
    """Return the first other value of a setting with which something can be built, and the key; Nones without
    one."""
    for other in (one for one in others(at(trees, path)) if one != at(trees, path)):
        tried = copy.deepcopy(trees)
        at(tried, path[:-1])[path[-1]] = other
        try:
            return other, identity(tried)
        except (InputError, Exception) as error:
            assert isinstance(error.__cause__ or error, InputError), path
    return None, None


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job[0].partition("=")[2])
def test_a_setting_that_is_changed_changes_the_key(composed, identity, job):
    cfg = composed("scale=smoke", "students=convnet3", *job)
    trees = {name: OmegaConf.to_container(cfg[name], resolve=True) for name in ("plan", "protocol")}
    before, others_found = identity(trees), 0
    for path in deciding(trees):
        other, after = changed(identity, trees, path)
        others_found += after is not None
        assert after != before, f"{'.'.join(map(str, path))}={other} is in no key"
    assert others_found > 15


def test_where_and_how_a_run_works_says_nothing_else():
    """None of it is in a key: what is added here must not change a number, but for last bits, which rows
    tell."""
    assert {f.name for f in fields(Hardware)} == {"accelerator", "devices", "strategy"}
    places = {"store", "output", "tables", "tracker"}
    words = {"experiment", "scale", "overrides", "question"}
    pace = {"trainer", "threads", "checkpoint_seconds", "curves_every"}
    assert {f.name for f in fields(Runtime) if f.init} == places | words | pace | {"costs", "sets"}
