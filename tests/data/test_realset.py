import dataclasses
import pickle

import numpy as np
import pytest
import torch

from moe_distill.data.real_set import RealSet, pixel_statistics
from moe_distill.errors import InputError
from moe_distill.seeding import stream


@pytest.fixture
def real():
    rng = stream(0, "images")
    images = torch.randint(256, (40, 3, 8, 8), generator=rng, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(40)  # each image tells its index
    labels = torch.tensor([2, 0, 1, 0] * 10)
    return RealSet(images, labels, ("a", "b", "c"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "toy", "test")


def ids(real, normalised):
    return ((normalised[:, 0, 0, 0].double() * real.std[0] + real.mean[0]) * 255).round().long()


def test_describes_itself(real):
    assert (len(real), real.channels, real.size, real.device.type) == (40, 3, 8, "cpu")
    assert real.counts().tolist() == [20, 10, 10]
    for c in range(3):
        assert real.class_indices(c).tolist() == [i for i in range(40) if real.labels_N[i] == c]
    assert dataclasses.replace(real, classes=("a", "b", "c", "d")).class_indices(3).tolist() == []


def test_normalised_is_the_float64_formula(real):
    x = real.images_NCHW.numpy().astype(np.float64) / 255
    oracle = (x - np.array(real.mean)[:, None, None]) / np.array(real.std)[:, None, None]
    got = real.normalised(real.images_NCHW)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), oracle, atol=2e-6)


def test_statistics_are_numpys(real):
    x = real.images_NCHW.numpy().astype(np.float64) / 255
    mean, std = pixel_statistics(real.images_NCHW)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, x.std((0, 2, 3)), rtol=1e-12)


def test_class_batch_is_drawn_without_replacement_from_its_class(real):
    got = ids(real, real.class_batch(0, 7, stream(0)))
    assert len(set(got.tolist())) == 7
    assert set(got.tolist()) <= set(real.class_indices(0).tolist())
    assert torch.equal(got, ids(real, real.class_batch(0, 7, stream(0))))
    assert not torch.equal(got, ids(real, real.class_batch(0, 7, stream(1))))
    assert sorted(ids(real, real.class_batch(1, 99, stream(0))).tolist()) == real.class_indices(1).tolist()


def test_class_batch_is_uniform(real):
    rng = stream(0, "uniform")
    hits = torch.zeros(40)
    for _ in range(2000):
        hits[ids(real, real.class_batch(0, 5, rng))] += 1
    # Each of the 20 images is hit with probability 1/4: 500 ± 19 (one standard deviation); 5 of them bound
    # the worst.
    assert (hits[real.class_indices(0)] - 500).abs().max() < 97


def test_batch_spans_the_set(real):
    images, labels = real.batch(25, stream(3))
    drawn = ids(real, images)
    assert len(set(drawn.tolist())) == 25
    assert torch.equal(labels, real.labels_N[drawn])
    assert sorted(ids(real, real.batch(1000, stream(3))[0]).tolist()) == list(range(40))


def test_subset_keeps_order_and_has_its_own_fingerprint(real):
    rows = torch.tensor([5, 2, 30])
    part = real.subset(rows)
    assert part.images_NCHW[:, 0, 0, 0].tolist() == [5, 2, 30]
    assert torch.equal(part.labels_N, real.labels_N[rows])
    assert part.classes == real.classes
    assert part.fingerprint != real.fingerprint
    assert part.fingerprint == real.subset(rows.clone()).fingerprint
    assert part.fingerprint != real.subset(rows.flip(0)).fingerprint


@pytest.mark.parametrize("field", ["images_NCHW", "labels_N", "classes"])
def test_fingerprint_sees_every_part(real, field):
    changed = ("a", "b", "z") if field == "classes" else getattr(real, field).clone()
    if field != "classes":
        changed.view(-1)[7] ^= 1
    assert dataclasses.replace(real, **{field: changed}).fingerprint != real.fingerprint
    assert real.fingerprint == real.to("cpu").fingerprint
    assert len(real.fingerprint) == 64


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"mean": (0.1,)}, "mean"),
        ({"mean": (125.3, 123.0, 113.9)}, "mean"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean"),
        ({"mean": ("0.5", "0.5", "0.5")}, "mean"),
        ({"std": (1.0,)}, "std"),
        ({"std": (1.0, 0.0, 1.0)}, "std"),
        ({"std": (0.2, float("inf"), 0.2)}, "std"),
        ({"std": (0.2, float("nan"), 0.2)}, "std"),
        ({"std": (63.0, 62.1, 66.7)}, "std"),
    ],
)
def test_wrong_statistics_are_refused(real, fields, key):
    with pytest.raises(InputError, match=rf"^data\.{key}=.*3 numbers"):
        dataclasses.replace(real, **fields)


def test_survives_pickling(real):
    real.class_batch(0, 1, stream(0))
    copy = pickle.loads(pickle.dumps(real))
    assert torch.equal(copy.class_batch(1, 4, stream(0)), real.class_batch(1, 4, stream(0)))
    assert copy.fingerprint == real.fingerprint
