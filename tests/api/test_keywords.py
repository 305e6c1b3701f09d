"""Keywords of a call that are wrong are named, with what is allowed, before any work."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from users_parts import Shrinking, TinyNet

import moe_distill as md
from moe_distill.api.keywords import call_of


@dataclass(frozen=True)
class OfRows(md.measures.Measure):
    """A number for each row instead of one."""

    def _value(self, f_ND, g_MD):
        return (f_ND * g_MD).sum(1)


@dataclass(frozen=True)
class Detached(md.measures.Measure):
    """A number without a way back to the features."""

    def _value(self, f_ND, g_MD):
        return (f_ND.detach() * g_MD).sum()


class convnet3(TinyNet):
    """Has the name of one of ours."""


def misshapen(real, c, n, rng):
    """One image without the axis of images."""
    return real.class_batch(c, 1, rng)[0]


def of_two(real, c):
    """Takes too few arguments."""


class OfClass:
    """An object that is called, which has no name to make a key of."""

    def __call__(self, real, c, n, rng):
        return real.class_batch(c, n, rng)


class Mute(Shrinking):
    """A method that says nothing of its loss."""

    def iterate(self, context, apply):
        apply(context.syn.images.square().sum())


WRONG = [
    ({"metod": "idm"}, r"metod=idm: no such key; did you mean method=idm\?"),
    ({"method": "imd"}, r"method=imd: did you mean method=idm\?"),
    ({"method": TinyNet}, "method=TinyNet: one of "),
    ({"ipc": 1.5}, "ipc=1.5: a whole number of at least 1"),
    ({"network": nn.Linear(2, 2)}, "network=Linear: a class or a function that makes the network"),
    (
        {"network": lambda classes: None},
        "network=.*<lambda>: a named class or function at the top of a module",
    ),
    ({"network": "rsenet18"}, r"network=rsenet18: did you mean network=resnet18\?"),
    ({"network": "torchvision/resnet19"}, "network.name=resnet19: a network of torchvision .*resnet18"),
    ({"students": ["mlp", "mlpp"]}, r"students=mlpp: did you mean students=mlp\?"),
    ({"diversity": "dcro"}, r"diversity=dcro: did you mean diversity=dcor\?"),
    ({"noe": 2, "diversity": nn.Linear}, "diversity"),
    ({"options": {"method.lrr": 3}}, r"method.lrr=3: no such key; did you mean method.lr\?"),
    ({"options": {"network.depht": 3}}, r"network.depht=3: no such key; did you mean network.depth\?"),
    ({"options": {"method.lr": "x"}}, "method.lr=x: a number above 0"),
    ({"options": 3}, "options=3: settings by key"),
    ({"init": 3}, "init=3: one of "),
    ({"init": of_two}, r"init=of_two: a function \(real, class, number, rng\).*; this one fails: too many"),
    ({"init": OfClass}, r"init=OfClass: a function \(real, class, number, rng\)"),
    ({"init": OfClass()}, r"init=OfClass: a function \(real, class, number, rng\)"),
    ({"options": {3: 4}}, "options=3: keys that are texts"),
    ({"init": ["random"]}, r"init=\['random'\]: one of "),
    ({"scale": "smok"}, r"scale=smok: did you mean scale=smoke\?"),
    ({"seed": "a"}, "seed=a: a whole number"),
    ({"ipc": 2, "split": "2x1"}, "ipc=2: leave it out"),
    ({"ipc": 500}, "ipc=500: at most "),
    ({"test": "digits"}, "test=str: a RealSet"),
    ({"data": "cifar10"}, "data=cifar10: leave it out: the call decides it"),
    ({"options": {"data.name": "x"}}, "data.name=x: leave it out"),
    ({"pipeline": "evaluate"}, "pipeline=evaluate: leave it out"),
    ({"debug": "fast"}, "debug=fast: leave it out: only command lines have it"),
    ({"network": "mlp", "model": "convnet3"}, "network=convnet3: leave it out: model is set already, to mlp"),
    ({"seed": 1, "options": {"seed": 2}}, "seed=2: leave it out: seed is set already, to 1"),
    ({"noe": 2, "diversity": OfRows}, r"diversity=OfRows: an object of the class: OfRows\(\)"),
    ({"optimizer": "Adam"}, "optimizer=Adam: one of sgd; or a class such as torch.optim.Adam"),
    ({"iterations": 5}, r"iterations=5: no such key; did you mean options={\"method.iterations\": 5}\?"),
    ({"students": None}, "students=None: a list of names, or of classes or functions that make networks"),
    ({"students": {1: TinyNet}}, "students=1: a list of names"),
    ({"students": ["mlp", "mlp"]}, "students=mlp: each network once"),
    (
        {"students": {"mine": "mlp"}},
        r"students.mine=mlp: a class or function; in a list, \['mlp'\], a network",
    ),
    ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "optimizer=SGD: one of sgd, or a class such as"),
    ({"optimizer": torch.optim.LBFGS}, "optimizer=LBFGS: what the optimiser takes: "),
    ({"diversity": 0.1}, "diversity=0.1: one of .*, or a measure, such as measures.HSIC()"),
    ({"noe": 2, "diversity": OfRows()}, r"diversity.measure=of_rows: returns a scalar tensor, not \(16,\)"),
    (
        {"noe": 2, "diversity": Detached()},
        "diversity.measure=detached: can be differentiated by",
    ),
    ({"method": partial(Shrinking, iterations=-3, lr=1.0)}, "method.iterations=-3: a whole number"),
    ({"network": convnet3}, "network=convnet3: a name that moe_distill has not"),
    ({"store": ""}, "store=: a path"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_keyword_is_named_before_any_work(digits, usual, tmp_path, keywords, message):
    train, _ = digits
    with pytest.raises(md.InputError, match=f"^{message}") as error:
        md.distill(train, **{"method": "dm", **usual, **keywords})
    assert isinstance(error.value, ValueError) and error.value.__cause__ is None
    assert not [*(tmp_path / "store" / "set").glob("*")]


VALUES = [
    ({"seed": 3}, ["seed=3"]),
    ({"threads": None, "width": 0.5}, ["threads=null", "width=0.5"]),
    ({"network": "mlp", "store": "a,b's"}, ["model=mlp", r"++paths.store='a,b\'s'"]),
    ({"diversity": None}, ["diversity=none"]),
    ({"students": "four"}, ["students=four"]),
    ({"students": ["mlp", "timm/resnet10t"]}, ["students=[mlp,timm/resnet10t]"]),
    ({"students": TinyNet}, ["students=[tiny_net]"]),
    ({"options": {"experts.ipcs": [7, 3], "experts": "uneven"}}, ["++experts.ipcs=[7,3]", "experts=uneven"]),
]


@pytest.mark.parametrize(("keywords", "overrides"), VALUES)
def test_keywords_as_overrides(keywords, overrides):
    assert call_of(keywords).overrides == overrides


def test_one_name_for_two_objects_is_refused():
    with pytest.raises(md.InputError, match=r"^model=tiny_net: different names for different objects"):
        call_of({"network": TinyNet, "students": {"tiny_net": md.models.ConvNet}})


def test_a_yaml_that_is_none_is_named_with_its_line(digits, usual, tmp_path):
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "mine.yaml").write_text("a: [\n")
    with pytest.raises(md.InputError, match=r"^config_dir=.*conf.*: .*mine.yaml, line 2: no yaml: expected"):
        md.distill(digits[0], method="mine", ipc=1, noe=1, config_dir=tmp_path / "conf", **usual)


def test_numbers_of_numpy_are_numbers():
    assert call_of({"ipc": np.int64(3), "width": np.float32(0.5)}).overrides == ["ipc=3", "width=0.5"]


def test_a_part_that_misbehaves_is_named_in_one_line(digits, usual):
    common = {"ipc": 2, "noe": 1, **usual}
    with pytest.raises(md.InputError, match=r"^init=\(1, 8, 8\) for class 0: a function that returns"):
        md.distill(digits[0], method="dm", init=misshapen, **common)
    with pytest.raises(md.InputError, match=r"^method=NoneType returned by iterate\(\): a method"):
        md.distill(digits[0], method=partial(Mute, iterations=2, lr=0.1), **common)


@pytest.mark.parametrize("name", ["method", "noe"])
def test_a_selection_has_one_method_and_one_expert(digits, usual, name):
    with pytest.raises(md.InputError, match=rf"^{name}=2: leave it out: md.distill takes it"):
        md.random_images(digits[0], 2, **{name: 2}, **usual)


def test_a_selection_is_one_of_real_images(digits, usual):
    with pytest.raises(md.InputError, match=r"^selection=dm: one of random, first, herding, kcenter, kmeans"):
        md.coreset(digits[0], 2, "dm", **usual)
    with pytest.raises(md.InputError, match=r"^selection=3: one of random"):
        md.coreset(digits[0], 2, 3, **usual)
    assert len(md.coreset(digits[0], 1, "random_tiled", **usual).members) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cifra10"}, r"name=cifra10: did you mean name=cifar10\?"),
        ({"name": "cifar10", "rooot": "x"}, r"rooot=x: no such key; did you mean root\?"),
        ({"name": "folder", "root": "/nowhere"}, "root=/nowhere: a folder with train/"),
        ({"name": "folder", "root": ".", "size": 3}, "size=3: a whole number"),
    ],
)
def test_what_is_wrong_about_a_data_set_is_named_by_its_argument(usual, arguments, message):
    with pytest.raises(md.InputError, match=f"^{message}"):
        md.load_dataset(**arguments)


def test_a_data_set_that_was_loaded_is_no_name(digits):
    with pytest.raises(md.InputError, match=r"^name=RealSet: the name of a data set; RealSet.from_dataset"):
        md.load_dataset(digits[0])
