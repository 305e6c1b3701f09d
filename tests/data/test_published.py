"""What needs no file of a published set: the digits, and the names and checksums in the configuration."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as torchvision_sets
import yaml
from conftest_sources import source
from sklearn.datasets import load_digits
from torchvision.models._meta import _IMAGENET_CATEGORIES

from moe_distill.data.sources.public_sets import Digits

# Of the ids, sorted and joined by spaces: imagenet100.txt of HobbitLong/CMC, wnids.txt of
# tiny-imagenet-200.zip.
LISTS = [("imagenet100", 100, "469d277522bc36e8"), ("tinyimagenet", 200, "b980fcdd5488933a")]
CONF = Path(__file__).parents[2] / "conf/data"
NAMED = ["cifar10", "cifar100", "stl10", "imagenette", "imagewoof", "imagenet100"]


def test_digits_are_scikit_learns(tmp_path):
    train, test = Digits().load(tmp_path)
    assert (len(train), len(test), train.size, train.channels) == (1197, 600, 8, 1)
    assert (train.variant, train.classes) == ("scikit-learn", tuple("0123456789"))
    raw = load_digits()
    scaled = (raw.images * 255 / 16).round().astype(np.uint8)
    images = np.concatenate([train.images_NCHW.numpy(), test.images_NCHW.numpy()])
    labels = np.concatenate([train.labels_N.numpy(), test.labels_N.numpy()])
    assert sorted((i.tobytes(), int(y)) for i, y in zip(images, labels, strict=True)) == sorted(
        (i.tobytes(), int(y)) for i, y in zip(scaled, raw.target, strict=True)
    )
    assert np.abs(test.counts().numpy() - np.bincount(raw.target) * 600 / 1797).max() < 1
    np.testing.assert_allclose(train.mean[0], (train.images_NCHW.numpy() / 255).mean())
    assert Digits().load(tmp_path)[0].fingerprint == train.fingerprint


def test_published_classes_are_complete():
    conf = {name: yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in NAMED}
    assert [len(set(conf[name]["classes"])) for name in NAMED] == [10, 100, 10, 10, 10, 100]
    assert conf["cifar100"]["classes"] == sorted(conf["cifar100"]["classes"])
    nette, woof = conf["imagenette"], conf["imagewoof"]
    published = {wnid: names[0] for wnid, names in torchvision_sets.Imagenette._WNID_TO_CLASS.items()}
    assert published == dict(zip(nette["wnids"], nette["classes"], strict=True))
    assert (nette["url"], nette["md5"]) == torchvision_sets.Imagenette._ARCHIVES["160px"]
    assert woof["wnids"] == sorted(set(woof["wnids"]))
    assert len(woof["wnids"]) == len(woof["classes"])


def test_the_yaml_gives_the_published_statistics():
    conf = {name: yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in NAMED}
    assert (conf["cifar10"]["mean"], conf["cifar10"]["std"]) == (
        [0.4914, 0.4822, 0.4465],
        [0.2023, 0.1994, 0.2010],
    )
    assert (conf["cifar100"]["mean"], conf["cifar100"]["std"]) == (
        [0.5071, 0.4866, 0.4409],
        [0.2673, 0.2564, 0.2762],
    )
    assert [conf[name]["size"] for name in NAMED] == [32, 32, 64, 64, 64, 64]
    imagenet = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]
    for name in ("imagenette", "imagewoof", "imagenet100", "tinyimagenet"):
        fields = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        assert [fields["mean"], fields["std"]] == imagenet


@pytest.mark.parametrize(("name", "count", "hashed"), LISTS)
def test_the_lists_of_wordnet_ids_are_the_published_ones(name, count, hashed):
    made = source(name)
    assert len(made.wnids) == len(made.classes) == len(set(made.classes)) == count
    assert list(made.wnids) == sorted(set(made.wnids))
    assert hashlib.sha256(" ".join(made.wnids).encode()).hexdigest()[:16] == hashed
    # ImageNet-1k's classes are sorted by WordNet id: names in another order than the ids would belong to
    # others
    places = [_IMAGENET_CATEGORIES.index(one) for one in made.classes if _IMAGENET_CATEGORIES.count(one) == 1]
    assert places == sorted(places) and len(places) >= count - 1
