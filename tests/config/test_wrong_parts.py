"""A wrong part of a user's own, of any kind, is named in one line before any network is trained."""

import pytest
from conftest_called import refused

CODE = """
from dataclasses import dataclass

import torch
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.measures import Measure
from moe_distill.models.base import Network
from torch import nn


class NoMethod:
    def __init__(self, iterations=3):
        pass


class NoValue(Measure):
    pass


class NotFlat(Network):
    def __init__(self, channels, classes, size):
        super().__init__(nn.Identity(), nn.Linear(channels * size * size, classes))


class OneMore(Network):
    def __init__(self, channels, classes, size):
        super().__init__(nn.Flatten(), nn.Linear(channels * size * size, classes + 1))


@dataclass(frozen=True)
class Beyond:
    name: str = "mine"

    def load(self, cache):
        pixels = torch.zeros(30, 1, 8, 8, dtype=torch.uint8)
        return [RealSet(pixels, torch.arange(30) % 4, tuple("abc"), (0.5,), (0.5,), "mine", "x")] * 2
"""
GLOBAL = "# @package _global_\nname: mine\n"
RECIPE = "_target_: moe_distill.training.recipe.Recipe\nname: mine\nepochs: 2\n"
SHAPE = "one that makes 10 numbers of each image; of"


@pytest.mark.parametrize(
    ("group", "text", "line", "said"),
    [
        ("method", "iterations: 3\n", [], "method=mine: a yaml with _target_, the class or function"),
        ("method", "", [], "method=mine: a yaml with _target_, the class or function that it builds"),
        ("recipe", "epochs: 2\n", [], "recipe=mine: a yaml with _target_, the class or function that it"),
        ("method", "a: [\n", [], "/mine.yaml, line 2: no yaml: expected the node content"),
        (
            "method",
            "_target_: wrong_parts.Gone\n",
            [],
            "method._target_=wrong_parts.Gone: a class or",
        ),
        (
            "method",
            "_target_: no_lab.Mine\n",
            [],
            "method._target_=no_lab.Mine: a class or",
        ),
        (
            "method",
            "_target_: wrong_parts.NoMethod\n_partial_: true\n",
            [],
            "method._target_=wrong_parts.NoMethod: moe_distill.methods.base.Method, or a class derived",
        ),
        (
            "diversity/measure",
            "_target_: wrong_parts.NoValue\n",
            ["split=1x2"],
            "diversity.measure._target_=wrong_parts.NoValue: a class that defines _value",
        ),
        (
            "model",
            "_target_: wrong_parts.NotFlat\n_partial_: true\n",
            ["students=mine"],
            "students.mine=NotFlat: one that can be built for 1×8×8 and trained on",
        ),
        (
            "model",
            "_target_: wrong_parts.OneMore\n_partial_: true\n",
            ["students=mine"],
            f"students.mine=OneMore: {SHAPE} 20 it makes (20, 11)",
        ),
        (
            "model",
            "_target_: wrong_parts.OneMore\n_partial_: true\n",
            ["method=dm"],
            f"model=OneMore: {SHAPE} 2 it makes (2, 11)",
        ),
        (
            "data",
            "_target_: wrong_parts.Beyond\nname: mine\n",
            [],
            "data=mine, labels 0 to 3: 0 to 2",
        ),
        ("recipe", f"{RECIPE}epocs: 3\n", [], "recipe.epocs=3: no such key; did you mean recipe.epochs?"),
        (
            "experiment",
            f"{GLOBAL}question: {{claim: It works., axis: size_of_it}}\n",
            [],
            "question.axis=size_of_it: columns among experiment, scale, method",
        ),
    ],
)
def test_a_wrong_part_is_named_before_any_training(called, tmp_path, monkeypatch, group, text, line, said):
    (tmp_path / "wrong_parts.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    usual = {"method": "random", "split": "1x2"}
    words = [f"{'+' * (group == 'experiment')}{group}=mine", *line]
    typed = {word.split("=")[0] for word in words}
    words += [f"{key}={value}" for key, value in usual.items() if key not in typed]
    assert said in refused(called, tmp_path / "store", "--config-dir", "conf", *words)
