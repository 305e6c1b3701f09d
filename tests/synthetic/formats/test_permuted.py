"""Labels in another order are noticed where images tell their class, and only there."""

import pytest
import torch

from moe_distill.data.sources.public_sets import Digits
from moe_distill.synthetic.formats.permuted import coarse, looks_permuted


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    train, _ = Digits().load(tmp_path_factory.mktemp("cache"))
    return train, [coarse(train.images_NCHW[train.class_indices(c)] / 255) for c in range(10)]


def drawn(train, ipc, seed):
    rng = torch.Generator().manual_seed(seed)
    rows = torch.cat([train.class_indices(c)[torch.randperm(100, generator=rng)[:ipc]] for c in range(10)])
    return train.images_NCHW[rows] / 255, torch.arange(10).repeat_interleave(ipc)


@pytest.mark.parametrize("ipc", [2, 5, 10])
def test_shifted_and_reversed_labels_are_noticed_and_right_ones_are_not(digits, ipc):
    train, real = digits
    for seed in range(4):
        images, labels = drawn(train, ipc, seed)
        assert not looks_permuted(images, labels, real)
        for other in ((labels + 1) % 10, 9 - labels):
            assert looks_permuted(images, other, real)


def test_images_that_tell_nothing_of_their_class_raise_no_alarm(digits):
    _, real = digits
    labels = torch.arange(10).repeat_interleave(5)
    for seed in range(15):
        noise = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        assert not looks_permuted(noise, labels, real)
    assert not looks_permuted(noise[:10], torch.arange(10), real)  # one of each class
