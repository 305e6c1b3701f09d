"""Every value of the configuration, replaced by nonsense: refused in one line that names it, or really
legal."""

import math
import re
from collections.abc import Mapping

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from test_configs import JOBS

from moe_distill.config.checking import check, check_groups
from moe_distill.config.folders import conf_dir, options
from moe_distill.config.resolving import check_paths, input_error_of, resolve_and_check
from moe_distill.config.schema import Config, register
from moe_distill.errors import InputError

pytestmark = pytest.mark.slow

NONSENSE = {
    "wrong type": ["several", "words"],
    "negative": -1,
    "zero": 0,
    "nan": math.nan,
    "infinite": math.inf,
    "huge": 1e300,
    "empty": "",
}
# Looked up, and checked once it is filled in: see the test of rows.
ROWS = {"shorten", "presets"}
PLAIN = ("sweep", "student_epochs")
LOOKED_UP = (
    "shorten",
    "rded",
    "teacher",
    "recipe",
    "epochs",
)  # by the recipe itself, whose own such values they are
# Numbers that may be below zero; what another library takes, which says so once its object is made.
SIGNED = ("seed", "implied")
FOREIGN = ("torchvision.", "torch.")


@pytest.fixture(scope="module")
def composed():
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield lambda *overrides: compose("config", [*overrides, "paths.output=/nowhere"])


def leaves(node, path=()):
    """Yield the path of every scalar, and of every list that holds nothing but scalars."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    nested = isinstance(node, dict) or (isinstance(node, list) and any(isinstance(one, dict) for one in node))
    if not nested:
        yield path
    for name, value in entries if nested else ():
        yield from leaves(value, (*path, name))


def holder(tree, path):
    for name in path[:-1]:
        tree = tree[name]
    return tree


def refusal(tree):
    """Return the error of a configuration that does not fit, or None."""
    try:
        check_groups(tree, lambda group: (), {})
        check(tree, Config)
    except InputError as error:
        return error
    return None


def parameters(tree):
    """Yield each parameter of a target, and each value of the top level and of its plain mappings, with its
    path."""
    for path in leaves(tree):
        node = holder(tree, path)
        if len(path) == 1 or path[0] in PLAIN or (isinstance(node, dict) and "_target_" in node):
            yield (node.get("_target_", ""), path[-1]), path


def parameters_but(met, tree):
    """Yield each parameter that was not met before and stands in no row."""
    yield from ((name, path) for name, path in parameters(tree) if name not in met and not ROWS & set(path))


def may_be(what, target, name):
    """Say whether a parameter may take that nonsense: a number in its bounds, text of any length, a word of a
    list."""
    if target.startswith(FOREIGN):
        return what in ("negative", "zero") or name == "value"
    kinds = {
        "negative": name in SIGNED,
        "wrong type": name in ("classes", "wnids"),
        "empty": name == "overrides",
    }
    return kinds.get(what, what == "zero")


@pytest.mark.slow
def test_every_leaf_of_every_option_refuses_nonsense_by_its_name(composed):
    met = set()
    for job in JOBS:
        tree = OmegaConf.to_container(composed(*job), resolve=True)
        tree = {name: value for name, value in tree.items() if name != "hydra"}
        assert (error := refusal(tree)) is None, str(error)
        for name, path in parameters_but(met, tree):
            met.add(name)
            node, before = holder(tree, path), holder(tree, path)[path[-1]]
            for what, value in NONSENSE.items():
                # A sweep may hold a list of words.
                node[path[-1]] = 5 if (path[0], what) == ("sweep", "wrong type") else value
                error = refusal({path[0]: tree[path[0]]})
                assert error is not None or may_be(what, *name), (path, what)
                assert error is None or error.key == ".".join(map(str, path)), (path, what, str(error))
                assert error is None or "\n" not in str(error)
            node[path[-1]] = before
    assert len(met) > 250


@pytest.mark.parametrize("held", ["shorten", "rows"])
@pytest.mark.parametrize("method", options("method"))
def test_every_setting_of_a_row_refuses_nonsense_by_its_name(composed, method, held):
    cfg = composed(f"method={method}", "scale=smoke", "split=10x1")
    experts = OmegaConf.to_container(cfg.experts, resolve=True)
    row, presets = ("presets", "shorten", method), experts["presets"]
    if held == "rows":
        row = ("presets", "rows", method, "default", 10)
        published = copied(get_object(cfg.method._target_).published(cfg.data.name, ipc=10))
        presets.update(shorten={}, rows={method: {"default": {10: published}}})
    for path in (path for path in leaves(experts) if path[: len(row)] == row and path[1:] != LOOKED_UP):
        node, before = holder(experts, path), holder(experts, path)[path[-1]]
        for what, value in NONSENSE.items():
            node[path[-1]] = value
            error = unbuilt(experts)
            assert error is not None or may_be(what, "", path[-1]), (path, what)
            assert error is None or error.key == ".".join(map(str, path)), (path, what, str(error))
        node[path[-1]] = before


def copied(settings):
    """Return nested settings as plain ones that can be changed."""
    return {name: copied(value) if isinstance(value, Mapping) else value for name, value in settings.items()}


def unbuilt(node):
    """Return the error of ours with which what a node names cannot be built, or None."""
    try:
        instantiate(OmegaConf.create(node), _convert_="all")
    except Exception as error:
        return input_error_of(error)
    return None


TYPED = {
    "features.networks": -1,
    "paths.store": "",
    "paths.tables": 5,
    "method.queue.steps": math.nan,
    "model.width": math.inf,
    "mixup_alpha": math.nan,
    "plan.seed": 0.5,
    "experts.ipc": -1,
    "width": 1e9,
    "sweep.data": "",
    "student_epochs.teacher": 0,
    "presets.foo": 5,
    "presets.rows": 5,
    "presets.rows.idm.default.foo": {"lr": 1.0},
    "presets.normalisation": "",
    "normalisation.foo": 3,
    "features.foo": 3,
    "paths.foo": "here",
    "shorten.foo": {"iterations": 3},
    "shorten.clom.foo": 3,
}


@pytest.mark.parametrize("key", TYPED)
def test_a_value_is_named_where_it_was_typed_and_not_where_it_was_handed_on_to(composed, key):
    cfg = composed("scale=smoke", "trainer=cpu", "logger=none")
    OmegaConf.update(cfg, key, TYPED[key], force_add=True)
    with pytest.raises(InputError, match=rf"^{key}="):
        resolve_and_check(cfg)


def test_a_folder_of_tables_that_is_not_there_is_refused_and_none_is_fine(composed, tmp_path):
    with pytest.raises(
        InputError, match=r"^paths\.tables=/nowhere: a folder of experiments' tables, or null"
    ):
        resolve_and_check(composed("scale=smoke", "paths.tables=/nowhere"))
    for there in ("null", tmp_path):
        resolve_and_check(composed("scale=smoke", f"paths.tables={there}"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, "null: a value: nothing sets it")
            for name in ("seed", "width", "shorten", "sweep", "curves_every")
        ),
        *(
            (name, "null: not removed; change its settings instead")
            for name in ("plan", "protocol", "runtime", "question")
        ),
        ("features", "null: one of pool"),
        ("presets", "null: not removed"),
        ("fusion", "null: one of additive"),
        ("normalisation", "null: one of channel"),
    ],
)
def test_what_was_taken_from_the_top_is_named(composed, name, said):
    cfg = composed("scale=smoke", f"~{name}")
    for check_all in (resolve_and_check, check_paths):
        with pytest.raises(InputError, match=rf"^{name}={said}"):
            check_all(cfg)


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        ("moe_distill.training.mixing.Vanilla", [1.0], r"no such key; there are alpha"),
        ("torch.nn.Linear", 3, "a list"),
        ("torch.nn.Linear", [3, 4], None),
    ],
)
def test_arguments_without_a_name_are_for_what_is_not_ours(target, value, said):
    error = refusal({"mine": {"_target_": target, "_args_": value}})
    assert said is None if error is None else re.search(rf"^mine\._args_=.*: {said}", str(error))
