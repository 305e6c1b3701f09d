"""The yaml tree: everything composes, and every target takes the keys it is given, of the types it names."""

import dataclasses
import functools
import inspect
import types
import typing
from pathlib import Path

import pytest
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.checking import LEFT_OUT
from moe_distill.config.refusals import one_line
from moe_distill.config.schema import conf_dir
from moe_distill.errors import InputError
from moe_distill.experts import roster
from moe_distill.experts.filling import Presets

CONF = Path(conf_dir())
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
SCALES = sorted(p.stem for p in (CONF / "scale").glob("*.yaml"))


def jobs():
    """Return command lines that name every option of every group: the first options of all groups, the second, …"""
    groups = {}
    for path in sorted(CONF.rglob("*/*.yaml")):
        groups.setdefault(str(path.parent.relative_to(CONF)), []).append(path.stem)
    own = ("preset", "experiment", "diversity", "scale")  # a scale overrides others; the rest has its own rules
    choices = [[f"{group}={name}" for name in names] for group, names in groups.items() if not group.startswith(own)]
    measures = [("diversity=paper", f"diversity/measure={name}") for name in groups["diversity/measure"]]
    terms = [(f"diversity={name}",) for name in groups["diversity"]] + measures
    largest = max(map(len, [*choices, terms]))
    return [(*(c[i % len(c)] for c in choices), *terms[i % len(terms)]) for i in range(largest)], largest


JOBS, LARGEST_GROUP = jobs()

# specs of IDM: λ, real images per class, iterations between networks, steps a pick, iterations between resets.


def nodes(node, path="cfg"):
    """Yield every mapping with a target, with its path."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from nodes(value, f"{path}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from nodes(value, f"{path}[{i}]")


def fits(value, annotation):
    """Say whether a scalar of the yaml may stand where the annotation is; what is no scalar type takes anything."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return value in typing.get_args(annotation)
    kinds = {int: int, float: int | float, str: str, bool: bool, types.NoneType: types.NoneType, Path: str}
    if annotation not in kinds:
        return annotation is inspect.Parameter.empty or (value is not None and not isinstance(value, bool | str))
    return isinstance(value, kinds[annotation]) and not (isinstance(value, bool) and annotation in (int, float))


def faults(tree):
    """Return what is wrong with the targets of a resolved configuration."""
    found = []
    for path, node in nodes(tree):
        given = {k: v for k, v in node.items() if not (k.startswith("_") and k.endswith("_"))}
        target = get_object(node["_target_"])
        signature = inspect.signature(target)
        try:
            (signature.bind_partial if node.get("_partial_") else signature.bind)(**given)
        except TypeError as error:
            found.append(f"{path}: {error}")
            continue
        hints = typing.get_type_hints(target if inspect.isfunction(target) or is_record(target) else target.__init__)
        ours = target.__module__.startswith("moe_distill")
        for key, value in given.items() if ours else ():
            scalar = value is None or isinstance(value, bool | int | float | str)
            annotation = hints.get(key, inspect.Parameter.empty)
            if scalar and value != LEFT_OUT and annotation is not typing.Any and not fits(value, annotation):
                found.append(f"{path}.{key}: {value!r} is no {annotation}")
    return found


def is_record(target):
    """Say whether a target is a dataclass."""
    return inspect.isclass(target) and dataclasses.is_dataclass(target)


def resolved(cfg):
    """Return a configuration as plain containers, every interpolation decided."""
    return OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize("job", JOBS, ids=[str(i) for i in range(len(JOBS))])
def test_every_option_composes_and_its_targets_take_its_keys(composed, job):
    assert len(JOBS) == LARGEST_GROUP
    tree = resolved(composed(*job))
    assert len(list(nodes(tree))) > 20
    assert faults(tree) == []
    data = next(o.split("=")[1] for o in job if o.startswith("data="))
    assert tree["presets"]["data"] == data  # by which published rows are looked up


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_built_at_every_scale(composed, experiment, scale):
    cfg = composed(f"+experiment={experiment}", f"scale={scale}")
    assert faults(resolved(cfg)) == []
    plan, exam = (instantiate(cfg[name], _convert_="all") for name in ("plan", "exam"))
    splits = {"clom": (1, 10), "noe": (2, 12), "repro_dm_crossarch": (1, 50)}
    assert (plan.roster.noe, plan.roster.budget) == splits.get(experiment, (2, 10))
    students = {"cost": 1, "cost_teachers": 1, "full_data": 1, "viz_highres": 1, "dcbench": 5}.get(experiment, 4)
    assert len(exam.students) == students and exam.seeds == cfg.seeds


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        ({"_target_": "moe_distill.training.mixing.Vanilla", "alpa": 1.0}, "alpa"),
        ({"_target_": "moe_distill.training.mixing.Vanilla", "alpha": "much"}, "alpha"),
        ({"_target_": "moe_distill.data.augmentation.dsa.Crop", "ratio": None}, "ratio"),
        ({"_target_": "moe_distill.teachers.pool.TeacherPool", "networks": 5}, "network"),
        ({"_target_": "moe_distill.methods.dm.DM", "_partial_": True, "real_batch": 2.5}, "real_batch"),
        ({"_target_": "moe_distill.methods.dm.DM", "_partial_": True, "iterations": True}, "iterations"),
    ],
)
def test_a_wrong_key_a_missing_one_and_a_wrong_type_are_seen(node, fault):
    assert len(found := faults({"a": [{"b": node}]})) == 1
    assert found[0].startswith("cfg.a[0].b") and fault in found[0]


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
        ("~method", "method=null: one of datm, dc"),
        ("~seed", "seed=null: a value, as plan.seed refers to it"),
        ("~plan", "plan=null: a value, as pipeline.plans.plan refers to it"),
        ("features.pool=foo", "features.pool=foo: settings by name, as features.single.seed refers to one of them"),
    ],
)
def test_what_was_taken_away_or_put_in_a_nodes_place_is_named_once_in_one_line(composed, override, said):
    with pytest.raises((HydraException, OmegaConfBaseException)) as refused:
        resolved(composed(override))
    assert one_line(refused.value).startswith(said) and "\n" not in one_line(refused.value)


@pytest.mark.parametrize(("ipc", "noe", "members"), [(5, 3, (5, 5)), (5, 2, (5, 6)), (5, 1, (5, 5)), (5, 2, (10,))])
def test_a_listed_roster_must_agree_with_the_split(ipc, noe, members):
    method = functools.partial(get_object("moe_distill.methods.coreset.First"))
    rows = [{"method": method, "ipc": own} for own in members]
    with pytest.raises(InputError, match=f"noe={noe}, ipc \\* noe = {ipc * noe}"):
        roster.listed(rows, Presets("any"), ipc, noe)
