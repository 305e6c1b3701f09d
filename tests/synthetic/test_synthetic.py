"""Synthetic sets decode, unite and refuse as arithmetic by hand says; ``test_synthetic_files.py`` has the
files."""

import math

import numpy as np
import pytest
import torch
from conftest_sets import CLASSES, MEAN, STD, a_set
from torch.utils.data import DataLoader, Dataset

from moe_distill.errors import InputError
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion


def column(values):
    return np.array(values, dtype=np.float64).reshape(1, -1, 1, 1)


def by_hand(one):
    """Decoded raw images and labels of a set, float64, from its own statistics."""
    p = one.provenance
    images = p.tiling.decode(one.images.detach().double()).numpy()
    labels = [c for c in range(len(p.classes)) for _ in range(p.ipc)] * p.tiling.per_image
    return (images if p.space == "raw" else images * column(p.std) + column(p.mean)), labels


@pytest.mark.parametrize("tiling", [1, 2])
@pytest.mark.parametrize("space", ["raw", "standardised"])
def test_decoded_raw_and_standardised_images_agree_with_the_statistics(space, tiling):
    one = a_set(tiling=tiling, space=space)
    raw, labels = by_hand(one)
    decoded, got = one.decode()
    assert got.tolist() == labels and len(decoded) == 6 * tiling**2
    np.testing.assert_allclose(one.raw().detach().numpy(), raw, atol=2e-6)
    np.testing.assert_allclose(
        one.standardised().detach().numpy(), (raw - column(MEAN)) / column(STD), atol=1e-5
    )
    stored = one.raw() if space == "raw" else one.standardised()
    assert torch.equal(stored, decoded)
    for c in range(3):
        of_class = one.of_class(c)
        assert torch.equal(of_class, decoded[[i for i, label in enumerate(labels) if label == c]])


def test_gradients_reach_the_stored_images_of_one_class_alone():
    one = a_set(tiling=2)
    one.of_class(1).square().sum().backward()
    touched = one.images.grad.abs().flatten(1).sum(1) > 0
    assert touched.tolist() == [False, False, True, True, False, False]


def different_members():
    """A raw member, a standardised one in tiles, and one with more images."""
    return [a_set(0, space="raw", ipc=1, rate=0.1), a_set(1, tiling=2, ipc=2, rate=0.4), a_set(2, ipc=3)]


def test_a_union_is_class_major_and_each_member_decodes_itself():
    members = different_members()
    hand = [by_hand(m) for m in members]
    rows = [
        (label, i, image)
        for i, (raw, labels) in enumerate(hand)
        for image, label in zip(raw, labels, strict=True)
    ]
    rows.sort(key=lambda row: row[0])  # stable: within a class, expert after expert
    united = SyntheticSet.union(members).raw()
    assert (
        united.labels_M.tolist()
        == [row[0] for row in rows]
        == [c for c in range(3) for _ in range(1 + 8 + 3)]
    )
    assert united.experts_M.tolist() == [row[1] for row in rows]
    np.testing.assert_allclose(united.images_MCHW.numpy(), np.stack([row[2] for row in rows]), atol=2e-6)
    assert not united.images_MCHW.requires_grad


def test_learned_rates_unite_as_their_geometric_mean():
    members = different_members()
    assert SyntheticSet.union(members).learned_rate == pytest.approx(math.sqrt(0.1 * 0.4), rel=1e-6)
    assert SyntheticSet.union(members[1:2]).learned_rate == pytest.approx(0.4, rel=1e-6)
    assert SyntheticSet.union(members[2:]).learned_rate is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"classes": ("cat", "frög", "dog")}, "classes"),
        ({"size": 16}, "image shape"),
        ({"mean": (0.4, 0.51)}, "mean"),
        ({"std": (0.2, 0.31)}, "std"),
        ({"data_fingerprint": "e" * 64}, "experts of the same data"),
    ],
)
def test_members_of_different_data_are_refused(changes, named):
    with pytest.raises(InputError, match=named) as caught:
        SyntheticSet.union([a_set(0), a_set(1), a_set(2, **changes)])
    assert "\n" not in str(caught.value)


def test_sets_are_refused_for_data_they_were_not_distilled_from():
    together, own = SyntheticSet.union([a_set(0)]), (CLASSES, 2, 8, MEAN, STD)
    together.require(*own)
    together.require(list(CLASSES), 2, 8, [0.4 + 1e-9, 0.5], list(STD))
    many = tuple(f"class {i}" for i in range(200))
    wrong = {
        "classes": (many, 2, 8, MEAN, STD),
        "image shape": (CLASSES, 3, 8, MEAN, STD),
        "mean": (CLASSES, 2, 8, (0.4, 0.6), STD),
        "std": (CLASSES, 2, 8, MEAN, (0.2, 0.301)),
    }
    for what, given in wrong.items():
        with pytest.raises(InputError, match=rf"^data=\({what} .*distilled from toys with {what}") as caught:
            together.require(*given)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(InputError, match="image shape"):
        together.require(CLASSES, 2, 16, MEAN, STD)


@pytest.mark.parametrize("make", [lambda: [a_set(1, tiling=2)], different_members])
def test_a_set_is_an_ordinary_data_set(make):
    members = make()
    data = SyntheticSet.union(members).dataset()
    assert isinstance(data, Dataset)
    total = sum(3 * m.provenance.ipc * m.tiling.per_image for m in members)
    batches = list(DataLoader(data, batch_size=5))
    assert sum(len(y) for _, y in batches) == len(data) == total
    assert {x.shape[1:] for x, _ in batches} == {(2, 8, 8)} and batches[0][0].dtype == torch.float32
    hand = [(label, image) for m in members for image, label in zip(*by_hand(m), strict=True)]
    hand.sort(key=lambda row: row[0])
    assert [int(y) for _, y in data] == [label for label, _ in hand]
    want = (np.stack([image for _, image in hand]) - column(MEAN)) / column(STD)
    np.testing.assert_allclose(torch.cat([x for x, _ in batches]).numpy(), want, atol=1e-5)


def test_a_set_moves_with_its_labels_and_rate():
    one = a_set(rate=0.1).to("meta")
    assert {one.images.device.type, one.labels.device.type, one.learned_rate.device.type} == {"meta"}
    assert dict(one.named_parameters()).keys() == {"images", "learned_rate"}


@pytest.mark.parametrize("members", [(), 3, (3,), "union"])
def test_members_that_are_no_sets_are_named(members):
    if members == "union":
        members = (SyntheticSet.union([a_set()]),)
    with pytest.raises(InputError, match=r"^members=\w+: a tuple of SyntheticSet"):
        SyntheticUnion(members)
