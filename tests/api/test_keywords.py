"""Keywords of a call that are wrong are named, with what is allowed, before any work."""

import pytest
from torch import nn
from users_parts import TinyNet

import moe_distill as md
from moe_distill.api.keywords import call_of

WRONG = [
    ({"metod": "idm"}, r"metod=idm: no such key; did you mean method=idm\?"),
    ({"method": "imd"}, r"method=imd: did you mean method=idm\?"),
    ({"method": TinyNet}, "method=TinyNet: one of "),
    ({"ipc": 1.5}, "ipc=1.5: a whole number of at least 1"),
    ({"network": nn.Linear(2, 2)}, "network=Linear: a class or a function that makes the network"),
    ({"network": lambda classes: None}, "network=.*<lambda>: a class or function of a module"),
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
    ({"init": ["random"]}, r"init=\['random'\]: one of "),
    ({"scale": "smok"}, r"scale=smok: did you mean scale=smoke\?"),
    ({"seed": "a"}, "seed=a: a whole number"),
    ({"ipc": 2, "split": "2x1"}, "ipc=2: left out"),
    ({"ipc": 500}, "ipc=500: at most "),
    ({"test": "digits"}, "test=str: a RealSet"),
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
