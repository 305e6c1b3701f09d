"""Keys stay what they are: a table of those of known settings, so that a change that loses stored sets is
seen.

``python tests/test_key_table.py`` writes the table anew, for whoever means to change keys.
"""

import importlib
import inspect
import json
import pkgutil
import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import moe_distill
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.store.identity import defaults_of, key, name_of

GOLDEN = Path(__file__).parent / "golden"
KEYS, DEFAULTS = (json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("keys", "defaults"))
# The rooms whose classes stand in keys.
DESCRIBED = (
    "data",
    "diversity",
    "evaluation",
    "experts",
    "methods",
    "models",
    "synthetic",
    "teachers",
    "training",
)
JOBS = [
    *(f"method={m}" for m in ("dc", "dsa", "dm", "idm", "mtt", "ftd", "datm", "random", "kcenter")),
    "method=idc recipe=idc",
    "method=rded recipe=rded diversity=none",
    "method=dm partition=kmeans init=herding fusion=sometimes regulariser=clom",
    "method=dm partition=random init=mix fusion=offline diversity=paper diversity/measure=hsic",
    "method=dm partition=gated fusion=additive diversity/measure=cka_linear model.norm=batch recipe=mtt",
    "experts=dm_idm recipe=dsa fusion=vanilla students=modern",
    "experts=convnet_vgg method=dm",
    "experts=pooled_vgg method=dm",
    "experts=sequence method=dm",
    "method=tgdd model.numerics=bf16",
    "method=tgdd method.targets=bank method.bank_entries=64",
    "method=tgdd method.covariance=0.0244",
    "method=ncfm",
    "method=dm perturbation=gaussian real_sampling=kmeans schedule=linear ema=0.9",
    "method=ccs",
    "method=dm partition=difficulty init=window",
]


def keys_of(job):
    """Return what a job on digits is stored under: its set, and the first student of each architecture.

    Mirrored, as digits are not by default: the table is of settings, not of what a command line leaves out.
    """
    cfg = compose("config", ["data=digits", "augment=dsa", "scale=small", "paths.output=/none", *job.split()])
    plan, protocol = (instantiate(cfg[name], _convert_="all") for name in ("plan", "protocol"))
    train, test = plan.data.load(Path())
    settings = plan.settings(train, Path())
    return {
        "set": key(settings),
        **{name: protocol.keys(settings, test, name)[0] for name in protocol.students},
    }


def defaults():
    """Return the defaults of the package's public dataclasses, and of whatever a yaml names, by what keys
    call them."""
    named = set()
    for file in Path(conf_dir()).rglob("*.yaml"):
        named |= {
            pkgutil.resolve_name(t) for t in re.findall(r"_target_: (moe_distill[\w.]+)", file.read_text())
        }
    for info in pkgutil.walk_packages(moe_distill.__path__, "moe_distill."):
        if info.name.split(".")[1] in DESCRIBED:
            module = importlib.import_module(info.name)
            own = [o for o in vars(module).values() if inspect.isclass(o) and o.__module__ == info.name]
            named |= {o for o in own if is_dataclass(o) and not o.__name__.startswith("_")}
    ordered = sorted(named, key=lambda target: (name_of(target), target.__module__))
    return {name_of(target): {k: json.loads(v) for k, v in defaults_of(target).items()} for target in ordered}


@pytest.fixture(scope="module")
def composing():
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield


@pytest.mark.parametrize("job", JOBS)
def test_equal_settings_are_stored_where_they_always_were(composing, job):
    assert keys_of(job) == KEYS[job], "stored sets and committed rows of these settings are no longer found"


def test_a_default_stays_or_its_class_is_revised():
    """A key leaves defaults out: another default would find what was made with the old one."""
    now = defaults()
    changed = {
        f"{name}.{setting}": (value, now[name].get(setting))
        for name, settings in DEFAULTS.items()
        for setting, value in settings.items()
        if name in now and now[name].get(setting) != value
    }
    assert not changed, "raise the revision of these classes, or leave their defaults"


def test_no_two_things_that_a_yaml_names_have_one_name_in_keys():
    files = [file.read_text() for file in Path(conf_dir()).rglob("*.yaml")]
    targets = {
        pkgutil.resolve_name(t) for text in files for t in re.findall(r"_target_: (moe_distill[\w.]+)", text)
    }
    names = [name_of(target) for target in targets]
    assert len(names) > 90 and len({*names}) == len(names), sorted(n for n in {*names} if names.count(n) > 1)


if __name__ == "__main__":
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        tables = {"keys": {job: keys_of(job) for job in JOBS}}
    tables["defaults"] = defaults()
    for name, table in tables.items():
        lines = (f' "{k}": {json.dumps(v, sort_keys=True)}' for k, v in table.items() if v)
        (GOLDEN / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
