from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest_folders import picture, plant, refused
from PIL import Image
from safetensors.torch import load_file

from moe_distill.data.sources import decoding
from moe_distill.data.sources.decoding import fit_square
from moe_distill.data.sources.folder import Folder
from moe_distill.data.sources.public_sets import ImageNetSubset
from moe_distill.errors import InputError
from moe_distill.store.tensor_cache import cached


def test_reads_every_pixel_in_order(root, cache):
    train, test = Folder(str(root)).load(cache)
    assert (train.classes, train.variant, train.channels, train.size) == (
        ("ant", "cat", "dog"),
        "folder-png",
        3,
        16,
    )
    assert train.labels_N.tolist() == test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    for row, (number, i) in enumerate([(1, 0), (1, 1), (0, 0), (0, 1), (2, 0), (2, 1)]):
        for part, first in ((train, 0), (test, 100)):
            oracle = np.asarray(picture(first + 10 * number + i)).transpose(2, 0, 1)
            assert np.array_equal(part.images_NCHW[row].numpy(), oracle)


def test_statistics_are_of_train_unless_given(root, cache):
    train, test = Folder(str(root)).load(cache)
    x = train.images_NCHW.numpy() / 255.0
    np.testing.assert_allclose(train.mean, x.mean((0, 2, 3)))
    np.testing.assert_allclose(train.std, x.std((0, 2, 3)))
    assert (test.mean, test.std) == (train.mean, train.std)
    given, _ = Folder(str(root), mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 1]).load(cache)
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 1))
    with pytest.raises(InputError, match=r"^data\.mean"):
        Folder(str(root), mean=[0.1]).load(cache)


@pytest.mark.parametrize(("width", "height"), [(37, 23), (23, 37), (16, 16), (9, 9), (70, 33)])
def test_the_shorter_side_is_resized_and_the_middle_is_cut_out(width, height):
    image, short = picture(3, width, height), min(width, height)
    # By Pillow alone: sides are rounded down, the place of the cut to the nearest pixel.
    sides = (16 * width // short, 16 * height // short)
    left, top = (round((side - 16) / 2) for side in sides)
    by_hand = image.resize(sides, Image.Resampling.BILINEAR).crop((left, top, left + 16, top + 16))
    assert np.array_equal(np.asarray(fit_square(image, 16)), np.asarray(by_hand))


def test_size_brings_unequal_images_together(root, cache):
    picture(77, 40, 20).save(root / "train/cat/wide.png")
    train, _ = Folder(str(root), size=8).load(cache)
    wide = np.asarray(fit_square(picture(77, 40, 20), 8)).transpose(2, 0, 1)
    assert train.size == 8
    assert np.array_equal(train.images_NCHW[4].numpy(), wide)


def test_channels_follow_the_files_or_the_user(tmp_path, cache):
    grey = plant(tmp_path / "grey", mode="L")
    assert Folder(str(grey)).load(cache)[0].channels == 1
    three = Folder(str(grey), channels=3).load(cache)[0]
    assert torch.equal(three.images_NCHW[:, 0], three.images_NCHW[:, 2])
    picture(5).save(grey / "test/ant/colour.png")
    assert Folder(str(grey)).load(cache)[0].channels == 3
    assert Folder(str(grey), channels=1).load(cache)[0].channels == 1


def test_variant_tells_the_kind_of_files(tmp_path, cache):
    jpeg = plant(tmp_path / "jpeg", suffix="jpg")
    picture(1).save(jpeg / "train/ant/x.JPEG")
    assert Folder(str(jpeg)).load(cache)[0].variant == "folder-jpeg"
    picture(1).save(jpeg / "train/ant/y.png")
    assert Folder(str(jpeg)).load(cache)[0].variant == "folder-mixed"


def test_litter_is_ignored_and_val_is_test(root, cache):
    for name in ("train/cat/.DS_Store", "train/cat/Thumbs.db", "test/ant/desktop.ini"):
        (root / name).write_text("x")
    for name in ("__MACOSX", "train/.ipynb_checkpoints", "train/__MACOSX", "test/cat/__MACOSX"):
        (root / name).mkdir()
    (root / "test").rename(root / "val")
    train, test = Folder(str(root)).load(cache)
    assert (len(train), len(test)) == (6, 6)


def counted(monkeypatch):
    calls, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *given: calls.append(given) or decode(*given))
    return calls


def test_decodes_once(root, cache, monkeypatch):
    calls = counted(monkeypatch)
    first, again = (Folder(str(root)).load(cache)[0] for _ in range(2))
    assert len(calls) == 1
    assert first.fingerprint == again.fingerprint
    Folder(str(root), size=8).load(cache)
    Folder(str(root), channels=1).load(cache)
    assert len(calls) == 3


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_a_truncated_cache_is_rebuilt(root, cache, monkeypatch, keep):
    calls = counted(monkeypatch)
    before = Folder(str(root)).load(cache)[0].fingerprint
    (stored,) = cache.glob("*.safetensors")
    whole = stored.read_bytes()
    stored.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert Folder(str(root)).load(cache)[0].fingerprint == before
    assert len(calls) == 2
    assert set(load_file(stored)) == {"train_images", "train_labels", "test_images", "test_labels"}
    assert not list(cache.glob(".*"))


def test_wordnet_ids_are_taken_as_folder_names(tmp_path, cache):
    wnids = ("n3", "n1", "n2")
    root = plant(tmp_path / "own", wnids, width=64, height=64)
    fields = {"name": "x", "classes": ["c", "a", "b"], "mean": [0.5] * 3, "std": [0.5] * 3, "size": 64}
    train, _ = ImageNetSubset(
        **fields, root=str(root), url="https://example.org/x.tgz", md5=None, wnids=wnids
    ).load(cache)
    assert (train.variant, train.classes) == ("folder-png", ("c", "a", "b"))
    assert np.array_equal(train.images_NCHW[0].permute(1, 2, 0).numpy(), np.asarray(picture(0, 64, 64)))


def test_one_of_many_builds_and_all_read_the_whole(cache):
    built = []

    def build():
        built.append(1)
        return {"x": torch.arange(1000)}

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: cached(cache / "x.safetensors", build), range(4)))
    assert len(built) == 1
    assert all(torch.equal(result["x"], torch.arange(1000)) for result in results)


def test_a_failed_build_leaves_nothing(cache):
    with pytest.raises(ZeroDivisionError):
        cached(cache / "x.safetensors", lambda: {"x": torch.tensor(1 // 0)})
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_refuses_a_missing_root(tmp_path, cache):
    refused(r"^data\.root=.*nowhere.*train/<class>.*does not exist", cache, root=str(tmp_path / "nowhere"))
    refused(r"^data\.root=None: .*train/<class>", cache, root=None)


@pytest.mark.parametrize("part", ["train", "test"])
def test_refuses_a_missing_part(root, cache, part):
    (root / part).rename(root / "elsewhere")
    refused(rf"^data\.root=.*own: .*no {part}/ in it", cache, root=str(root))


def test_refuses_an_empty_class(root, cache):
    for file in (root / "test/dog").iterdir():
        file.unlink()
    refused(r"^data\.root=.*test/dog: at least one image", cache, root=str(root))


def test_refuses_a_text_file(root, cache):
    (root / "train/ant/notes.txt").write_text("hello")
    refused(r"^data\.root=.*train/ant/notes\.txt: nothing but images", cache, root=str(root))


def test_refuses_a_folder_in_a_class(root, cache):
    (root / "train/ant/more.png").mkdir()
    refused(r"^data\.root=.*more\.png: nothing but images", cache, root=str(root))


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_refuses_a_broken_image(tmp_path, cache, content):
    root = plant(tmp_path / "own", suffix="jpg", width=64, height=64)
    file = root / "test/cat/1.jpg"
    file.write_bytes(file.read_bytes()[:900] if content is None else content)
    refused(r"^data\.root=.*test/cat/1\.jpg: .*broken or truncated", cache, root=str(root))


def test_refuses_16_bits(root, cache):
    Image.fromarray(np.full((16, 16), 40000, dtype=np.uint16)).save(root / "train/ant/deep.png")
    refused(r"^data\.root=.*deep\.png: images of 8 bits", cache, root=str(root))


def test_refuses_classes_that_differ(root, cache):
    (root / "test/dog").rename(root / "test/eel")
    refused(r"^data\.root=.*in test/: lacking dog; unexpected eel", cache, root=str(root))


def test_refuses_a_single_class(tmp_path, cache):
    refused(
        r"^data\.root=.*at least 2 classes; train/ has 1", cache, root=str(plant(tmp_path / "one", ("cat",)))
    )


@pytest.mark.parametrize("size", [7, 225])
def test_refuses_sizes(tmp_path, cache, size):
    root = str(plant(tmp_path / "own", width=size, height=size))
    refused(rf"^size={size}: .*at least 8 and at most 224", cache, root=root, size=size)
    refused(rf"^data\.size={size}: .*8 to 224", cache, root=root)


@pytest.mark.parametrize("shape", [(16, 17), (20, 20)])
def test_refuses_unequal_images_without_a_size(root, cache, shape):
    picture(1, *shape).save(root / "train/ant/odd.png")
    refused(rf"^data\.size=None: .*data\.size=64.*{shape[0]}x{shape[1]}", cache, root=str(root))


def test_refuses_other_channels(root, cache):
    refused(r"^channels=4: 1 or 3", cache, root=str(root), channels=4)
