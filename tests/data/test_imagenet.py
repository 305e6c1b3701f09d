"""Tiny-ImageNet as it is published, and ImageNet-100 out of an ImageNet-1k tree."""

import shutil
import subprocess
import sys
import time
import urllib.error
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest_sources import noise, picture, plant, source
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image
from torchvision.datasets import utils as torchvision_utils
from torchvision.transforms import CenterCrop, Compose, Resize

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.sources.threads import AHEAD, in_threads
from moe_distill.errors import InputError

TINY, HUNDRED = source("tinyimagenet"), source("imagenet100")
PEAK = """
import resource, sys
from pathlib import Path
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.sources.folder import Folder

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
Folder(sys.argv[1], size=8, channels=3).load(Path(sys.argv[2]))  # so all imports are in memory now
before = peak()
train, test = Folder(sys.argv[1], size=224, channels=3).load(Path(sys.argv[2]))
print(peak() - before, train.images_NCHW.nbytes + test.images_NCHW.nbytes)
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def urlopen(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", urlopen)


def plant_tiny(base):
    """Write the published layout: two images a class in train, one in val, its name out of the classes'
    order."""
    lines = []
    for number, wnid in enumerate(TINY.wnids):
        for i in (0, 1):
            picture(base / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 2 * number + i, 64)
        (base / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t62\n")
        name = f"val_{number * 7 % 200}.JPEG"
        picture(base / "val/images" / name, 1000 + number, 64)
        lines.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (base / "val/val_annotations.txt").write_text("".join(sorted(lines)))
    picture(base / "test/images/test_0.JPEG", 1, 64)
    return base


def planted(path, size=64):
    with Image.open(path) as image:
        return np.asarray(Compose([Resize(size), CenterCrop(size)])(image.convert("RGB"))).transpose(2, 0, 1)


@pytest.mark.parametrize("where", ["in", "is", "renamed", "zip", "download"])
def test_tiny_imagenet_as_published(tmp_path, cache, monkeypatch, where):
    base = plant_tiny(tmp_path / "own/tiny-imagenet-200")
    oracle = planted(base / "train" / TINY.wnids[3] / "images" / f"{TINY.wnids[3]}_1.JPEG")
    held_out = planted(base / "val/images/val_21.JPEG")
    root = {"is": base, "renamed": base.with_name("tiny")}.get(where, base.parent)
    if where == "renamed":
        base.rename(root)
    if where in ("zip", "download"):
        archive = shutil.make_archive(str(base), "zip", base.parent, base.name)
        shutil.rmtree(base)
    if where == "download":
        root, asked = None, []

        def fetch(url, folder, md5):
            asked.append((url, md5))
            zipfile.ZipFile(archive).extractall(folder)

        monkeypatch.setattr(torchvision_utils, "download_and_extract_archive", fetch)
    train, test = replace(TINY, root=root and str(root)).load(cache)
    assert (len(train), len(test), train.size, train.variant) == (400, 200, 64, "tiny-imagenet-200")
    assert train.labels_N.tolist() == [number // 2 for number in range(400)]
    assert test.labels_N.tolist() == list(range(200))
    assert np.array_equal(train.images_NCHW[7].numpy(), oracle)
    assert np.array_equal(test.images_NCHW[3].numpy(), held_out)
    assert (train.classes[:2], train.classes[-1]) == (("goldfish", "European fire salamander"), "acorn")
    assert where != "download" or asked == [(TINY.url, TINY.md5)]


def test_tiny_imagenet_sorted_into_class_folders(tmp_path, cache):
    root = plant(tmp_path / "tree", TINY.wnids, 64, "JPEG")
    train, test = replace(TINY, root=str(root)).load(cache)
    assert (train.variant, train.classes) == ("folder-jpeg", tuple(TINY.classes))
    assert np.array_equal(test.images_NCHW[9].numpy(), planted(root / "val" / TINY.wnids[9] / "x.JPEG"))


def unannotated(base):
    (base / "val/val_annotations.txt").unlink()


def cut_off(base):
    file = base / "val/val_annotations.txt"
    file.write_text(file.read_text()[:900])


def of_another_class(base):
    file = base / "val/val_annotations.txt"
    file.write_text(file.read_text().replace(TINY.wnids[5], "n00000001"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda b: shutil.rmtree(b / "train" / TINY.wnids[8]),
            rf"train/<wnid>/images.*lacks train/{TINY.wnids[8]}/im",
        ),
        (
            lambda b: [p.unlink() for p in (b / "train" / TINY.wnids[8] / "images").iterdir()],
            "images: at least one",
        ),
        (lambda b: (b / "train" / TINY.wnids[8] / "images/x.txt").touch(), r"x\.txt: nothing but images"),
        (lambda b: shutil.rmtree(b / "val/images"), "val/images: at least one image"),
        (
            lambda b: (b / "val/images/val_4.JPEG").unlink(),
            r"annotations\.txt: a line for each .* mismatches: val_4\.JPEG$",
        ),
        (
            unannotated,
            r"val/val_annotations\.txt: a file with the name and class of each image of val/images/",
        ),
        (cut_off, r"annotations\.txt: a line for each image of val/images/.* and \d+ more$"),
        (of_another_class, rf"mismatches: n00000001, {TINY.wnids[5]}$"),
    ],
)
def test_a_partial_tiny_imagenet_is_refused(tmp_path, cache, damage, told):
    damage(plant_tiny(tmp_path / "tiny-imagenet-200"))
    with pytest.raises(InputError, match=rf"^data\.root=.*{told}") as caught:
        replace(TINY, root=str(tmp_path)).load(cache)
    assert "\n" not in str(caught.value)


def test_a_cut_off_zip_is_refused(tmp_path, cache):
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(b"PK\3\4" + bytes(500))
    with pytest.raises(InputError, match=r"^data\.root=.*tinyimagenet cannot be loaded.*tiny-imagenet-200/"):
        replace(TINY, root=str(tmp_path)).load(cache)


@pytest.mark.parametrize("size", [64, 128, 224])
def test_imagenet100_out_of_the_whole_tree(tmp_path, cache, size):
    root = plant(tmp_path / "own", [*HUNDRED.wnids, "n01440764", "n15075141"], 80, "JPEG")
    picture(root / "test/ILSVRC2012_test_00000001.JPEG", 0)  # the unlabelled part is not looked at
    train, test = replace(HUNDRED, root=str(root), size=size).load(cache)
    assert (len(train), len(test), train.size, train.variant) == (100, 100, size, "imagenet-1k")
    assert train.labels_N.tolist() == test.labels_N.tolist() == list(range(100))
    for number in (0, 57, 99):
        file = root / "val" / HUNDRED.wnids[number] / "x.JPEG"
        assert np.array_equal(test.images_NCHW[number].numpy(), planted(file, size))
    assert train.classes == tuple(HUNDRED.classes)


def test_imagenet100_takes_test_where_there_is_no_val(tmp_path, cache):
    root = plant(tmp_path / "own", HUNDRED.wnids, 64, parts=("train", "test"))
    _, test = replace(HUNDRED, root=str(root)).load(cache)
    assert torch.equal(test.labels_N, torch.arange(100))
    assert np.array_equal(test.images_NCHW[1].permute(1, 2, 0).numpy(), noise(501, 64, 72, 3)[:, 4:68])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda r: shutil.rmtree(r / "train" / HUNDRED.wnids[0]), rf"train/ lacks {HUNDRED.wnids[0]}$"),
        (lambda r: shutil.rmtree(r / "val"), r"val/ lacks n01558993, .* and 95 more$"),
        (
            lambda r: (r / "val" / HUNDRED.wnids[2] / "x.png").unlink(),
            rf"{HUNDRED.wnids[2]}: at least one image",
        ),
        (
            lambda r: shutil.rmtree(r),
            r"train/<wnid>/\*\.JPEG and val/<wnid>/\*\.JPEG of 100 classes, or a folder with",
        ),
    ],
)
def test_a_partial_imagenet_is_refused(tmp_path, cache, damage, told):
    damage(plant(tmp_path / "own", HUNDRED.wnids))
    with pytest.raises(InputError, match=rf"^data\.root=.*{told}") as caught:
        replace(HUNDRED, root=str(tmp_path / "own")).load(cache)
    assert "\n" not in str(caught.value)


def test_imagenet100_is_not_downloaded(cache):
    with pytest.raises(InputError, match=r"^data\.root=None: an ImageNet-1k folder with train/<wnid>"):
        HUNDRED.load(cache)


@pytest.mark.parametrize(("name", "size"), [("imagenette", 128), ("imagenet100", 128), ("imagenet100", 224)])
def test_larger_images_are_asked_for_on_the_command_line(tmp_path, cache, name, size):
    root = plant(tmp_path / "own", source(name).wnids, 80, "JPEG")
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("config", [f"data={name}", f"data.size={size}", f"data.root={root}", "model=convnet4"])
    train, _ = instantiate(cfg.plan.data).load(cache)
    assert (train.name, train.size) == (name, size)
    assert np.array_equal(
        train.images_NCHW[2].numpy(), planted(root / "train" / source(name).wnids[2] / "x.JPEG", size)
    )


@pytest.mark.slow
def test_reading_a_tree_needs_little_more_memory_than_its_pixels(tmp_path, cache):
    root = plant(tmp_path / "own", ["a", "b"], 8, "jpg")
    for i in range(200):
        shutil.copy(root / "train/a/x.jpg", root / "train/b" / f"{i}.jpg")
    command = [sys.executable, "-c", PEAK, str(root), str(cache)]
    peak, pixels = map(
        int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    )
    assert pixels == 204 * 3 * 224 * 224
    assert peak < 1.5 * pixels


def test_threads_do_not_run_far_ahead_of_who_takes_their_results():
    made = []
    results = in_threads(lambda item: made.append(item) or item, range(3000), "counting")
    taken = [next(results)]
    time.sleep(0.1)
    assert len(made) <= AHEAD < 300
    assert taken + list(results) == list(range(3000)) == sorted(made)
