"""Augmentation of pixels: torchvision's transforms, one draw a batch."""

from functools import partial

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, v2

from moe_distill.data.augmentation.pixels import PixelAugmentation
from moe_distill.data.normalization import Normalisation
from moe_distill.errors import InputError
from moe_distill.seeding import draw_seed, stream
from moe_distill.store.identity import describe

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
PIXELS = torch.randint(0, 256, (5, 3, 8, 8), generator=stream(0, "pixels"), dtype=torch.uint8)


def standardised(pixels):
    """Pixels as networks see them, number by number."""
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (NORMALISATION.mean, NORMALISATION.std))
    return (pixels.numpy().astype(np.float64) / 255 - mean) / std


SEEN = torch.from_numpy(standardised(PIXELS)).float()


@pytest.mark.parametrize(
    "build",
    [
        partial(v2.RandAugment, num_ops=1),
        partial(v2.AutoAugment, policy=AutoAugmentPolicy.CIFAR10),
        partial(v2.ColorJitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
    ],
)
def test_a_transform_of_torchvision_acts_on_eight_bit_pixels(build):
    changed = 0
    for trial in range(8):
        torch.manual_seed(draw_seed(stream(trial, "p")))
        wanted = standardised(build()(_nudged()))
        found = PixelAugmentation([build])(SEEN, NORMALISATION, stream(trial, "p"))
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
        changed += not torch.equal(found, SEEN)
    assert changed > 2


def _nudged():
    """Return the pixels as they come back: cut down to whole numbers, as published, where rounding fell
    below."""
    return (NORMALISATION.raw(SEEN).clamp(0, 1) * 255).to(torch.uint8)


def test_cutting_down_costs_at_most_one_level():
    assert (PIXELS.int() - _nudged().int()).abs().max() <= 1


def test_one_window_and_one_mirror_for_all_images_of_a_batch():
    augment = PixelAugmentation([partial(v2.RandomHorizontalFlip, p=0.5)], padding=2)
    framed = np.pad(standardised(_nudged()), ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    black = standardised(torch.zeros(1, 3, 1, 1))
    framed = np.where(np.isnan(framed), black, framed)
    windows = {(r, c): framed[:, :, r : r + 8, c : c + 8] for r in range(5) for c in range(5)}
    windows = {
        (*where, turned): w[..., ::-1] if turned else w for where, w in windows.items() for turned in (0, 1)
    }
    met = []
    for trial in range(300):
        found = augment(SEEN, NORMALISATION, stream(trial, "window")).numpy()
        (same,) = [where for where, w in windows.items() if np.abs(w - found).max() < 1e-5]
        met.append(same)
    counts = [np.bincount([m[i] for m in met], minlength=n) / 300 for i, n in ((0, 5), (1, 5), (2, 2))]
    assert all(abs(share - 1 / len(count)) < 0.12 for count in counts for share in count)


def test_what_lies_outside_the_range_of_pixels_is_clamped():
    found = PixelAugmentation([partial(v2.RandomHorizontalFlip, p=0.0)])(
        SEEN * 100, NORMALISATION, stream(0, "c")
    )
    raw = NORMALISATION.raw(found)
    assert raw.min() > -1e-6 and raw.max() < 1 + 1e-6


def test_the_global_generator_is_left_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    PixelAugmentation([partial(v2.RandAugment)])(SEEN, NORMALISATION, stream(0, "g"))
    assert torch.equal(torch.get_rng_state(), before)


def test_its_names_and_its_description_say_what_it_does():
    one = PixelAugmentation([partial(v2.AutoAugment, policy=AutoAugmentPolicy.CIFAR10)], padding=4)
    assert one.names == ["randomcrop", "autoaugment"]
    assert describe(one)["transforms"][0]["policy"] == "cifar10"
    other = PixelAugmentation([partial(v2.AutoAugment, policy=AutoAugmentPolicy.SVHN)], padding=4)
    assert describe(one) != describe(other)


@pytest.mark.parametrize(
    ("given", "line"), [({"padding": -1}, "padding=-1: a whole number"), ({}, "transforms=\\[\\]: at")]
)
def test_nothing_to_do_is_refused(given, line):
    with pytest.raises(InputError, match=rf"{line}"):
        PixelAugmentation(**given)
