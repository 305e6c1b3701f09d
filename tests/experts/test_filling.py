"""What fills the settings that a method leaves out: the scale, rows of the user's own, published rows,
defaults."""

import functools

import pytest
from conftest_toys import ROWS, Greedy, Toy

from moe_distill.data.initialization import random_real
from moe_distill.errors import InputError
from moe_distill.experts.filling import Presets
from moe_distill.experts.roster import listed, same
from moe_distill.methods.idm import IDM
from moe_distill.methods.presets.rows import nearest_row
from moe_distill.teachers.network_queue import NetworkQueue
from moe_distill.training.optimizers import GSAM
from moe_distill.training.recipe import Recipe


@pytest.mark.parametrize(
    "ipc, row", [(1, 1), (3, 1), (4, 10), (5, 10), (10, 10), (22, 10), (23, 50), (500, 50)]
)
def test_the_row_nearest_in_ratio_is_taken(ipc, row):
    assert nearest_row([50, 1, 10], ipc) == row


def test_of_two_rows_equally_near_the_smaller_is_taken_and_without_rows_none():
    assert nearest_row([4, 1], 2) == nearest_row([1, 4], 2) == 1
    assert nearest_row([], 1) is None


def only(method, presets, ipc=1):
    """Return the only expert of a roster."""
    (member,) = same(method, presets, ipc, 1).members
    return member


def test_the_rows_of_this_data_set_come_before_the_others_and_those_of_its_normalisation_first(published):
    published(seen={1: {"lr": 3.0}}, seen_zca={1: {"lr": 5.0}})
    lrs = {}
    for place in (("seen", "channel"), ("seen", "zca"), ("other", "zca")):
        lrs[place] = only(functools.partial(Toy), Presets(*place), ipc=10).method.keywords["lr"]
    assert lrs == {("seen", "channel"): 3.0, ("seen", "zca"): 5.0, ("other", "zca"): 10.0}


def test_a_scale_replaces_what_is_published_and_nothing_else(published):
    shorten = {"toy": {"lr": 9.0, "iterations": 2}, "idm": {"iterations": 1}}
    member = only(functools.partial(Toy, lr=0.3), Presets("any", shorten=shorten))
    assert member.method.keywords == {"lr": 0.3, "iterations": 2}
    taken_back = Presets("any", shorten={"toy": {"iterations": None}})
    assert only(functools.partial(Toy), taken_back).method.keywords == ROWS[1]


def test_a_default_of_the_method_is_the_last_resort(published):
    bare = functools.partial(Toy, lr=0.3)
    assert only(bare, Presets("any")).method().iterations == 7
    published(bare={1: {"lr": 3.0}})
    assert only(bare, Presets("bare")).method().iterations == 1


def test_a_setting_that_nothing_fills_is_named(published):
    published(bare={1: {"iterations": 3}})
    with pytest.raises(InputError, match=r"^method\.lr=: a value: neither the scale nor a published row"):
        same(functools.partial(Toy), Presets("bare"), 1, 1)
    with pytest.raises(InputError, match=r"^members\.a\.method\.lr=: a value"):
        listed({"a": {"method": functools.partial(Toy)}}, Presets("bare"), 1, 1)


def test_ones_own_rows_come_before_the_published_ones_and_what_they_leave_out_is_published(published):
    published(seen={1: {"lr": 3.0, "iterations": 3}})
    mine = Presets("seen", rows={"toy": {"default": {4: {"lr": 0.5}}, "other": {1: {"lr": 9.0}}}})
    member = only(functools.partial(Toy), mine)
    assert (member.row, member.method.keywords) == (4, {"lr": 0.5, "iterations": 3})
    assert only(functools.partial(Greedy), mine).row == 1


def test_settings_inside_settings_are_filled_and_named_when_missing(published):
    published(any={1: {"lr": 1.0, "queue": {"steps": 4}}})
    method = functools.partial(Toy, queue=functools.partial(queue, capacity=3))
    assert only(method, Presets("any")).method.keywords["queue"]() == (4, 3)
    assert method.keywords["queue"].keywords == {"capacity": 3}  # the original is left alone
    settings = {"iterations": 3, "real_batch": 2, "ce_weight": 1.0, "factor": 1, "networks_see": "part"}
    empty = functools.partial(NetworkQueue, capacity=3)
    method = functools.partial(
        IDM, lr=1.0, momentum=0.5, augment=None, init=random_real, queue=empty, **settings
    )
    with pytest.raises(
        InputError, match=r"^method=idm: settings with which its parts can be built: .*renew_every"
    ):
        unpublished = type("IDM", (IDM,), {"presets": {}})
        same(functools.partial(unpublished, **method.keywords), Presets("any"), 1, 1)


def test_settings_inside_a_record_are_filled_and_the_record_is_left_alone(published):
    published(any={1: {"lr": 1.0, "recipe": {"optimizer": {"alpha": 0.7}, "epochs": 9}}})
    recipe = Recipe("r", epochs=3, optimizer=functools.partial(GSAM, rho=0.01))
    filled = only(functools.partial(Toy, recipe=recipe), Presets("any")).method.keywords["recipe"]
    assert (filled.optimizer.keywords, filled.epochs, filled.name) == ({"rho": 0.01, "alpha": 0.7}, 3, "r")
    assert recipe.optimizer.keywords == {"rho": 0.01}


def queue(steps, capacity):
    return steps, capacity


def refused(build):
    """Return the error of ours with which something cannot be built."""
    with pytest.raises(InputError) as caught:
        build()
    return caught.value


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"shorten": {"toy": 5}}, "shorten.toy", "settings by name, or null"),
        ({"rows": {"toy": 5}}, "rows.toy", "settings by name"),
        ({"rows": {"toy": {"any": 5}}}, "rows.toy.any", "settings by name"),
        ({"rows": {"toy": {"any": {1: 5}}}}, "rows.toy.any.1", "settings by name"),
        (
            {"rows": {"toy": {"any": {"foo": {}}}}},
            "rows.toy.any.foo",
            "no such key; each is a number of images per",
        ),
        (
            {"rows": {"toy": {"any": {0: {}}}}},
            "rows.toy.any.0",
            "no such key; each is a number of images per class",
        ),
    ],
)
def test_presets_that_are_none_are_named(settings, key, said):
    error = refused(lambda: Presets("any", **settings))
    assert error.key == key and error.allowed.startswith(said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"queue": 5}, "queue: settings by name"),
        ({"foo": 5}, "foo: no such key; there are iterations, lr, queue"),
        ({"queue": {"foo": 5}}, "queue.foo: no such key; there are batch_size, capacity"),
    ],
)
def test_a_row_that_holds_what_nothing_asks_for_is_named(published, settings, said):
    method = functools.partial(Toy, queue=functools.partial(NetworkQueue, capacity=3))
    name, _, allowed = said.partition(": ")
    for where, presets in (
        ("presets.shorten.toy", {"shorten": {"toy": settings}}),
        ("presets.rows.toy.any.7", {"rows": {"toy": {"any": {"7": settings}}}}),
    ):
        error = refused(functools.partial(same, method, Presets("any", **presets), 1, 1))
        assert error.key == f"{where}.{name}" and error.allowed.startswith(allowed)


def test_a_row_may_set_what_the_method_decides_itself_and_what_was_for_a_part_that_is_anothers(published):
    method = functools.partial(Toy, lr=1.0, queue=functools.partial(queue, 1, 2))
    shorten = {"toy": {"lr": 2.0, "queue": {"renew_every": 3}}, "dm": {"iterations": 2}, "dc": None}
    member = only(method, Presets("any", shorten=shorten, rows={"toy": {"any": {"7": {"iterations": 3}}}}))
    assert (member.method.keywords["lr"], member.method.keywords["iterations"], member.row) == (1.0, 3, 7)
    assert member.method.keywords["queue"]() == (1, 2)


@pytest.mark.parametrize(
    ("presets", "key"),
    [
        ({}, "method.lr"),
        ({"shorten": {"idm": {"lr": -1.0}}}, "presets.shorten.idm.lr"),
        ({"rows": {"idm": {"default": {1: {"lr": -1.0}}}}}, "presets.rows.idm.default.1.lr"),
    ],
)
def test_a_setting_that_cannot_be_is_named_where_it_came_from(presets, key):
    method = functools.partial(IDM, **({} if presets else {"lr": -1.0}))
    assert refused(lambda: same(method, Presets("any", **presets), 1, 1)).key in (key, "method.momentum")
    whole = {"momentum": 0.5, "networks_see": "part", "augment": None, "init": random_real}
    whole["queue"] = functools.partial(NetworkQueue, **QUEUE)
    method = functools.partial(IDM, **whole, **method.keywords)
    assert refused(lambda: same(method, Presets("any", **presets), 1, 1)).key == key


QUEUE = {"capacity": 3, "first": 1, "trained": 1, "lr": 0.1, "momentum": 0.5, "weight_decay": 0.0}
