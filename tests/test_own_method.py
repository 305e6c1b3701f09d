"""A method of a user's own is one Python file and one yaml; rows, published or theirs, fill what it leaves
open."""

import json
import sys

import pytest
from conftest_called import refused

OWN = """
from moe_distill.methods.base import Method, fill_by_class
from moe_distill.methods.presets.rows import DEFAULT, Published


class Toy(Method):
    presets = {DEFAULT: Published("A paper.", {10: {"iterations": 2, "lr": 0.5}})}

    def __init__(self, iterations, lr, init, momentum=0.25):
        self.iterations, self.lr, self.init, self.momentum = iterations, lr, init, momentum

    def prepare(self, context):
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context, apply):
        return {"loss": apply(context.syn.images.square().sum())}

    def parameter_groups(self, syn):
        return [{"params": [syn.images], "lr": self.lr, "momentum": self.momentum}]
"""
PLAIN = "_target_: toy_method.Toy\n_partial_: true\niterations: ???\nlr: ???\ninit: ${init}\n"
ROWS = """# @package _global_
name: mine
question: {claim: It learns.}
presets: {rows: {toy: {digits: {4: {lr: 0.125}}}}}
"""


@pytest.fixture
def toy(called, tmp_path, monkeypatch):
    """A folder of the user's yamls, beside their method's module."""
    (tmp_path / "toy_method.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for file, text in (("method/toy.yaml", PLAIN), ("experiment/mine.yaml", ROWS)):
        (tmp_path / "conf" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / file).write_text(text)
    return ("--config-dir", "conf", "method=toy", "split=1x2", "diversity=none", "pipeline=distill")


def settings_of(store):
    """Return the settings of the method whose set is the only one in a store."""
    (manifest,) = store.glob("set/*/manifest.json")
    return next(holder_of("Toy", json.loads(manifest.read_text())))


def holder_of(target, node):
    """Yield the descriptions of a class in nested plain containers."""
    if isinstance(node, dict) and node.get("_target_", "").endswith(target):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from holder_of(target, one)


@pytest.mark.parametrize(
    ("typed", "iterations", "lr"),
    [
        ((), 2, 0.5),
        (("method.lr=0.75", "+shorten.toy.iterations=1"), 1, 0.75),
        (("+experiment=mine",), 2, 0.125),
        (("+presets.rows.toy.default.1.iterations=3",), 3, 0.5),
    ],
)
def test_a_method_of_ones_own_needs_a_module_and_a_yaml(called, toy, tmp_path, typed, iterations, lr):
    assert called(*toy, *typed)[0] == 0
    settings = settings_of(tmp_path / "store")
    assert (settings["iterations"], settings["lr"]) == (iterations, lr)


def test_a_method_of_ones_own_that_lists_nothing_to_train_is_named(called, toy, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "toy_method", raising=False)
    (tmp_path / "toy_method.py").write_text(OWN[: OWN.index("    def parameter_groups")])
    code, error = called(*toy)
    allowed = "a method whose parameter_groups has the images, or with trainable = False"
    assert (code, error.splitlines()[-1]) == (2, f"error: method=toy: {allowed}")


def test_a_setting_of_ones_own_method_that_nothing_fills_is_named(called, toy, tmp_path):
    (tmp_path / "conf/method/toy.yaml").write_text(PLAIN.replace("init: ${init}", "init: ???"))
    assert refused(called, tmp_path / "store", *toy).startswith(
        "method.init=: a value: neither the scale nor a"
    )
