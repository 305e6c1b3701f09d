"""Trees of class folders: what is in the files counts, not what they are called; one without parts is
split."""

import os
import shutil

import pytest
import torch
from conftest_folders import picture, plant, refused

from moe_distill.data.sources import decoding
from moe_distill.data.sources.folder import Folder
from moe_distill.data.sources.tree import digest_of, held_out, read_tree
from moe_distill.errors import InputError
from moe_distill.store.identity import identity


def backdated(root):
    for path in root.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    return root


def fingerprint(root, cache, **fields):
    return Folder(str(root), **fields).load(cache)[0].fingerprint


def test_trees_of_equal_names_sizes_and_times_are_two(tmp_path, cache):
    one, other = (backdated(plant(tmp_path / name, suffix="bmp")) for name in ("one", "other"))
    picture(999).save(other / "train/cat/0.bmp")
    backdated(other)
    stats = [
        [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(r.rglob("*.*"))]
        for r in (one, other)
    ]
    assert stats[0] == stats[1]
    first = fingerprint(one, cache)
    assert fingerprint(other, cache) != first
    # In place, with the old time: the same file of the same tree.
    shutil.copyfile(other / "train/cat/0.bmp", one / "train/cat/0.bmp")
    backdated(one)
    assert fingerprint(one, cache) == fingerprint(other, cache)


def test_a_copy_under_other_names_is_not_decoded_again(tmp_path, cache, monkeypatch):
    one = plant(tmp_path / "one")
    first = fingerprint(one, cache)
    shutil.copytree(one, tmp_path / "two")
    for path in (tmp_path / "two").rglob("*.png"):
        path.rename(path.with_name(f"photo {path.name}"))
    monkeypatch.setattr(decoding, "decode", None)
    assert fingerprint(tmp_path / "two", cache) == first


@pytest.mark.parametrize("change", ["swapped", "moved to test"])
def test_the_same_bytes_elsewhere_are_another_tree(tmp_path, cache, change):
    root = plant(tmp_path / "own")
    before = [part.fingerprint for part in Folder(str(root)).load(cache)]
    target = root / ("train/dog/0.png" if change == "swapped" else "test/cat/7.png")
    if change == "swapped":
        shutil.move(target, root / "aside.png")
        shutil.move(root / "train/cat/0.png", target)
        shutil.move(root / "aside.png", root / "train/cat/0.png")
    else:
        shutil.move(root / "train/cat/0.png", target)
    after = [part.fingerprint for part in Folder(str(root)).load(cache)]
    assert before[0] != after[0]
    assert (before[1] == after[1]) == (change == "swapped")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, cache):
    tree = read_tree(plant(tmp_path / "own"))
    picture(5).save(tmp_path / "own/test/dog/1.png")
    with pytest.raises(InputError, match=r"^data\.root=.*test/dog/1\.png: files that do not change while"):
        decoding.decoded(tree, None, None, cache)
    assert not list(cache.glob("*.safetensors"))


def parts_of(root, cache, share=0.3):
    """Return the part and the label of each image, by its pixels."""
    parts = {}
    for name, part in zip(("train", "test"), Folder(str(root), test_share=share).load(cache), strict=True):
        for image, label in zip(part.images_NCHW, part.labels_N, strict=True):
            parts[image.numpy().tobytes()] = (name, int(label))
    return parts


@pytest.mark.parametrize("inside", ["", "train"])
def test_a_flat_tree_is_split_by_content(tmp_path, cache, inside):
    root = plant(tmp_path / "own", per_class=9, parts=("train",))
    if not inside:
        for folder in (root / "train").iterdir():
            folder.rename(root / folder.name)
        (root / "train").rmdir()
    before = parts_of(root, cache)
    assert len(before) == 27
    assert set(before.values()) == {(part, c) for part in ("train", "test") for c in range(3)}
    for number, path in enumerate(sorted((root / inside).glob("*/*.png"))):
        path.rename(path.with_name(f"{(number * 7) % 27}-renamed.png"))
    for number in range(5):
        picture(500 + number).save(root / inside / "ant" / f"new {number}.png")
    after = parts_of(root, cache)
    assert len(after) == 32
    assert before.items() <= after.items()


def test_the_share_is_met_and_copies_stay_together():
    digests = [digest_of(bytes([i, j])) for i in range(100) for j in range(100)]
    chosen = held_out(digests + digests[:50], 0.2, None)
    assert abs(len(chosen) / 10_000 - 0.2) < 5 * (0.2 * 0.8 / 10_000) ** 0.5
    assert chosen < held_out(digests, 0.3, None)


@pytest.mark.parametrize(
    ("digests", "test"), [(["1", "2"], {"1"}), (["e", "f", "d"], {"d"}), (["1", "2", "0"], None)]
)
def test_each_part_keeps_an_image(digests, test):
    assert held_out(digests, 0.5, None) == (test or {"0", "1"})


def test_a_class_of_one_image_is_not_split(tmp_path, cache):
    root = plant(tmp_path / "own", parts=("train",))
    shutil.copyfile(root / "train/ant/0.png", root / "train/ant/1.png")
    refused(r"^data\.root=.*train/ant: at least 2 different images", cache, root=str(root), test_share=0.5)


@pytest.mark.parametrize("share", [0, 1, -0.2, 1.5, float("nan"), float("inf"), True, "0.2"])
def test_refuses_shares(tmp_path, cache, share):
    root = plant(tmp_path / "own", parts=("train",))
    refused(r"^test_share=.*above 0 and below 1", cache, root=str(root), test_share=share)


def test_a_tree_of_one_part_names_the_option(tmp_path, cache):
    root = plant(tmp_path / "own", parts=("train",))
    refused(r"no test/ in it; data\.test_share=0\.2 would split .*train/<class>/\*", cache, root=str(root))
    refused(r"no train/ in it; data\.test_share=0\.2 would split", cache, root=str(root / "train"))


def test_a_share_of_a_tree_with_both_parts_is_refused(tmp_path, cache):
    root = plant(tmp_path / "own")
    refused(r"^data\.test_share=0\.2: null: .*own has its test/", cache, root=str(root), test_share=0.2)


def test_the_share_decides_where_there_is_one():
    assert identity(Folder("x")) == {"_target_": "Folder", "root": "x"}
    assert identity(Folder("x", test_share=0.2)) == {"_target_": "Folder", "root": "x", "test_share": 0.2}


def test_statistics_are_those_of_the_training_part(tmp_path, cache):
    root = plant(tmp_path / "own", per_class=9, parts=("train",))
    train, test = Folder(str(root), test_share=0.3).load(cache)
    assert train.mean == test.mean
    torch.testing.assert_close(torch.tensor(train.mean), (train.images_NCHW / 255).mean((0, 2, 3)))
