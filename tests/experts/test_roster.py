"""Who the experts are: the words for a roster, the row of published settings, and how it is filled in."""

import functools

import pytest
from conftest_toys import ROWS, Greedy, Toy

from moe_distill.errors import InputError
from moe_distill.experts.filling import Presets
from moe_distill.experts.roster import ExpertSpec, Roster, listed, same, uneven
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.models.convnet import ConvNet
from moe_distill.store.identity import key


def member(kind, ipc, **settings):
    return ExpertSpec(functools.partial(kind, **settings), ipc)


@pytest.mark.parametrize(
    "members, word, budget, method, ipc",
    [
        ([(DM, 5)], "dm5x1", 5, "dm", "5"),
        ([(IDM, 5), (IDM, 5)], "idm5x2", 10, "idm", "5"),
        ([(DM, 5), (IDM, 5)], "dm5+idm5", 10, "dm+idm", "5"),
        ([(DM, 2), (DM, 4)], "dm2+dm4", 6, "dm", "2+4"),
        ([(DM, 4), (DM, 3), (DM, 3)], "dm4+dm3+dm3", 10, "dm", "4+3+3"),
    ],
)
def test_a_roster_in_words(members, word, budget, method, ipc):
    roster = Roster(tuple(member(*m) for m in members))
    assert (str(roster), roster.num_experts, roster.budget) == (word, len(members), budget)
    assert (roster.method, roster.ipc) == (method, ipc)


@pytest.mark.parametrize("kind, row", [(Toy, 1), (Greedy, 10)])
def test_the_row_is_that_of_the_budget_or_of_the_experts_own_ipc(published, kind, row):
    roster = same(functools.partial(kind, recipe=3), Presets("any"), ipc=3, noe=2)
    assert [m.row for m in roster.members] == [row, row]
    assert roster.members[1].method.keywords == {
        "lr": float(row),
        "iterations": ROWS[row]["iterations"],
        "recipe": 3,
    }


@pytest.mark.parametrize(
    ("member", "key", "said"),
    [
        (5, "members.b", "settings by name"),
        (None, "members.b", "settings by name"),
        ({}, "members.b.method", "a value: it has no default"),
        (
            {"method": functools.partial(Random), "foo": 5},
            "members.b.foo",
            "no such key; there are ipc, method, network",
        ),
        ({"method": functools.partial(Random), "ipc": 0}, "members.b.ipc", "a whole number of at least 1"),
        (
            {"method": functools.partial(Random), "presets": {}},
            "members.b.presets",
            "no such key; there are ipc",
        ),
        ({"method": 5}, "members.b.method", "what a yaml with _target_ makes"),
    ],
)
def test_a_member_that_is_none_is_named(member, key, said):
    with pytest.raises(InputError) as refused:
        listed({"a": {"method": functools.partial(Random)}, "b": member}, Presets("any"), ipc=5, noe=2)
    assert refused.value.key == key and refused.value.allowed.startswith(said)


def test_members_of_their_own_ipc_must_agree_with_the_split():
    members = [{"method": functools.partial(Random), "ipc": ipc} for ipc in (2, 4)]
    assert listed(dict(enumerate(members)), Presets("any"), ipc=3, noe=2).ipc == "2+4"
    for ipc, noe in ((2, 2), (6, 1)):
        with pytest.raises(InputError, match="2 members with 6 images per class"):
            listed(members, Presets("any"), ipc=ipc, noe=noe)


def test_the_row_is_no_part_of_what_decides_the_images():
    one, other = (ExpertSpec(functools.partial(DM, lr=1.0), 5, row) for row in (1, 10))
    assert key(one) == key(other) != key(member(DM, 5, lr=2.0))
    assert key(one) != key(member(DM, 4, lr=1.0))


def test_a_revised_method_has_sets_of_its_own(monkeypatch):
    before = key(member(DM, 5, lr=1.0))
    monkeypatch.setattr(DM, "revision", 1)
    assert key(member(DM, 5, lr=1.0)) != before


def test_members_alike_in_word_are_told_apart_by_what_differs_and_by_nothing_else():
    lone = [member(IDM, 5, factor=2, lr=1.0), member(IDM, 5, factor=1, lr=1.0), member(DM, 5, lr=2.0)]
    assert str(Roster(tuple(lone))) == "idm5-factor2+idm5-factor1+dm5"
    assert str(Roster((member(DM, 6, lr=1.0), member(DM, 4, lr=2.0)))) == "dm6+dm4"
    deep, flat = (
        ExpertSpec(functools.partial(DM, lr=1.0), 5, None, functools.partial(ConvNet, depth=d))
        for d in (3, 1)
    )
    assert str(Roster((deep, flat))) == "dm5-convnet-depth3+dm5-convnet-depth1"
    assert str(Roster((deep, deep))) == "dm5-convnetx2"
    inits = [member(DM, 5, init=functools.partial(kind)) for kind in (Random, IDM)]
    assert str(Roster(tuple(inits))) == "dm5-initrandom+dm5-initidm"


@pytest.mark.parametrize("ipcs", [(6, 4), (4, 3, 3), (10,), (9, 1)])
def test_an_uneven_roster_has_an_expert_for_each_number(published, ipcs):
    roster = uneven(functools.partial(Toy), Presets("any"), list(ipcs), budget=10)
    assert [m.ipc for m in roster.members] == list(ipcs) and roster.budget == 10
    assert [m.row for m in roster.members] == [10 if ipc > 3 else 1 for ipc in ipcs]
    by_budget = uneven(functools.partial(Greedy), Presets("any"), list(ipcs), budget=10)
    assert {m.method.keywords["lr"] for m in by_budget.members} == {10.0}


def test_equal_numbers_make_the_roster_of_the_split(published):
    method = functools.partial(Greedy)
    even, split = uneven(method, Presets("any"), [5, 5], 10), same(method, Presets("any"), 5, 2)
    assert key(even.members) == key(split.members) and str(even) == str(split)


@pytest.mark.parametrize(
    "ipcs, message",
    [
        ([6, 5], r"ipcs=\[6, 5\]: numbers that sum to the split's budget, ipc \* noe = 10"),
        ([], r"ipcs=\[\]: a list"),
        ([11, -1], r"ipcs=\[11, -1\]: a list"),
        ([7.5, 2.5], r"ipcs=\[7\.5"),
    ],
)
def test_numbers_that_do_not_make_the_budget_are_refused(ipcs, message):
    with pytest.raises(InputError, match=message) as refused:
        uneven(functools.partial(Random), Presets("any"), ipcs, budget=10)
    assert "\n" not in str(refused.value)


def test_members_without_an_ipc_have_the_splits_and_without_published_settings_need_none(published):
    members = {"a": {"method": functools.partial(Random)}, "b": {"method": functools.partial(Toy)}}
    roster = listed(members, Presets("any"), ipc=5, noe=2)
    assert (str(roster), [m.row for m in roster.members]) == ("random5+toy5", [None, 10])
