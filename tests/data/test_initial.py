"""What synthetic images start as, against the pixels of the class by hand."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_distill.data.initialization import first_real, mix, needs_images, noise, random_real
from moe_distill.data.real_set import RealSet
from moe_distill.seeding import stream

MEAN, STD = (0.4, 0.5), (0.2, 0.3)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "idc.npz")
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
    torch.testing.assert_close(
        seen / 600, torch.full_like(seen, share), rtol=0, atol=5 * (share / 600) ** 0.5
    )
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


@pytest.mark.parametrize("initial", [random_real, first_real, noise, mix])
def test_images_have_the_shape_of_the_data_and_the_number_asked_for(initial):
    assert initial(REAL, 2, 3, stream(0, "i")).shape == (3, 2, 8, 8)


def test_mix_is_the_published_one():
    pixels = torch.from_numpy(GOLDEN["init.real_u8"])
    real = RealSet(
        pixels.flatten(0, 1),
        torch.arange(2).repeat_interleave(8),
        ("a", "b"),
        (0.0,) * 3,
        (1.0,) * 3,
        "n",
        "v",
    )
    stored = torch.cat([mix(real, c, 2, stream(0, "i"), factor=2) for c in range(2)])
    torch.testing.assert_close(stored, torch.from_numpy(GOLDEN["init.mix_f2.data"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("factor", "size"), [(1, 8), (2, 8), (2, 9), (3, 10), (3, 11), (3, 12)])
def test_mix_against_loops(factor, size):
    """Cell by cell and pixel by pixel; a class that is too small gives its images again."""
    rng = stream(0, "mix")
    pixels = torch.randint(0, 256, (30, 2, size, size), generator=rng, dtype=torch.uint8)
    real = RealSet(pixels, torch.zeros(30, dtype=torch.int64), ("a",), (0.0,) * 2, (1 / 255,) * 2, "n", "v")
    n = 5
    expected = np.full((n, 2, size, size), -1.0)
    sides = [len(part) for part in np.array_split(range(size), factor)]
    for i in range(factor):
        for j in range(factor):
            for m in range(n):
                source = pixels[((i * factor + j) * n + m) % 30].numpy()
                for r in range(sides[i]):
                    for c in range(sides[j]):
                        pixel = source[:, r * size // sides[i], c * size // sides[j]]
                        expected[m, :, sum(sides[:i]) + r, sum(sides[:j]) + c] = pixel
    np.testing.assert_allclose(mix(real, 0, n, rng, factor).numpy(), expected, atol=1e-3)


def test_mix_composes_what_it_is_told_to():
    mixed = mix(REAL, 1, 2, stream(5, "i"), of=random_real)
    drawn = random_real(REAL, 1, 8, stream(5, "i"))
    assert torch.equal(mixed[1, :, :4, 4:], drawn[3, :, ::2, ::2])


@pytest.mark.parametrize(
    ("init", "needs"), [(noise, False), (random_real, True), (first_real, True), (mix, True)]
)
def test_noise_alone_takes_no_real_images(init, needs):
    assert needs_images(init) == needs_images(functools.partial(init)) == needs
