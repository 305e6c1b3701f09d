"""What networks trained beforehand cost is a column of rows: the times recorded when they were made."""

import json
import shutil

import pytest

from moe_distill.store.store import Store

TINY = ("data=digits", "students=convnet3", "baselines=none")


def times_of(suite, *kinds):
    """Return the sum of the times that all networks of some kinds record, and how many there are."""
    manifests = [
        json.loads((f / "manifest.json").read_text()) for kind in kinds for f in suite.artifacts(kind)
    ]
    return sum(m["cost"]["seconds"] for m in manifests), len(manifests)


def column(suite, *given):
    suite(*TINY, *given)
    (seconds,) = {row["teacher_seconds"] for row in suite.rows()}
    return seconds


@pytest.mark.parametrize(
    ("networks", "given"),
    [
        (2, ("method=mtt", "split=10x1")),
        (4, ("method=mtt", "split=5x2", "diversity=none")),
        (2, ("method=mtt", "split=5x2", "diversity=none", "method.teachers.networks_see=all")),
        (1, ("method=rded", "split=10x1")),
        (1, ("method=el2n", "split=10x1")),
        (1, ("method=dm", "split=5x2")),
        (2, ("method=dm", "split=10x1", "regulariser=clom")),
        (8, ("method=tgdd", "split=5x2", "experts=sequence")),
    ],
    ids=lambda value: "" if isinstance(value, int) else " ".join(value),
)
def test_each_network_counts_once_with_the_time_that_was_recorded(suite, networks, given):
    first = column(suite, *given)
    seconds, count = times_of(suite, "trajectory", "teacher", "warm")
    assert count == networks and float(first) == pytest.approx(seconds, rel=1e-12)
    # Further students of the same set find the networks in the store: they cost what they did.
    assert column(suite, *given, "seeds=3") == first


def test_a_method_without_networks_costs_none(suite):
    assert float(column(suite, "method=dm", "split=10x1")) == 0.0
    assert float(column(suite, "pipeline=upper_bound", "recipe=full_data")) == 0.0


def test_a_set_knows_the_time_although_its_networks_are_gone(suite):
    first = column(suite, "method=mtt", "split=10x1")
    shutil.rmtree(suite.artifacts("trajectory")[0])
    suite(*TINY, "method=mtt", "split=10x1", "pipeline=evaluate", "seeds=3")
    assert [row["teacher_seconds"] for row in suite.rows()] == 3 * [first]


def test_a_set_of_an_earlier_version_does_not_know_it(suite, monkeypatch):
    column(suite, "method=mtt", "split=10x1")
    read = Store.manifest

    def without(store, folder):
        return {name: value for name, value in read(store, folder).items() if name != "teacher_seconds"}

    monkeypatch.setattr(Store, "manifest", without)
    suite(*TINY, "method=mtt", "split=10x1", "pipeline=evaluate", "seeds=3")
    assert {row["seed"]: row["teacher_seconds"] for row in suite.rows()}["2"] == ""


def test_a_longer_training_that_begins_alike_counts_with_its_own_time(suite):
    short = ("method=mtt", "split=10x1", "shorten.mtt.max_start_epoch=1")
    column(suite, "method=mtt", "split=10x1")
    seconds, count = times_of(suite, "trajectory")
    assert float(column(suite, *short)) == pytest.approx(seconds, rel=1e-12)
    assert len(suite.artifacts("trajectory")) == count == 2
