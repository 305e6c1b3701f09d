import hashlib
import pickle
import shutil
import tarfile
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets as torchvision_sets
from conftest_sources import noise, plant, source
from PIL import Image
from torchvision.datasets import utils as torchvision_utils
from torchvision.transforms import CenterCrop, Compose, Resize

from moe_distill.data.sources import folder
from moe_distill.data.sources import public_sets as sources
from moe_distill.data.sources.standardized import Standardised
from moe_distill.errors import InputError

FIXED = Compose([Resize(64), CenterCrop(64)])


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def urlopen(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision_utils.urllib.request, "urlopen", urlopen)


def checksum(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def mini_cifar(root, monkeypatch, name):
    """Write a miniature of the published layout, and let torchvision know its checksums."""
    kind, classes = getattr(torchvision_sets, name), source(name.lower()).classes
    base = root / kind.base_folder
    base.mkdir(parents=True)
    key = "labels" if name == "CIFAR10" else "fine_labels"
    lists = {"train_list": [], "test_list": []}
    for listing, written in lists.items():
        for number, (file, _) in enumerate(getattr(kind, listing)):
            entry = {"data": noise(number + len(listing), 3, 3072), key: [number, 1, len(classes) - 1]}
            (base / file).write_bytes(pickle.dumps(entry))
            written.append([file, checksum(base / file)])
    (base / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: list(classes)}))
    meta = {**kind.meta, "md5": checksum(base / kind.meta["filename"])}
    for attribute, value in {**lists, "meta": meta}.items():
        monkeypatch.setattr(kind, attribute, value)
    return root


@pytest.mark.parametrize(("name", "count"), [("CIFAR10", 15), ("CIFAR100", 3)])
def test_cifar_from_torchvisions_files(tmp_path, cache, monkeypatch, name, count):
    root = mini_cifar(tmp_path / "own", monkeypatch, name)
    made = source(name.lower(), root=str(root))
    train, test = made.load(cache)
    assert (len(train), len(test), train.variant, train.name) == (count, 3, "torchvision", name.lower())
    assert np.array_equal(train.images_NCHW[:3].numpy(), noise(10, 3, 3072).reshape(3, 3, 32, 32))
    assert train.labels_N[-3:].tolist() == [count // 3 - 1, 1, len(train.classes) - 1]
    assert (train.mean, train.std, train.classes) == (tuple(made.mean), tuple(made.std), tuple(made.classes))
    shutil.rmtree(cache)
    shutil.copytree(root, cache / "downloads")
    assert replace(made, root=None).load(cache)[0].fingerprint == train.fingerprint


def test_torchvisions_files_are_read_once(tmp_path, cache, monkeypatch):
    made = source("cifar10", root=str(mini_cifar(tmp_path / "own", monkeypatch, "CIFAR10")))
    first = made.load(cache)[0].fingerprint
    monkeypatch.setattr(sources.CIFAR10, "_part", None)
    assert made.load(cache)[0].fingerprint == first


def test_an_archive_in_root_is_unpacked(tmp_path, cache, monkeypatch):
    root = mini_cifar(tmp_path / "own", monkeypatch, "CIFAR10")
    kind = torchvision_sets.CIFAR10
    with tarfile.open(root / kind.filename, "w:gz") as archive:
        archive.add(root / kind.base_folder, kind.base_folder)
    shutil.rmtree(root / kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", checksum(root / kind.filename))
    assert len(source("cifar10", root=str(root)).load(cache)[0]) == 15


def test_damaged_files_are_refused(tmp_path, cache, monkeypatch):
    root = mini_cifar(tmp_path / "own", monkeypatch, "CIFAR10")
    (root / "cifar-10-batches-py/data_batch_3").write_bytes(b"x")
    with pytest.raises(InputError, match=r"^data\.root=.*corrupted.*cifar-10-batches-py.*train/<class>"):
        source("cifar10", root=str(root)).load(cache)


def test_other_files_than_those_that_were_cached_are_refused(tmp_path, cache, monkeypatch):
    root = mini_cifar(tmp_path / "own", monkeypatch, "CIFAR10")
    other = shutil.copytree(root, tmp_path / "other")
    assert len(source("cifar10", root=str(root)).load(cache)[0]) == 15
    (other / "cifar-10-batches-py/data_batch_3").write_bytes(b"other pixels")
    with pytest.raises(
        InputError, match=r"^data\.root=.*other/cifar-10-batches-py/data_batch_3: .*corrupted"
    ):
        source("cifar10", root=str(other)).load(cache)


@pytest.mark.parametrize("cached", [False, True])
def test_class_names_must_be_torchvisions(tmp_path, cache, monkeypatch, cached):
    made = source("cifar10", root=str(mini_cifar(tmp_path / "own", monkeypatch, "CIFAR10")))
    if cached:
        made.load(cache)
    with pytest.raises(InputError, match=r"^data\.classes=.*CIFAR10"):
        replace(made, classes=made.classes[::-1]).load(cache)


def test_stl10_is_brought_to_64(tmp_path, cache, monkeypatch):
    base = tmp_path / "own/stl10_binary"
    base.mkdir(parents=True)
    images = {
        "train": noise(1, 4, 3, 96, 96),
        "test": noise(2, 2, 3, 96, 96),
        "unlabeled": noise(3, 1, 3, 96, 96),
    }
    for part, pixels in images.items():
        pixels.transpose(0, 1, 3, 2).tofile(base / f"{part}_X.bin")  # stored column by column
        np.array([1, 10, 3, 4][: len(pixels)], dtype=np.uint8).tofile(base / f"{part}_y.bin")
    (base / "class_names.txt").write_text("\n".join(source("stl10").classes))
    for listing in ("train_list", "test_list"):
        files = [[file, checksum(base / file)] for file, _ in getattr(torchvision_sets.STL10, listing)]
        monkeypatch.setattr(torchvision_sets.STL10, listing, files)
    train, test = source("stl10", root=str(tmp_path / "own")).load(cache)
    assert (train.size, train.labels_N.tolist(), test.labels_N.tolist()) == (64, [0, 9, 2, 3], [0, 9])
    for got, image in zip(train.images_NCHW, images["train"], strict=True):
        assert np.array_equal(got.permute(1, 2, 0).numpy(), FIXED(Image.fromarray(image.transpose(1, 2, 0))))


@pytest.mark.parametrize("name", ["imagenette", "imagewoof"])
@pytest.mark.parametrize(("packed", "size"), [(False, 64), (True, 64), (False, 128)])
def test_imagenet_subsets_from_the_archive(tmp_path, cache, name, packed, size):
    made = source(name, size=size)
    stem = Path(made.url).stem
    root = tmp_path / "own"
    plant(root / stem, made.wnids, 80, "JPEG")
    with Image.open(root / stem / "train" / made.wnids[3] / "x.JPEG") as image:
        oracle = np.asarray(Compose([Resize(size), CenterCrop(size)])(image.convert("RGB"))).transpose(
            2, 0, 1
        )
    if packed:
        with tarfile.open(root / f"{stem}.tgz", "w:gz") as archive:
            archive.add(root / stem, stem)
        shutil.rmtree(root / stem)
    train, test = replace(made, root=str(root)).load(cache)
    assert (len(train), len(test), train.size, train.variant) == (10, 10, size, "torchvision")
    assert train.labels_N.tolist() == list(range(10))
    assert np.array_equal(train.images_NCHW[3].numpy(), oracle)
    assert train.classes == tuple(made.classes)
    assert sorted(path.name for path in root.iterdir()) == sorted([stem] + [f"{stem}.tgz"] * packed)


def test_imagenet_subset_is_downloaded_once(cache, monkeypatch):
    made, fetched = source("imagewoof"), []

    def download(url, folder, md5):
        fetched.append((url, md5))
        plant(Path(folder) / "imagewoof2-160", made.wnids, 70, "JPEG")

    monkeypatch.setattr(torchvision_utils, "download_and_extract_archive", download)
    assert len(made.load(cache)[0]) == len(made.load(cache)[0]) == 10
    assert fetched == [(made.url, None)]


def test_a_cut_off_archive_is_refused(tmp_path, cache):
    archive = tmp_path / "imagenette2-160.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(plant(tmp_path / "imagenette2-160", source("imagenette").wnids), "imagenette2-160")
    shutil.rmtree(tmp_path / "imagenette2-160")
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"^data\.root=.*imagenette cannot be loaded"):
        source("imagenette", root=str(tmp_path)).load(cache)
    assert not (tmp_path / "imagenette2-160").exists()


NAMED = ["cifar10", "cifar100", "stl10", "imagenette", "imagewoof", "tinyimagenet"]


@pytest.mark.parametrize("name", [*NAMED, "imagenet100"])
def test_class_folders_keep_the_published_order_and_statistics(tmp_path, cache, name):
    made = source(name, root=str(plant(tmp_path / "tree", source(name).classes, suffix="jpg")))
    train, test = made.load(cache)
    assert (train.variant, train.size, train.classes) == ("folder-jpeg", made.size, tuple(made.classes))
    assert (train.mean, train.std, test.labels_N.tolist()) == (
        tuple(made.mean),
        tuple(made.std),
        list(range(len(made.classes))),
    )
    with Image.open(tmp_path / "tree/train" / made.classes[0] / "x.jpg") as image:
        oracle = np.asarray(Compose([Resize(made.size), CenterCrop(made.size)])(image.convert("RGB")))
    assert np.array_equal(train.images_NCHW[0].permute(1, 2, 0).numpy(), oracle)


def test_one_tree_read_in_two_orders_is_cached_twice(tmp_path, cache):
    root = str(plant(tmp_path / "tree", source("imagewoof").classes, 64))
    by_name = folder.Folder(root, size=64, channels=3).load(cache)[0]
    published = source("imagewoof", root=root).load(cache)[0]
    for part in (by_name, published):
        dog = part.classes.index("dingo")
        assert torch.equal(part.images_NCHW[part.class_indices(dog)[0]], published.images_NCHW[9])


def test_other_folder_names_are_refused(tmp_path, cache):
    root = plant(tmp_path / "tree", source("cifar10").classes)
    (root / "train/cat").rename(root / "train/kitten")
    with pytest.raises(
        InputError, match=r"^data\.root=.*published classes in train/: lacking cat; unexpected kitten"
    ):
        source("cifar10", root=str(root)).load(cache)


@pytest.mark.parametrize("name", NAMED)
def test_an_empty_or_missing_root_names_both_layouts(tmp_path, cache, name):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            InputError, match=r"^data\.root=.*(batches-py|python|binary|2-160|-200).*train/<class>"
        ) as caught:
            source(name, root=str(root)).load(cache)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMED)
def test_without_network_the_two_ways_out_are_told(cache, name):
    with pytest.raises(
        InputError, match=r"^data\.root=None: .*no network.*set it to.*train/<class>"
    ) as caught:
        source(name).load(cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*NAMED, "imagenet100"])
def test_statistics_of_other_units_are_refused_before_files_are_looked_for(cache, name):
    with pytest.raises(InputError, match=r"^data\.mean=.*numbers from 0 to 1"):
        source(name, mean=[125.3, 123.0, 113.9]).load(cache)
    with pytest.raises(InputError, match=r"^data\.std=.*from 0\.0039 \(1/255"):
        source(name, std=[63.0, 62.1, 66.7]).load(cache)
    with pytest.raises(InputError, match=r"^data\.std=.*from 0\.0039 \(1/255"):
        source(name, std=[1e-30] * 3).load(cache)


def test_a_size_out_of_range_is_refused(cache):
    with pytest.raises(InputError, match=r"^data\.size=300"):
        source("stl10", size=300).load(cache)


def test_statistics_of_another_set_that_do_not_fit_are_named_where_they_stand(tmp_path):
    with pytest.raises(InputError, match=r"^normalisation\.data\.mean=.*: one number from 0 to 1"):
        Standardised(sources.Digits(), [0.5] * 3, [0.2] * 3).load(tmp_path)
