"""Real images from arrays, from data sets of torchvision and Hugging Face, and from a folder of classes."""

import numpy as np
import pytest
import torch
from PIL import Image

import moe_distill as md
from moe_distill.data.real_set import RealSet

PIXELS = np.arange(6 * 12 * 12 * 3, dtype=np.uint8).reshape(6, 12, 12, 3)
LABELS = [0, 1, 0, 1, 0, 1]


class Pictures:
    """A data set as torchvision has them: pairs of a picture and a class number."""

    classes = ("cat", "dog")

    def __init__(self, mode="RGB", size=(12, 12), n=6, as_tensor=False):
        self.mode, self.size, self.n, self.as_tensor = mode, size, n, as_tensor

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        picture = Image.fromarray(PIXELS[i]).convert(self.mode).resize(self.size)
        return torch.tensor(np.array(picture)).permute(2, 0, 1) if self.as_tensor else picture, LABELS[i]


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        torch.from_numpy(PIXELS),
        PIXELS / 255,
        torch.from_numpy(PIXELS).double() / 255,
    ],
)
def test_arrays_of_any_order_and_kind_are_the_same_set(images):
    real = RealSet.from_tensors(images, LABELS, ["cat", "dog"])
    assert torch.equal(real.images_NCHW, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert real.images_NCHW.dtype == torch.uint8 and real.labels_N.tolist() == LABELS
    np.testing.assert_allclose(real.mean, (PIXELS / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(real.std, (PIXELS / 255).std((0, 1, 2)))


def test_gray_images_need_no_channel_and_test_images_take_the_statistics_of_the_others():
    train = RealSet.from_tensors(PIXELS[..., 0], LABELS, name="gray")
    test = RealSet.from_tensors(PIXELS[:2, ..., 1], [1, 0], like=train)
    assert train.channels == 1 and train.classes == ("0", "1")
    assert (test.mean, test.std, test.classes) == (train.mean, train.std, train.classes)


def test_a_data_set_of_pictures_of_tensors_and_of_hugging_face_are_the_same_set():
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageColumn

    kinds = Features({"picture": ImageColumn(), "animal": ClassLabel(names=["cat", "dog"])})
    columns = {"picture": [Pictures()[i][0] for i in range(6)], "animal": LABELS}
    sets = [
        RealSet.from_dataset(Pictures()),
        RealSet.from_dataset(Pictures(as_tensor=True)),
        RealSet.from_dataset(Dataset.from_dict(columns, features=kinds), name="pets"),
        RealSet.from_tensors(PIXELS, LABELS, ["cat", "dog"]),
    ]
    assert len({real.fingerprint for real in sets}) == 1
    assert [real.name for real in sets] == ["pictures", "pictures", "pets", "mine"]


def test_a_folder_of_classes_is_read_as_torchvision_reads_it(tmp_path):
    from torchvision.datasets import ImageFolder

    for i in range(6):
        (tmp_path / ("cat", "dog")[LABELS[i]]).mkdir(exist_ok=True)
        Pictures()[i][0].save(tmp_path / ("cat", "dog")[LABELS[i]] / f"{i}.png")
    ours, theirs = RealSet.from_folder(tmp_path), RealSet.from_dataset(ImageFolder(tmp_path))
    assert ours.fingerprint == theirs.fingerprint and ours.variant == "folder-png"
    assert RealSet.from_folder(tmp_path, size=8).size == 8
    assert RealSet.from_folder(tmp_path, like=theirs).std == theirs.std


def test_pictures_of_any_size_are_fitted_and_gray_ones_have_one_channel():
    assert RealSet.from_dataset(Pictures(size=(20, 30)), size=8).images_NCHW.shape == (6, 3, 8, 8)
    gray = RealSet.from_dataset(Pictures("L"))
    expected = np.stack([np.array(Pictures("L")[i][0]) for i in range(6)])
    assert torch.equal(gray.images_NCHW[:, 0], torch.from_numpy(expected))
    like = RealSet.from_dataset(Pictures("L", size=(30, 30)), like=RealSet.from_dataset(Pictures()))
    assert like.images_NCHW.shape == (6, 3, 12, 12)


class Names(Pictures):
    classes = ("dog", "cat")


def tensors(*shape, value=0.0, labels=(0, 1)):
    return lambda: RealSet.from_tensors(torch.full(shape, value), labels)


WRONG = [
    (tensors(2, 8, 9), r"images=shape \(2, 1, 8, 9\): square images of 1 or 3 channels"),
    (tensors(2, 8, 8, value=-1.0), "images=torch.float32 from -1 to -1: bytes, or fractions from 0 to 1"),
    (tensors(2, 8, 8, value=float("nan")), "images=torch.float32 from nan to nan: bytes, or fractions"),
    (tensors(2, 4, 4), "images=4: a whole number of pixels from 8 to 224"),
    (
        tensors(2, 8, 8, labels=[0, 1, 1]),
        r"labels=torch.int64 of shape \(3,\): a class number for each of the 2",
    ),
    (tensors(2, 8, 8, labels=[0.0, 1.0]), "labels=torch.float32 of shape"),
    (tensors(2, 8, 8, labels=[-1, 0]), "labels=-1: class numbers from 0"),
    (tensors(2, 8, 8, labels=[1, 2]), "labels=2: class numbers from 0 without a gap, .*; no image is of 0"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, ["cat"]), "labels=1: class numbers from 0 to 0"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, ["cat", "cat"]), "classes=cat: a name of its own for each"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, "ab"), "classes=ab: a list of the names of all classes"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, 2), "classes=2: a list of the names"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, like="digits"), "like=str: a RealSet, the training images"),
    (lambda: RealSet.from_tensors(PIXELS, LABELS, name=""), "name=: a text that is not empty"),
    (lambda: RealSet.from_tensors(PIXELS[:0], LABELS[:0]), r"images=shape \(0, .*: at least one image"),
    (
        lambda: RealSet.from_tensors(torch.zeros(2, 8, 8), [0, 1], like=RealSet.from_dataset(Pictures())),
        r"images=shape \(2, 1, 8, 8\): images of 3 × 12 × 12, as those of like=",
    ),
    (
        lambda: RealSet.from_dataset(Pictures(), size=16, like=RealSet.from_dataset(Pictures())),
        "size=16: leave it out beside like=, whose images are 12 pixels",
    ),
    (lambda: RealSet.from_dataset([(torch.zeros(1, 8, 8), 0.6)]), "dataset=a label 0.6: a class number"),
    (lambda: RealSet.from_dataset([(torch.zeros(1, 8, 8), "a")]), "dataset=a label 'a': a class number"),
    (lambda: RealSet.from_dataset([(torch.zeros(1, 8, 8), None)]), "dataset=a label None: a class number"),
    (lambda: RealSet.from_folder("pictures", like=3), "like=int: a RealSet"),
    (lambda: RealSet.from_tensors("pixels", LABELS), "images=str: a tensor, or an array of numbers"),
    (lambda: RealSet.from_dataset(3), "dataset=int: a data set with a length"),
    (
        lambda: RealSet.from_dataset(Pictures(n=0)),
        "dataset=Pictures: a data set of pictures of PIL, or of tensors",
    ),
    (lambda: RealSet.from_dataset(Pictures(size=(8, 9))), "size=None: a size such as 32"),
    (lambda: RealSet.from_dataset(Pictures(), size=3), "size=3: a whole number of pixels from 8 to 224"),
    (
        lambda: RealSet.from_dataset(Pictures(as_tensor=True), size=8),
        "size=8: leave it out: tensors",
    ),
    (
        lambda: RealSet.from_dataset(Names(), like=RealSet.from_dataset(Pictures())),
        "dataset=dog, cat: the classes of",
    ),
    (
        lambda: RealSet.from_folder("/nowhere"),
        "root=/nowhere: a folder that holds a folder of images a class",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_no_set_is_named(call, message):
    with pytest.raises(md.InputError, match=f"^{message}"):
        call()
