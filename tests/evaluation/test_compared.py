"""What a set is compared with: how rates are chosen, what is held out, and random real images."""

import pytest
import torch
from hydra.utils import instantiate

from moe_distill.errors import InputError
from moe_distill.evaluation.ddranking_trainings import Search, random_subset
from moe_distill.results.rows import COLUMNS, variant_names

RATES = (0.001, 0.02)


@pytest.fixture(scope="module")
def digits(shared_suite):
    """Training and test images."""
    return instantiate(shared_suite.compose().plan, _convert_="all").data.load(shared_suite.store / "data")


def test_random_images_are_as_many_as_the_set_stores_and_new_for_each_student(digits):
    train, test = digits
    drawn = [random_subset(train, test, (3, 1), student) for student in (0, 1, 0)]
    pools = [training_set.pool for training_set in drawn]
    assert all(pool.labels_M.tolist() == [c for c in range(10) for _ in range(4)] for pool in pools)
    assert pools[0].experts_M.tolist() == [0, 0, 0, 1] * 10 and pools[0].pieces_M is None
    images = [[x.numpy().tobytes() for x in pool.take(torch.arange(40))] for pool in pools]
    own = {x.numpy().tobytes() for x in train.normalised(train.images_NCHW)}
    assert len(set(images[0])) == 40 and set(images[0]) < own
    assert images[0] == images[2] != images[1]
    assert drawn[0].settings == drawn[2].settings != drawn[1].settings
    rows = [{**dict.fromkeys(COLUMNS, ""), **d.columns, "recipe": "r"} for d in drawn[:2]]
    assert set(variant_names(rows)) == {"random4x1"}  # one row of a table, many students


def test_a_share_of_every_class_is_held_out_and_the_rest_kept(digits):
    train, _ = digits
    kept, judge = Search(RATES, "held_out", 0.25).split(train)
    wanted = [round(0.25 * n) for n in train.counts().tolist()]
    assert judge.counts().tolist() == wanted
    both = [x.numpy().tobytes() for part in (kept, judge) for x in part.images_NCHW]
    assert sorted(both) == sorted(x.numpy().tobytes() for x in train.images_NCHW)
    tiny = train.subset(torch.cat([train.class_indices(c)[:2] for c in range(10)]))
    for share in (0.01, 0.99):
        assert [part.counts().tolist() for part in Search(RATES, "held_out", share).split(tiny)] == [
            [1] * 10
        ] * 2
    with pytest.raises(InputError, match="single image"):
        Search(RATES, "held_out", 0.1).split(train.subset(train.class_indices(0)[:1]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"select_on": "best"}, "select_on=best: held_out or test"),
        ({"held_out": 1.0}, "held_out=1.0: a number above 0 and below 1"),
        ({"held_out": 0.0}, "held_out=0.0: a number above 0 and below 1"),
        ({"lrs": []}, "lrs=[]: a list"),
        ({"lrs": 0.1}, "lrs=0.1: a list in brackets"),
        ({"lrs": [0.1, -1]}, "lrs=[0.1, -1]: a list"),
        ({"lrs": [0.1, "fast"]}, "lrs=[0.1, 'fast']: a list"),
    ],
)
def test_a_search_that_is_none_is_refused_by_its_key(given, said):
    with pytest.raises(InputError) as refused:
        Search(**{"lrs": [0.1], "select_on": "held_out", "held_out": 0.1, **given})
    assert str(refused.value).startswith(said)
