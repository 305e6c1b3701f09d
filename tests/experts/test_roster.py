"""Who the experts are: the words for a roster, the row of published settings, and how it is filled in."""

import functools

import pytest

from moe_distill.errors import InputError
from moe_distill.experts.roster import ExpertSpec, Roster, fill, listed, nearest_row, same, uneven
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.models.convnet import ConvNet
from moe_distill.store.identity import key
from moe_distill.teachers.network_queue import NetworkQueue
from moe_distill.training.optimizers import GSAM
from moe_distill.training.recipe import Recipe


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
    assert (str(roster), roster.noe, roster.budget) == (word, len(members), budget)
    assert (roster.method, roster.ipc) == (method, ipc)


@pytest.mark.parametrize("ipc, row", [(1, 1), (3, 1), (4, 10), (5, 10), (10, 10), (22, 10), (23, 50), (500, 50)])
def test_the_row_nearest_in_ratio_is_taken(ipc, row):
    assert nearest_row([50, 1, 10], ipc) == row


def test_of_two_rows_equally_near_the_smaller_is_taken_and_without_rows_none():
    assert nearest_row([4, 1], 2) == nearest_row([1, 4], 2) == 1
    assert nearest_row([], 1) is None


PRESETS = {"otherwise": {1: {"lr": 1.0, "iterations": 7}, 10: {"lr": 10.0, "iterations": 70}}}


@pytest.mark.parametrize("kind, row", [(DM, 1), (IDM, 10)])
def test_the_row_is_that_of_the_budget_or_of_the_experts_own_ipc(kind, row):
    method = functools.partial(kind, lr="published", momentum=0.5)
    roster = same(method, PRESETS, {}, ipc=3, noe=2)
    assert [m.row for m in roster.members] == [row, row]
    assert roster.members[1].method.keywords == {"lr": float(row), "momentum": 0.5}


def test_the_rows_of_this_data_set_come_before_the_others():
    presets = {**PRESETS, "published": {1: {"lr": 3.0}}}
    (only,) = same(functools.partial(DM, lr="published"), presets, {}, ipc=10, noe=1).members
    assert (only.method.keywords["lr"], only.row) == (3.0, 1)


def test_a_scale_replaces_what_is_published_and_nothing_else():
    method = functools.partial(DM, lr=0.3, iterations="published")
    (only,) = same(method, PRESETS, {"dm": {"lr": 9.0, "iterations": 2}, "idm": {"iterations": 1}}, 1, 1).members
    assert only.method.keywords == {"lr": 0.3, "iterations": 2}


def test_settings_inside_settings_are_filled_and_named_when_missing():
    method = functools.partial(IDM, queue=functools.partial(queue, steps="published", capacity=3))
    filled = fill(method, {"queue": {"steps": 4}}, {}, "method")
    assert filled.keywords["queue"]() == (4, 3)
    assert method.keywords["queue"].keywords["steps"] == "published"  # the original is left alone
    with pytest.raises(InputError, match=r"method\.queue\.steps=published"):
        fill(method, {"queue": {"capacity": 4}}, {}, "method")


def test_settings_inside_a_record_are_filled_and_the_record_is_left_alone():
    recipe = Recipe("r", epochs=3, optimizer=functools.partial(GSAM, rho=0.01, alpha="published"))
    method = functools.partial(DM, recipe=recipe, lr="published")
    rows = {"lr": 1.0, "recipe": {"optimizer": {"alpha": 0.7}, "epochs": 9}}
    filled = fill(method, rows, {}, "method").keywords["recipe"]
    assert (filled.optimizer.keywords, filled.epochs, filled.name) == ({"rho": 0.01, "alpha": 0.7}, 3, "r")
    assert recipe.optimizer.keywords["alpha"] == "published"
    with pytest.raises(InputError, match=r"method\.recipe\.optimizer\.alpha=published"):
        fill(method, {"lr": 1.0}, {}, "method")


def queue(steps, capacity):
    return steps, capacity


@pytest.mark.parametrize(
    ("presets", "shorten", "key", "said"),
    [
        ({}, {"idm": 5}, "shorten.idm", "settings by name, or null"),
        ({}, {"idm": {"queue": 5}}, "shorten.idm.queue", "settings by name"),
        ({}, {"idm": {"foo": 5}}, "shorten.idm.foo", "no such key; there are augment, ce_weight, factor"),
        ({}, {"idm": {"queue": {"foo": 5}}}, "shorten.idm.queue.foo", "no such key; there are batch_size, capacity"),
        ({"foo": {}}, {}, "presets.foo", "no such key; there are clom, clom_otherwise, normalised, otherwise, publish"),
        ({"otherwise": 5}, {}, "presets.otherwise", "settings by name, or null"),
        ({"otherwise": {1: 5}}, {}, "presets.otherwise.1", "settings by name"),
        ({"otherwise": {"foo": {}}}, {}, "presets.otherwise.foo", "no such key; each is a number of images per class"),
        ({"otherwise": {0: {}}}, {}, "presets.otherwise.0", "no such key; each is a number of images per class"),
        ({"otherwise": {1: {"foo": 5}}}, {}, "presets.otherwise.1.foo", "no such key; there are augment"),
        ({"otherwise": {1: {"queue": 5}}}, {}, "presets.otherwise.1.queue", "settings by name"),
    ],
)
def test_a_row_that_is_none_or_holds_what_nothing_asks_for_is_named(presets, shorten, key, said):
    method = functools.partial(IDM, lr=1.0, queue=functools.partial(NetworkQueue, capacity=3))
    with pytest.raises(InputError) as refused:
        same(method, presets, shorten, ipc=1, noe=1)
    assert refused.value.key == key and refused.value.allowed.startswith(said)


def test_a_row_may_set_what_the_method_decides_itself_and_what_was_for_a_part_that_is_anothers():
    method = functools.partial(IDM, lr=1.0, queue=functools.partial(queue, steps=1))
    shorten = {"idm": {"lr": 2.0, "queue": {"renew_every": 3}}, "dm": {"iterations": 2}, "dc": None}
    (only,) = same(method, {"otherwise": {"7": {"iterations": 3}}, "published": None}, shorten, ipc=1, noe=1).members
    assert only.method.keywords["lr"] == 1.0 and only.row == 7


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
        ({"method": functools.partial(Random), "presets": {"otherwise": 5}}, "members.b.presets.otherwise", "settings"),
        ({"method": 5}, "members.b.method", "what a yaml with _target_ makes"),
    ],
)
def test_a_member_that_is_none_is_named(member, key, said):
    with pytest.raises(InputError) as refused:
        listed({"a": {"method": functools.partial(Random)}, "b": member}, {}, ipc=5, noe=2)
    assert refused.value.key == key and refused.value.allowed.startswith(said)


def test_members_of_their_own_ipc_must_agree_with_the_split():
    members = [{"method": functools.partial(Random), "presets": {}, "ipc": ipc} for ipc in (2, 4)]
    assert listed(dict(enumerate(members)), {}, ipc=3, noe=2).ipc == "2+4"
    for ipc, noe in ((2, 2), (6, 1)):
        with pytest.raises(InputError, match="2 members with 6 images per class"):
            listed(members, {}, ipc=ipc, noe=noe)


def test_the_row_is_no_part_of_what_decides_the_images():
    one, other = (ExpertSpec(functools.partial(DM, lr=1.0), 5, row) for row in (1, 10))
    assert key(one) == key(other) != key(member(DM, 5, lr=2.0))
    assert key(one) != key(member(DM, 4, lr=1.0))


def test_rows_for_the_data_set_normalised_as_it_is_come_first():
    presets = {**PRESETS, "published": {1: {"lr": 3.0}}, "normalised": {1: {"lr": 5.0}}}
    (only,) = same(functools.partial(DM, lr="published"), presets, {}, ipc=1, noe=1).members
    assert only.method.keywords["lr"] == 5.0


def test_a_revised_method_has_sets_of_its_own(monkeypatch):
    before = key(member(DM, 5, lr=1.0))
    monkeypatch.setattr(DM, "revision", 1)
    assert key(member(DM, 5, lr=1.0)) != before


def test_members_alike_in_word_are_told_apart_by_what_differs_and_by_nothing_else():
    lone = [member(IDM, 5, factor=2, lr=1.0), member(IDM, 5, factor=1, lr=1.0), member(DM, 5, lr=2.0)]
    assert str(Roster(tuple(lone))) == "idm5-factor2+idm5-factor1+dm5"
    assert str(Roster((member(DM, 6, lr=1.0), member(DM, 4, lr=2.0)))) == "dm6+dm4"
    deep, flat = (
        ExpertSpec(functools.partial(DM, lr=1.0), 5, None, functools.partial(ConvNet, depth=d)) for d in (3, 1)
    )
    assert str(Roster((deep, flat))) == "dm5-convnet-depth3+dm5-convnet-depth1"
    assert str(Roster((deep, deep))) == "dm5-convnetx2"
    inits = [member(DM, 5, init=functools.partial(kind)) for kind in (Random, IDM)]
    assert str(Roster(tuple(inits))) == "dm5-initrandom+dm5-initidm"


@pytest.mark.parametrize("ipcs", [(6, 4), (4, 3, 3), (10,), (9, 1)])
def test_an_uneven_roster_has_an_expert_for_each_number(ipcs):
    method = functools.partial(DM, lr="published")
    roster = uneven(method, PRESETS, {}, list(ipcs), budget=10)
    assert [m.ipc for m in roster.members] == list(ipcs) and roster.budget == 10
    assert [m.row for m in roster.members] == [10 if ipc > 3 else 1 for ipc in ipcs]
    by_budget = uneven(functools.partial(IDM, lr="published"), PRESETS, {}, list(ipcs), budget=10)
    assert {m.method.keywords["lr"] for m in by_budget.members} == {10.0}


def test_equal_numbers_make_the_roster_of_the_split():
    method = functools.partial(IDM, lr="published")
    even, split = uneven(method, PRESETS, {}, [5, 5], 10), same(method, PRESETS, {}, 5, 2)
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
        uneven(functools.partial(Random), {}, {}, ipcs, budget=10)
    assert "\n" not in str(refused.value)


def test_members_without_an_ipc_have_the_splits_and_without_presets_need_none():
    members = {"a": {"method": functools.partial(Random)}, "b": {"method": functools.partial(DM, lr=1.0)}}
    roster = listed(members, {}, ipc=5, noe=2)
    assert (str(roster), [m.row for m in roster.members]) == ("random5+dm5", [None, None])
