"""Every published number: what each method is filled with, by data set, normalisation and ipc.

``golden/published.json`` was written before the rows became Python, by composing the configuration of each
place.
"""

import functools
import importlib
import json
from pathlib import Path

import pytest
from hydra.utils import instantiate

from moe_distill.data.initialization import random_real
from moe_distill.experts.filling import Presets, check_row, setting_at
from moe_distill.experts.roster import same
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.methods.mtt import MTT
from moe_distill.store.identity import describe

GOLDEN = json.loads((Path(__file__).parent / "golden/published.json").read_text())
PLACES = [place.split() for place in GOLDEN["places"]]
METHODS = sorted({method for method, _, _ in PLACES})
# How the authors of a method read a data set, where that is not by its channels.
WHITENED = (
    ("mtt", "cifar10"),
    *((method, data) for method in ("ftd", "datm") for data in ("cifar10", "cifar100")),
)
READ_BY = {**dict.fromkeys(WHITENED, "zca"), ("idc", "cifar100"): "cifar10", ("mtt", "cifar100"): "cifar10"}


def at(described, path):
    """Return what stands at a path of a description."""
    return functools.reduce(lambda node, name: node[name], path.split("."), described)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_filled_with_the_published_numbers(composed, name):
    method = instantiate(composed(f"method={name}").method, _convert_="all")
    for _, data, normalisation in (place for place in PLACES if place[0] == name):
        places = GOLDEN["places"][f"{name} {data} {normalisation}"]
        how = READ_BY.get((name, data), "channel") if normalisation == "published" else normalisation
        for ipc, number in zip(GOLDEN["ipcs"], places, strict=True):
            golden = {k: v for k, v in GOLDEN["rows"][number].items() if k != "method"}
            (member,) = same(method, Presets(data, how), ipc, 1).members
            check_row(method, method.func.published(data, ipc, normalisation=how), "published")
            settings = describe(member.method)
            assert {"row": member.row, **{k: at(settings, k) for k in golden if k != "row"}} == golden


@pytest.mark.parametrize("name", METHODS)
def test_rows_say_where_they_come_from(name):
    module = importlib.import_module(f"moe_distill.methods.presets.{name.replace('dsa', 'dc')}")
    for published in module.PRESETS.values():
        assert published.source.endswith(".") and all(ipc >= 1 for ipc in published.rows)


@pytest.mark.parametrize(("length", "iterations"), [(0.25, 75), (1.0, 300), (1e-6, 1), (3, 900)])
def test_a_length_multiplies_the_iterations_that_are_filled_in_and_no_others(length, iterations):
    method = functools.partial(DM, momentum=0.5, real_batch=8, augment=None, init=random_real)
    presets = Presets("cifar10", shorten={"dm": {"iterations": 300}}, length=length)
    assert presets.fill(method, 10)[0].keywords["iterations"] == iterations
    as_typed = presets.fill(functools.partial(method, iterations=7), 10)[0].keywords
    assert as_typed["iterations"] == 7
    published = Presets("cifar10", length=length).fill(method, 10)[0].keywords
    assert published["iterations"] == max(1, round(length * DM.published("cifar10", ipc=10)["iterations"]))


def test_python_asks_a_method_for_its_published_settings():
    assert IDM.published("cifar10", ipc=5, noe=2) == IDM.presets["default"].rows[10]
    assert IDM.published("cifar10", ipc=1) == IDM.presets["default"].rows[1]
    assert IDM.published("cifar100", ipc=10)["queue"]["steps"] == 50
    steps = [MTT.published("cifar10", 10, normalisation=how)["lr_images"] for how in ("channel", "zca")]
    assert steps == [1000, 100]


def test_a_setting_is_found_at_its_path():
    method = functools.partial(IDM, queue=functools.partial(dict, steps=3))
    assert (
        setting_at(method, ["queue", "steps"]) == 3
        and setting_at(method, ["queue", "nope", "deeper"]) is None
    )
