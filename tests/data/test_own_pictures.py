"""Pictures as people have them: lying photos, names of two systems, statistics of other units, odd
channels."""

import math
from unicodedata import normalize

import numpy as np
import pytest
import torch
from conftest_folders import plant, refused
from PIL import Image

from moe_distill.data.real_set import pixel_statistics
from moe_distill.data.sources import decoding
from moe_distill.data.sources.folder import Folder


def test_photos_stand_upright(root, cache):
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 24, dtype=np.uint8)[None, :, None], (16, 1, 3)))
    ramp.save(root / "train/ant/0.png", exif=exif)
    image_CHW = Folder(str(root), size=16).load(cache)[0].images_NCHW[0].float()
    assert image_CHW.diff(dim=1).abs().mean() > 5 > image_CHW.diff(dim=2).abs().max()
    refused(r"^data\.size=None: .*\(16x16, 16x24\)", cache / "other", root=str(root))


@pytest.mark.parametrize("names", [("café", "bee"), ("cafe", "bee")])
def test_class_names_are_composed(tmp_path, cache, names):
    root = plant(tmp_path / "own", names)
    (root / "test" / names[0]).rename(root / "test" / normalize("NFD", names[0]))
    assert Folder(str(root)).load(cache)[0].classes == ("bee", normalize("NFC", names[0]))


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"mean": [125.3, 123.0, 113.9]}, "mean"),
        ({"mean": [0.5, math.nan, 0.5]}, "mean"),
        ({"mean": [0.5, -0.1, 0.5]}, "mean"),
        ({"mean": ["a", "b", "c"]}, "mean"),
        ({"mean": [True, True, True]}, "mean"),
        ({"mean": []}, "mean"),
        ({"mean": [0.5]}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"std": [63.0, 62.1, 66.7]}, "std"),
        ({"std": [math.nan] * 3}, "std"),
        ({"std": [math.inf] * 3}, "std"),
        ({"std": [0.2, 0, 0.2]}, "std"),
        ({"std": [0.2, None, 0.2]}, "std"),
        ({"std": [0.2] * 4}, "std"),
        ({"std": [0.2], "channels": 3}, "std"),
    ],
)
def test_statistics_are_looked_at_before_anything_is_decoded(root, cache, monkeypatch, fields, key):
    monkeypatch.setattr(decoding, "fit_square", None)
    several = {"mean": "from 0 to 1, one a channel", "std": ", one a channel, from 0.0039 "}[key]
    each = {"mean": "each a number of at least 0 and at most 1", "std": "each a number above 0"}[key]
    line = rf"^(data\.)?{key}=.*: ((3|1 or 3) numbers ?{several}|a list.*, {each})"
    refused(line, cache, root=str(root), **fields)


def test_a_constant_channel_counts_as_one_grey_level(tmp_path, cache):
    root = plant(tmp_path / "own")
    usual = Folder(str(root)).load(cache)[0]
    for path in root.rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[..., 2] = 7
        Image.fromarray(pixels).save(path)
    train, _ = Folder(str(root)).load(cache)
    assert train.std[2] == 1 / 255
    assert (train.mean[:2], train.std[:2]) == (usual.mean[:2], usual.std[:2])
    assert train.normalised(train.images_NCHW)[:, 2].abs().max() < 1e-4


def test_a_channel_that_hardly_changes_counts_as_one_grey_level_too():
    pixels = torch.full((50, 2, 8, 8), 7, dtype=torch.uint8)
    pixels[0, 0, 0, 0] = 8  # a deviation of about a 60th of a level
    pixels[:25, 1] = 9  # of one level
    assert pixel_statistics(pixels)[1] == (1 / 255, pytest.approx(1 / 255))
    pixels[:25, 1] = 107
    assert pixel_statistics(pixels)[1][1] == pytest.approx(50 / 255)


def test_a_strip_that_would_grow_too_large_is_refused(root, cache):
    Image.new("1", (2_000_000, 1)).save(root / "test/dog/strip.png")
    refused(
        r"strip\.png: images of at most .* once the shorter side has 16; .* 2000000x1$",
        cache,
        root=str(root),
        size=16,
    )
