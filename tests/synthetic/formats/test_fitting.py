"""What was read becomes rows class by class, in a space that is named or certain."""

import numpy as np
import pytest
import torch

from moe_distill.data.normalization import Normalisation, Whitening
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.fitting import ordered_by_class, space_of
from moe_distill.synthetic.formats.foreign import ForeignSet

N, SHAPE = 6, (3, 8, 8)
SEEN = Normalisation((0.4, 0.5, 0.3), (0.2, 0.25, 0.3))
HARD = torch.arange(3).repeat_interleave(2)


def pixels():
    return torch.randn(N, *SHAPE, generator=torch.Generator().manual_seed(0))


def refusal(function, *given):
    with pytest.raises(InputError) as caught:
        function(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 3, 3], [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, -1, 2], [0, 0, 1, 1, 2, 0.5]]
)
def test_labels_that_are_not_each_class_equally_often_are_one_line(labels):
    line = refusal(ordered_by_class, ForeignSet("x", pixels(), torch.tensor(labels), ()), 3, "x.pt")
    assert "equally often" in line or "whole labels from 0 to 2" in line


@pytest.mark.parametrize("shape", [(5,), (6, 2), (6, 4), (6, 3, 1), ()])
def test_labels_of_another_shape_are_one_line(shape):
    said = refusal(ordered_by_class, ForeignSet("x", pixels(), torch.zeros(shape), ()), 3, "x.pt")
    assert "labels of shape (6,) or (6, 3)" in said


def test_rows_are_sorted_by_class_and_keep_their_order_within():
    labels = torch.tensor([2, 0, 1, 2, 1, 0])
    for given in (labels, labels.float(), torch.eye(3)[labels]):
        fitted = ordered_by_class(ForeignSet("x", pixels(), given, ()), 3, "x.pt")
        assert torch.equal(fitted.images_NCHW, pixels()[[1, 5, 2, 4, 0, 3]]) and fitted.soft_NC is None


@pytest.mark.parametrize(
    "kept", [lambda p: p.half(), lambda p: p.bfloat16(), lambda p: (p * 1e4).round() / 1e4]
)
def test_probabilities_that_were_rounded_are_no_logits(kept):
    shares = (5 * torch.eye(3)[HARD] + torch.randn(6, 3, generator=torch.Generator().manual_seed(2))).softmax(
        1
    )
    fitted = ordered_by_class(ForeignSet("x", pixels(), kept(shares), ()), 3, "x.pt")
    assert fitted.labels == "probabilities"
    torch.testing.assert_close(fitted.soft_NC.softmax(1), shares, rtol=0, atol=5e-3)


@pytest.mark.parametrize("off", [-1e-9, 1e-6, -1e-3])
def test_one_hot_labels_beside_0_and_1_are_no_logits(off):
    fitted = ordered_by_class(
        ForeignSet("x", pixels(), torch.eye(3, dtype=torch.float64)[HARD] + off, ()), 3, "x.pt"
    )
    assert fitted.labels == ("one-hot" if off == -1e-9 else "probabilities")
    soft_NC = torch.eye(3)[HARD] if fitted.soft_NC is None else fitted.soft_NC.softmax(1)
    torch.testing.assert_close(soft_NC, torch.eye(3)[HARD], rtol=0, atol=2e-3)


SHARES = (torch.eye(3)[HARD] + torch.rand(6, 3, generator=torch.Generator().manual_seed(3))).softmax(1)
UNCLEAR = {
    "percent": 100 * SHARES,
    "whole percent": (100 * SHARES).round(),
    "percent a little below 0": 100 * torch.eye(3)[HARD] * (1 - 1e-6) - 1e-6,
    "halves": 0.5 * SHARES,
    "of sum 1.03": 1.03 * SHARES,
    "255": (255 * torch.eye(3)[HARD]).to(torch.uint8),
    "plus and minus one": 2 * torch.eye(3)[HARD] - 1,
    "votes": torch.eye(3)[HARD].int() * torch.arange(1, 7)[:, None],
    "nothing": torch.zeros(6, 3),
    "the two largest": SHARES * SHARES.gt(SHARES.min(1, keepdim=True).values),
    "each of its own sum": SHARES * torch.linspace(0.5, 3, 6)[:, None],
}


@pytest.mark.parametrize("labels", UNCLEAR.values(), ids=UNCLEAR)
def test_rows_that_may_be_probabilities_of_another_sum_are_one_line(labels):
    line = refusal(ordered_by_class, ForeignSet("x", pixels(), labels, ()), 3, "x.pt")
    assert line.startswith(
        "pipeline.path=x.pt: labels as class numbers, as probabilities whose rows sum to 1, or as logits"
    )
    assert line.endswith("divide probabilities by the sum of their row, store logits as their log_softmax")


@pytest.mark.parametrize("name", ["percent", "halves", "255", "plus and minus one"])
def test_rows_that_the_files_say_are_logits_are_taken_as_they_are(name):
    fitted = ordered_by_class(ForeignSet("x", pixels(), UNCLEAR[name], (), logits=True), 3, "x.pt")
    assert fitted.labels == "logits" and torch.equal(fitted.soft_NC, UNCLEAR[name].float())


def test_what_that_line_says_is_taken():
    logits = 3 * torch.eye(3)[HARD]
    for labels, said in ((logits.log_softmax(1), "logits"), (50 * SHARES / 50, "probabilities")):
        assert ordered_by_class(ForeignSet("x", pixels(), labels, ()), 3, "x.pt").labels == said


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float16, torch.bool])
def test_one_hot_labels_of_any_type_name_classes(dtype):
    labels = torch.tensor([2, 0, 1, 2, 1, 0])
    fitted = ordered_by_class(ForeignSet("x", pixels(), torch.eye(3)[labels].to(dtype), ()), 3, "x.pt")
    assert fitted.soft_NC is None and fitted.labels == "one-hot"
    assert torch.equal(fitted.images_NCHW, pixels()[[1, 5, 2, 4, 0, 3]])


def test_learned_labels_stay_with_their_images():
    order = [1, 5, 2, 4, 0, 3]
    logits = 3 * torch.eye(3)[[2, 0, 1, 2, 1, 0]] + 0.1 * torch.randn(
        6, 3, generator=torch.Generator().manual_seed(1)
    )
    fitted = ordered_by_class(ForeignSet("x", pixels(), logits, ()), 3, "x.pt")
    assert fitted.labels == "logits" and torch.equal(fitted.soft_NC, logits[order])
    assert torch.equal(fitted.images_NCHW, pixels()[order])
    shares = logits.double().softmax(1)
    fitted = ordered_by_class(ForeignSet("x", pixels(), shares, ()), 3, "x.pt")
    assert fitted.labels == "probabilities"
    np.testing.assert_allclose(fitted.soft_NC.double().softmax(1), shares[order], atol=1e-6)
    # One learned label has left its class, its class as a whole has not: the rows stay as they lie.
    astray = 3 * torch.eye(3)[HARD] - 1
    astray[1] = torch.tensor([1.0, -1.0, 1.5])
    fitted = ordered_by_class(ForeignSet("x", pixels(), astray, ()), 3, "x.pt")
    assert torch.equal(fitted.images_NCHW, pixels()) and torch.equal(fitted.soft_NC, astray)


def test_the_space_is_decided_only_where_it_is_certain():
    def decided(images, said="auto", seen=SEEN, spaces=("raw", "standardised", "zca")):
        return space_of(images, said, ForeignSet("x", images, None, (), spaces=spaces), seen, "x.pt")

    raw = torch.linspace(0, 1, N * 192).view(N, *SHAPE)
    unclamped, standard = raw * 1.1 - 0.05, SEEN.standardised(raw)
    eye = torch.eye(192)
    white = Normalisation(SEEN.mean, SEEN.std, Whitening(torch.full((192,), 0.5), eye, eye, "s"))
    assert (decided(raw), decided(standard), decided(raw, seen=white)) == ("raw", "standardised", "raw")
    for images, seen in ((unclamped, SEEN), (standard * 1.1, SEEN), (standard, white)):
        assert refusal(decided, images, "auto", seen).startswith("pipeline.space=auto: raw or ")
    assert decided(unclamped, "raw") == "raw" and decided(standard * 1.1, "standardised") == "standardised"
    assert decided(standard, "zca", white) == "zca" and decided(unclamped, spaces=("raw",)) == "raw"
    for images, said, seen in ((raw, "zca", SEEN), (raw, "standardised", white), (raw, "linear", SEEN)):
        assert refusal(decided, images, said, seen).startswith(f"pipeline.space={said}: auto or raw or ")
    for images, said in (
        (255 * raw, "raw"),
        (255 * raw, "standardised"),
        (standard - 1, "raw"),
        (-9 * raw, "raw"),
    ):
        assert f"near raw pixels of 0 to 1; read as {said}" in refusal(decided, images, said)
