"""Every value of the configuration, replaced by nonsense: refused in one line that names it, or really legal."""

import math

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from test_configs import JOBS

from moe_distill.checking import check
from moe_distill.config import Config, conf_dir, register
from moe_distill.errors import InputError
from moe_distill.resolving import as_typed, settled, typed_key

NONSENSE = {
    "wrong type": ["several", "words"],
    "negative": -1,
    "zero": 0,
    "nan": math.nan,
    "infinite": math.inf,
    "huge": 1e300,
    "empty": "",
}
# Read by no target: what experiments ask, what a scale replaces (checked where it is filled in) and Hydra's own marks.
UNREAD = ("hydra", "question", "sweep", "shorten", "presets", "student_epochs")
BASE = ("scale=smoke", "logger=none", "threads=1", "trainer=cpu", "paths.output=/nowhere", "paths.store=/nowhere")


@pytest.fixture(scope="module")
def composed():
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield lambda *overrides: compose("config", [*overrides, "paths.output=/nowhere"])


def leaves(node, path=()):
    """Yield the path of every scalar and of every list without nodes."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    nested = isinstance(node, dict) or (isinstance(node, list) and any(isinstance(entry, dict) for entry in node))
    if not nested:
        yield path
    for name, value in entries if nested else ():
        yield from leaves(value, (*path, name))


def holder(tree, path):
    for name in path[:-1]:
        tree = tree[name]
    return tree


def identity(tree, path):
    """Return what a leaf is: the parameter of a target, wherever it stands."""
    node = holder(tree, path)
    target = node.get("_target_") if isinstance(node, dict) else None
    return (target, path[-1]) if target else path


def refusal(tree):
    try:
        check(tree, Config)
    except InputError as error:
        return error
    return None


def is_legal(tree, path, value):
    """Say whether what was accepted can be: no NaN, nothing infinite, and its object can be built, or is a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    node = holder(tree, path)
    if not (isinstance(node, dict) and "_target_" in node) or node.get("_partial_"):
        return True
    target = get_object(node["_target_"])
    scalars = {k: v for k, v in node.items() if not k.startswith("_") and not isinstance(v, dict | list)}
    return isinstance(scalars, dict) and callable(target)


def test_every_leaf_of_every_option_refuses_nonsense_by_its_name(composed):
    met, accepted = set(), {}
    for job in JOBS:
        tree = OmegaConf.to_container(composed(*job), resolve=True)
        tree = {name: value for name, value in tree.items() if name != "hydra"}
        assert (error := refusal(tree)) is None, str(error)
        for path in [p for p in leaves(tree) if not set(UNREAD) & set(p)]:
            if (name := identity(tree, path)) in met:
                continue
            met.add(name)
            node, key = holder(tree, path), path[-1]
            before = node[key]
            for what, value in NONSENSE.items():
                node[key] = value
                error = refusal({path[0]: tree[path[0]]})
                if error is None:
                    accepted.setdefault(what, []).append(name)
                else:
                    assert error.key == ".".join(map(str, path)), (path, what, str(error))
                    assert "\n" not in str(error)
            node[key] = before
    assert len(met) > 250
    assert set(accepted) <= {"negative", "zero", "empty", "huge"}
    print({what: sorted(map(str, names)) for what, names in accepted.items()})
    assert 0
