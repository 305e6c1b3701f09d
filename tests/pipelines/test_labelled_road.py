"""RDED and its labels on the whole road: what is done anew, what is refused, and in which line."""

import json

import pytest

from moe_distill.errors import InputError
from moe_distill.evaluation import students
from moe_distill.store.damage import content_checksum

pytestmark = pytest.mark.slow

RDED = ("method=rded", "ipc=2", "noe=1", "students=convnet3", "seeds=1", "recipe.epochs=1")


def test_the_same_set_is_judged_by_each_kind_of_label_from_the_store_and_from_a_path(suite):
    suite(*RDED)
    (online,) = suite.rows()
    (folder,) = suite.artifacts("set")
    suite(*RDED, "recipe=rded_hard")
    (hard,) = suite.rows()
    assert (online["recipe"], hard["recipe"]) == ("rded", "rded_hard")
    assert suite.artifacts("set") == [folder] and len(suite.artifacts("teacher")) == 1
    assert len(suite.artifacts("result")) == 2

    by_path = (*RDED, "pipeline=evaluate", f"pipeline.path={folder}")
    suite(*by_path)
    (again,) = suite.rows()
    assert again["accuracy_last"] == online["accuracy_last"] and again["roster"] == "rded2x1"
    (row,) = [
        json.loads((f / "manifest.json").read_text())
        for f in suite.artifacts("result")
        if f.name == again["config_hash"]
    ]
    assert row["settings"]["set"]["labeller"]["recipe"]["name"] == "rded_teacher"

    with pytest.raises(
        InputError, match=r"recipe.labels=teacher_online: hard or set for dm2x1, which has no teacher"
    ):
        suite(*by_path, "method=dm", "recipe=rded")
    with pytest.raises(InputError, match=r"not in .*elsewhere"):
        suite(*by_path, f"paths.store={suite.home}/elsewhere")
    (teacher,) = suite.artifacts("teacher")
    told = json.loads((teacher / "manifest.json").read_text())
    told["trained_on"]["classes"][3:5] = reversed(told["trained_on"]["classes"][3:5])
    (teacher / "manifest.json").write_text(json.dumps({**told, "checksum": content_checksum(told)}))
    with pytest.raises(InputError, match=r"number 3 is 4, not 3"):
        suite(*by_path, "seeds=2")
    with pytest.raises(
        InputError, match=r"recipe.labels=set: hard or teacher_online, or a set with soft labels"
    ):
        suite(*by_path, "recipe=rded_stored")


@pytest.mark.parametrize("given", [("method=dm", "recipe=rded"), ("method=rded", "recipe=rded_stored")])
def test_labels_that_nobody_gives_are_refused_before_any_work(suite, given):
    with pytest.raises(InputError, match=r"recipe.labels=(teacher_online|set): hard or "):
        suite(*given, "ipc=2", "noe=1")
    assert suite.artifacts() == []


def test_more_images_than_candidates_are_refused_before_any_work(suite):
    with pytest.raises(InputError, match=r"ipc=8: at most 7: 30 candidates"):
        suite("method=rded", "method.factor=2", "ipc=8", "noe=1")
    assert suite.artifacts() == []


def test_a_student_with_a_rate_of_its_own_begins_with_it(suite, monkeypatch):
    rates, inner = [], students.Classifier

    def watched(*given):
        rates.append(given[-1])
        return inner(*given)

    monkeypatch.setattr(students, "Classifier", watched)
    suite(*RDED, "recipe.lr=0.5", "+recipe.lr_factors.convnet3=0.25")
    suite("method=random", *RDED[1:])
    assert rates == pytest.approx([0.125, 0.01])


def test_stitched_images_are_known_from_the_store_and_from_a_path_and_real_ones_are_whole(suite, monkeypatch):
    pools, inner = [], students.Classifier

    def watched(networks, pool, *given):
        pools.append(pool)
        return inner(networks, pool, *given)

    monkeypatch.setattr(students, "Classifier", watched)
    two = (*RDED, "method.factor=2")
    suite(*two)
    (stored,) = suite.rows()
    (folder,) = suite.artifacts("set")
    by_path = ("pipeline=evaluate", f"pipeline.path={folder}")
    suite(*two, *by_path)
    (read,) = suite.rows()
    assert [pool.pieces_M.tolist() for pool in pools] == [[2] * 20] * 2
    assert read["accuracy_last"] == stored["accuracy_last"] and len(suite.artifacts("result")) == 2
    suite(*RDED, *by_path)
    assert (
        pools[2].pieces_M is None and len(suite.artifacts("result")) == 3
    )  # by a plan that stitches nothing
    suite(*two, "pipeline=upper_bound")
    assert pools[3].pieces_M is None and len(pools[3]) > 1000
