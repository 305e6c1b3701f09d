"""Descriptions and keys."""

import dataclasses
import functools
import hashlib
import json
import math

import pytest
import torch

from moe_distill.data.sources.folder import Folder
from moe_distill.diversity.gram import unit_rows
from moe_distill.errors import FieldError
from moe_distill.store import identity
from moe_distill.store.identity import describe, key, name_of
from moe_distill.training.mixing import CrossExpert
from moe_distill.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Optics:
    focus: float
    lens: object = None
    label: str = dataclasses.field(default="", metadata={"describe": False})


@dataclasses.dataclass(frozen=True)
class Optic(Optics):
    """Optics by a new name."""

    identity = "Optics"


@dataclasses.dataclass(frozen=True)
class Tele(Optic):
    """Other optics."""


@dataclasses.dataclass
class Lamp:
    """Can be called, and has no hash."""

    def __call__(self, x):
        return x


class Told:
    def describe(self):
        return {"told": 1}


def bend(x, by=2):
    return x * by


HERE = __name__


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ((1, [2, "a"]), [1, [2, "a"]]),
        ({"b": (1,), 3: None}, {"b": [1], "3": None}),
        (bend, f"{HERE}.bend"),
        (Optics, f"{HERE}.Optics"),
        (Told(), {"told": 1}),
        (functools.partial(bend, 7, by=3), {"_target_": f"{HERE}.bend", "x": 7, "by": 3}),
        (Optics(1.0, label="mine"), {"_target_": f"{HERE}.Optics", "focus": 1.0, "lens": None}),
        (
            functools.partial(Optics, lens=functools.partial(bend, by=Optics(2))),
            {
                "_target_": f"{HERE}.Optics",
                "lens": {
                    "_target_": f"{HERE}.bend",
                    "by": {"_target_": f"{HERE}.Optics", "focus": 2, "lens": None},
                },
            },
        ),
    ],
)
def test_descriptions_are_plain_and_say_what_decides_behaviour(value, want):
    assert describe(value) == want
    assert json.loads(json.dumps(describe(value))) == want


@pytest.mark.parametrize(
    "opaque", [object(), {1, 2}, [object()], Optics(object()), functools.partial(bend, object())]
)
def test_what_cannot_be_told_apart_is_refused(opaque):
    with pytest.raises(FieldError, match=r"^a\S*=.*: something that can be described: a number, a text"):
        key({"a": opaque})


def factory(by):
    class Local:
        pass

    lamp = functools.partial(Lamp(), x=1)
    return [lambda x: x * by, functools.partial(bend, by=lambda x: x), Told().describe, Local, lamp]


@pytest.mark.parametrize("place", range(len(factory(1))))
def test_what_holds_more_than_its_name_says_has_no_key(place):
    with pytest.raises(
        FieldError, match=rf"^a\S*={HERE}\..*: a named class or function at the top of a module"
    ):
        key({"a": factory(1)[place]})


def test_functions_in_c_have_a_key_if_they_belong_to_a_module():
    assert describe(math.sqrt) == "math.sqrt"
    assert describe(torch.relu).startswith("torch.") and describe(torch.relu) != describe(torch.tanh)
    with pytest.raises(FieldError, match=r"a named class or function at the top of a module"):
        key({"a": dict.fromkeys})


@dataclasses.dataclass(frozen=True)
class Zoom(Optics):
    """Decorated: its own settings are fields."""

    by: float = 2.0


class Coated(Optics):
    """No dataclass of its own, but it takes nothing beside its parent's fields."""


class Tinted(Optics):
    """What it takes beside its parent's fields is none."""

    def __init__(self, focus, tint=0.0):
        super().__init__(focus)
        object.__setattr__(self, "tint", tint)


@dataclasses.dataclass(frozen=True)
class Cleaned(Optics):
    """What it takes for its start alone is no field."""

    dust: dataclasses.InitVar[float] = 0.0


def aims(target, arg0=1):
    return target


def test_a_subclass_has_its_own_name_in_keys_and_all_that_it_takes():
    assert len({key(kind(1.0)) for kind in (Optics, Coated, Zoom)}) == 3 and key(Zoom(1.0)) != key(
        Zoom(1.0, by=3)
    )
    for made, untold in ((Tinted(1.0, 0.5), "tint=0.5"), (Cleaned(1.0), "dust=0.0")):
        with pytest.raises(
            FieldError, match=rf"^a\.{untold}: a field: make {type(made).__name__} a dataclass"
        ):
            key({"a": made})


class Warmup(Recipe):
    """A recipe of one's own."""


class Elsewhere(Folder):
    """A data set of one's own."""


def test_what_is_derived_from_a_class_that_describes_itself_is_not_that_class():
    told = {"name": "x", "epochs": 1, "lr": 0.1, "batch_size": 2}
    assert key(Warmup(**told)) != key(Recipe(**told)) and key(Elsewhere("x")) != key(Folder("x"))


def test_functions_of_c_and_wrapped_ones_are_known_by_their_names():
    assert describe(torch.nn.functional.gelu) == "torch.gelu"
    assert describe(torch.relu) == "torch._VariableFunctionsClass.relu"
    assert describe(unit_rows) == "unit_rows"
    with pytest.raises(FieldError, match="no lambda"):
        describe(torch.ones(2).add)


def test_an_argument_by_its_place_is_the_same_as_by_its_name():
    assert key(functools.partial(bend, 1, 3)) == key(functools.partial(bend, x=1, by=3))


def test_a_default_is_left_out_of_keys_but_told_in_descriptions():
    assert key(Optics(1.0)) == key(Optics(1.0, lens=None)) == key(functools.partial(Optics, 1))
    assert identity.identity(Zoom(1.0, by=2)) == {"_target_": f"{HERE}.Zoom", "focus": 1}
    assert describe(Zoom(1.0))["by"] == 2
    assert key(functools.partial(bend, x=1, by=2)) == key(functools.partial(bend, x=1))
    assert key(Optics(True)) != key(Optics(1)), "True is no number"


def test_a_field_that_is_added_changes_no_key(monkeypatch):
    before = key(Optics(1.0))
    wider = dataclasses.make_dataclass(
        "Optics", [("focus", float), ("lens", object, None), ("coats", int, 0)]
    )
    wider.__module__ = HERE
    monkeypatch.setitem(globals(), "Optics", wider)
    assert key(wider(1.0)) == before != key(wider(1.0, coats=2))


def test_where_a_class_stands_is_in_no_key_and_a_new_name_keeps_the_old_identity(monkeypatch):
    before = key(CrossExpert(0.2))
    monkeypatch.setattr(CrossExpert, "__module__", "moe_distill.seeding")
    monkeypatch.setattr("moe_distill.seeding.CrossExpert", CrossExpert, raising=False)
    assert key(CrossExpert(0.2)) == before
    assert key(Optic(1.0)) == key(Optics(1.0)) and key(Tele(1.0)) != key(Optics(1.0)), (
        "the name is not inherited"
    )


def test_a_class_that_came_to_give_other_results_has_another_name_in_keys(monkeypatch):
    before = key(Optics(1.0))
    monkeypatch.setattr(Optics, "revision", 1, raising=False)
    assert key(Optics(1.0)) != before


def test_names_of_ones_own_bear_their_package():
    assert name_of(Recipe) == "Recipe" and name_of(torch.optim.SGD) == "torch.SGD"


def test_keys_know_no_order_but_every_value():
    one = {"a": 1, "b": {"x": functools.partial(bend, by=1), "y": 2}}
    assert key(one) == key({"b": {"y": 2, "x": functools.partial(bend, by=1)}, "a": 1})
    others = [
        {**one, "a": 2},
        {**one, "a": "1"},
        {**one, "c": None},
        {"a": 1, "b": {"x": functools.partial(bend, by=3), "y": 2}},
    ]
    assert len({key(s) for s in (one, *others)}) == 5
    assert key([1, 2]) != key([2, 1])
    assert key(Optics(1.0, label="a")) == key(Optics(1.0, label="b")) != key(Optics(2.0))


def test_a_key_is_the_hash_of_schema_and_settings(monkeypatch):
    text = '{"schema": 1, "settings": {"a": [1, null]}}'
    monkeypatch.setattr(identity, "SCHEMA", 1)
    assert key({"a": (1, None)}) == hashlib.sha256(text.encode()).hexdigest()[:32]
    monkeypatch.setattr(identity, "SCHEMA", 2)
    assert key({"a": (1, None)}) != hashlib.sha256(text.encode()).hexdigest()[:32]
