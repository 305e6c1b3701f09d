"""What synthetic images start as, against the pixels of the class by hand."""

import pytest
import torch

from moe_distill.data.initial import first_real, noise, random_real
from moe_distill.data.realset import RealSet
from moe_distill.seeding import stream

MEAN, STD = (0.4, 0.5), (0.2, 0.3)
PIXELS = torch.randint(0, 256, (30, 2, 8, 8), generator=stream(0, "pixels"), dtype=torch.uint8)
LABELS = torch.randint(0, 3, (30,), generator=stream(0, "labels"))
REAL = RealSet(PIXELS, LABELS, ("a", "b", "c"), MEAN, STD, "n", "v")


def of_class(c):
    """All standardised images of a class in the order of the data, float64."""
    chosen = torch.stack([PIXELS[i] for i in range(30) if int(LABELS[i]) == c]).double() / 255
    return (chosen - torch.tensor(MEAN).view(2, 1, 1)) / torch.tensor(STD).view(2, 1, 1)


def places(images, c):
    """Where each image stands among those of its class; fails for one that is not there."""
    distance = (images.double()[:, None] - of_class(c)[None]).abs().flatten(2).amax(2)
    assert distance.amin(1).max() < 1e-5
    return distance.argmin(1).tolist()


@pytest.mark.parametrize("c", range(3))
def test_first_images_are_taken_in_the_order_of_the_data(c):
    assert places(first_real(REAL, c, 4, stream(0, "i")), c) == [0, 1, 2, 3]


@pytest.mark.parametrize("c", range(3))
def test_random_images_are_of_the_class_and_not_repeated(c):
    count = int((c == LABELS).sum())
    assert sorted(places(random_real(REAL, c, count, stream(0, "i")), c)) == list(range(count))


def test_random_images_are_drawn_uniformly_from_the_stream():
    rng, seen = stream(0, "i"), torch.zeros(len(of_class(1)))
    for _ in range(600):
        seen[places(random_real(REAL, 1, 2, rng), 1)] += 1
    share = 2 / len(seen)
    torch.testing.assert_close(seen / 600, torch.full_like(seen, share), rtol=0, atol=5 * (share / 600) ** 0.5)
    again = [random_real(REAL, 1, 3, stream(5, "i")) for _ in range(2)]
    assert torch.equal(*again) and not torch.equal(again[0], random_real(REAL, 1, 3, stream(6, "i")))


def test_noise_is_standard_normal_and_new_for_every_call():
    rng = stream(0, "i")
    images, more = noise(REAL, 0, 100, rng), noise(REAL, 0, 100, rng)
    assert images.shape == (100, 2, 8, 8) and images.dtype == torch.float32
    n = images.numel()
    assert abs(float(images.mean())) < 5 / n**0.5
    assert float(images.double().var()) == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert float((images.double() ** 4).mean()) == pytest.approx(3, abs=5 * (96 / n) ** 0.5)
    assert float((images * more).mean()) == pytest.approx(0, abs=5 / n**0.5)


@pytest.mark.parametrize("initial", [random_real, first_real, noise])
def test_images_have_the_shape_of_the_data_and_the_number_asked_for(initial):
    assert initial(REAL, 2, 3, stream(0, "i")).shape == (3, 2, 8, 8)
