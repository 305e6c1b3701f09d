"""Whose class is number 0, and whose statistics numbers go by: told, found by name, or refused."""

from pathlib import Path

import pytest
import torch
import yaml
from torchvision.models._meta import _IMAGENET_CATEGORIES

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.conventions import (
    CONVENTIONS,
    label_order,
    require_convention,
    require_statistics,
    statistics_of,
)
from moe_distill.synthetic.formats.fitting import Fitted
from moe_distill.synthetic.formats.foreign import ForeignSet, TargetData

CONF = Path(__file__).parents[3] / "conf" / "data"


def data(name):
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def wanted(name):
    told = data(name)
    return TargetData(tuple(told["classes"]), (3, 8, 8), 1, tuple(told.get("wnids", ())))


def foreign(**more):
    return ForeignSet("x", torch.zeros(1), None, (), **more)


def order(name, said="auto", names=None, **more):
    return label_order(foreign(**more), name, wanted(name), said, names)


def refusal(function, *given, **more):
    with pytest.raises(InputError) as caught:
        function(*given, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# mtt-distillation's utils.py and DD-Ranking's data.py, as numbers of ImageNet-1k.
WOOF = (193, 182, 258, 162, 155, 167, 159, 273, 207, 229)
NETTE = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


def test_the_orders_are_those_of_the_published_programs():
    """By torchvision's names of the classes; the data's own order is that of ImageNet's numbers."""
    woof = [_IMAGENET_CATEGORIES[number] for number in WOOF]
    for name in ("mtt", "ddranking"):
        assert list(CONVENTIONS[name].orders["imagewoof"]) == woof
    assert data("imagewoof")["classes"] == [_IMAGENET_CATEGORIES[number] for number in sorted(WOOF)]
    assert list(NETTE) == sorted(NETTE)
    assert data("imagenette")["wnids"] == sorted(data("imagenette")["wnids"])


def test_labels_of_imagewoof_are_mapped_by_the_layout_the_user_or_names():
    expected = [sorted(WOOF).index(number) for number in WOOF]
    assert not any(here == label for label, here in enumerate(expected))
    for said, more in (("auto", {"convention": "mtt"}), ("mtt", {}), ("ddranking", {})):
        assert order("imagewoof", said, **more) == expected
    classes, wnids = (data("imagewoof")[key] for key in ("classes", "wnids"))
    for names in ([classes[c] for c in expected], [wnids[c] for c in expected]):
        assert order("imagewoof", names=names) == expected
        assert order("imagewoof", order=tuple(names)) == expected
    assert order("imagewoof", "ours") == list(range(10))
    assert order("imagewoof", "ours", order=tuple(reversed(classes))) == list(range(10))


def test_what_cannot_be_told_is_refused():
    for more in ({}, {"convention": "dc"}):
        assert refusal(order, "imagewoof", **more).startswith(
            "pipeline.convention=auto: ours or mtt or ddranking, "
        )
    classes = data("imagewoof")["classes"]
    for names in (classes[:9], [*classes[:9], "cat"], [*classes[:9], classes[0]]):
        assert "each of the 10 classes of imagewoof once" in refusal(order, "imagewoof", names=names)
    assert "classes of the set=[cat]" in refusal(order, "imagewoof", order=("cat", *classes[:9]))
    assert refusal(require_convention, "mine", "cifar10").startswith(
        "pipeline.convention=mine: auto or ours or dc"
    )
    assert refusal(require_convention, "mtt", "digits") == "pipeline.convention=mtt: auto or ours for digits"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenette", "imagenet100"])
def test_data_sets_that_all_number_alike_need_no_word(name):
    for more in ({}, {"convention": "mtt"}, {"convention": "dc"}):
        assert order(name, **more) == list(range(len(data(name)["classes"])))


def test_cifar100_is_standardised_by_cifar10s_numbers_in_mtts_files_and_refused_where_nobody_says():
    own, other = ((tuple(data(n)["mean"]), tuple(data(n)["std"])) for n in ("cifar100", "cifar10"))
    assert statistics_of(foreign(convention="mtt"), "cifar100", "auto") == other
    assert statistics_of(foreign(convention="dc"), "cifar100", "auto") == own
    assert statistics_of(foreign(), "cifar100", "ddranking") == other
    assert statistics_of(foreign(convention="mtt"), "cifar100", "ours") is None
    assert statistics_of(foreign(statistics=own), "cifar100", "auto") == own
    assert "different numbers" in refusal(require_statistics, foreign(), "cifar100", "auto")
    for said, known in (("ours", {}), ("auto", {"convention": "mtt"}), ("auto", {"statistics": own})):
        require_statistics(foreign(**known), "cifar100", said)
    require_statistics(foreign(), "cifar10", "auto")


def test_classes_change_places_with_their_images_and_the_columns_of_learned_labels():
    images, soft = torch.arange(6.0).view(6, 1, 1, 1), torch.arange(18.0).view(6, 3)
    moved = Fitted(images, soft, "logits").reordered([2, 0, 1])  # label 0 is class 2 here
    assert moved.images_NCHW.flatten().tolist() == [2, 3, 4, 5, 0, 1]
    assert torch.equal(moved.soft_NC, soft[[2, 3, 4, 5, 0, 1]][:, [1, 2, 0]])
    same = Fitted(images, None, "x")
    assert same.reordered([0, 1, 2]) is same
