"""Sources of published data sets; nothing is read or downloaded before ``load``."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from moe_distill.data.normalization import check_statistics
from moe_distill.data.pictures import class_folders, printable_path, readable
from moe_distill.data.real_set import RealSet, pixel_statistics, train_and_test
from moe_distill.data.sources.decoding import fit_square
from moe_distill.data.sources.published import PublishedSet
from moe_distill.data.sources.threads import in_threads
from moe_distill.data.sources.tree import KEY, LAYOUT, Tree, read_tree
from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.store.tensor_cache import Tensors, cached
from moe_distill.validation.values import Text


@dataclass(frozen=True)
class Digits:
    """The 8×8 handwritten digits that scikit-learn ships: 1197 training and 600 test images, no download.

    Args:
        name: The data set's name in records.
    """

    name: Text = "digits"

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set, a fixed split stratified by class; nothing is cached."""
        from sklearn.datasets import load_digits  # slow to import

        digits = load_digits()
        # Scikit-learn's pixels go from 0 to 16.
        images_NCHW = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        labels_N = torch.from_numpy(digits.target).long()
        # Shuffled, then sorted by class; test images are taken from there at equal distances, so each class
        # has its share of them to within one image.
        shuffled_N = torch.randperm(len(labels_N), generator=stream(0, "digits"))
        order_N = shuffled_N[labels_N[shuffled_N].argsort(stable=True)]
        in_test_N = torch.zeros(len(labels_N), dtype=torch.bool)
        in_test_N[order_N[torch.arange(600) * len(labels_N) // 600]] = True
        parts = {"train": ~in_test_N, "test": in_test_N}
        arrays = {f"{part}_images": images_NCHW[rows_N] for part, rows_N in parts.items()}
        arrays |= {f"{part}_labels": labels_N[rows_N] for part, rows_N in parts.items()}
        classes = tuple(map(str, digits.target_names))
        return train_and_test(
            arrays, classes, pixel_statistics(arrays["train_images"]), self.name, "scikit-learn"
        )


class _Torchvision(PublishedSet):
    """A set that torchvision downloads, verifies and reads."""

    dataset: ClassVar[str]

    @abstractmethod
    def _part(self, dataset: Any, root: Path, train: bool, download: bool) -> tuple[Any, np.ndarray, Any]:
        """Return torchvision's data set, its images_NCHW and its labels."""

    def _dataset(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.dataset)

    def _files(self) -> str:
        return f"a folder with torchvision's {self._dataset().base_folder}/"

    def _has_files(self, root: Path) -> bool:
        return (root / self._dataset().base_folder).is_dir() or (root / self._dataset().filename).is_file()

    def _own_files(self, root: Path, cache: Path) -> Tensors:
        check_statistics(self.mean, self.std, 3)
        if self.root is not None:
            self._require_published(root)
        # The files are the published ones: their pixels depend on the data set's name and the size. The class
        # names are in the file's name so that a cached file does not bypass their check in `_read`.
        names = hashlib.sha256(repr(tuple(self.classes)).encode()).hexdigest()[:8]
        return cached(cache / f"{self.dataset}-{self.size}-{names}.safetensors", lambda: self._read(root))

    def _require_published(self, root: Path) -> None:
        """Refuse a folder whose files are not the published ones, for which the cache has other pixels."""
        from torchvision.datasets.utils import check_integrity

        dataset = self._dataset()
        folder = root / dataset.base_folder
        checksums = dataset.train_list + dataset.test_list
        # STL-10's unlabelled images, 2.8 GB, are never read.
        files = [(folder / name, md5) for name, md5 in checksums if not name.startswith("unlabeled")]
        if not folder.is_dir():
            files = [(root / dataset.filename, dataset.tgz_md5)]
        with readable(root, KEY):
            damaged = [path for path, md5 in files if not check_integrity(path, md5)]
        if damaged:
            allowed = f"the published files of {self.dataset}; this one is missing, corrupted or another one"
            raise InputError(KEY, printable_path(damaged[0]), f"{allowed}. Or {self._files()}, or {LAYOUT}")

    def _read(self, root: Path) -> Tensors:
        dataset, arrays = self._dataset(), {}
        root.mkdir(parents=True, exist_ok=True)
        for part, train in (("train", True), ("test", False)):
            # The user's own folder is not written to, except to unpack an archive that lies in it.
            download = self.root is None or not (root / dataset.base_folder).is_dir()
            with self.explained():
                published, images_NCHW, labels = self._part(dataset, root, train, download)
            if tuple(published.classes) != tuple(self.classes):
                raise InputError(
                    "data.classes", list(self.classes), f"the classes of {self.dataset}, in its order"
                )
            arrays[f"{part}_images"] = _resized(images_NCHW, self.size)
            arrays[f"{part}_labels"] = torch.as_tensor(labels, dtype=torch.int64)
        return arrays


class CIFAR10(_Torchvision):
    """CIFAR-10: 50 000 training and 10 000 test images of 32×32."""

    dataset: ClassVar[str] = "CIFAR10"

    def _part(self, dataset: Any, root: Path, train: bool, download: bool) -> tuple[Any, np.ndarray, Any]:
        published = dataset(root, train=train, download=download)
        return published, published.data.transpose(0, 3, 1, 2), published.targets


class CIFAR100(CIFAR10):
    """CIFAR-100 with its 100 fine labels."""

    dataset: ClassVar[str] = "CIFAR100"


class STL10(_Torchvision):
    """STL-10: 5000 labelled training and 8000 test images of 96×96."""

    dataset: ClassVar[str] = "STL10"

    def _part(self, dataset: Any, root: Path, train: bool, download: bool) -> tuple[Any, np.ndarray, Any]:
        published = dataset(root, split="train" if train else "test", download=download)
        return published, published.data, published.labels


@dataclass(frozen=True, kw_only=True)
class ImageNetSubset(PublishedSet):
    """A published archive of ImageNet classes, ``<archive>/{train,val}/<wnid>/*.JPEG``.

    Args:
        url: The archive, a .tgz or .zip named like the folder in it.
        md5: Its checksum; None if none is published.
        wnids: WordNet ids, in the order of ``classes``.
    """

    url: Text
    md5: Text | None
    wnids: Sequence[Text]

    def _folder_names(self, root: Path) -> tuple[str, ...]:
        return tuple(self.wnids if self.wnids[0] in class_folders(root / "train", KEY) else self.classes)

    def _files(self) -> str:
        return f"a folder with {Path(self.url).stem}/ or {Path(self.url).name}"

    def _has_files(self, root: Path) -> bool:
        return self._folder(root).is_dir() or (root / Path(self.url).name).is_file()

    def _folder(self, root: Path) -> Path:
        return root / Path(self.url).stem

    def _own_files(self, root: Path, cache: Path) -> Tensors:
        folder = self._folder(root)
        if not folder.is_dir():
            with self.explained():
                self._unpack(root)
        return self.decoded(self._tree(folder), cache)

    def _tree(self, folder: Path) -> Tree:
        return read_tree(folder, tuple(self.wnids))

    def _unpack(self, root: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive, extract_archive

        root.mkdir(parents=True, exist_ok=True)
        archive, stem = root / Path(self.url).name, Path(self.url).stem
        # Unpacked into a temporary folder and then moved, so that an interrupted attempt leaves no partial
        # folder.
        with TemporaryDirectory(dir=root) as aside:
            if archive.is_file():
                extract_archive(archive, aside)
            else:
                download_and_extract_archive(self.url, aside, md5=self.md5)
            (Path(aside) / stem).replace(root / stem)


def _resized(images_NCHW: np.ndarray, size: int) -> torch.Tensor:
    if images_NCHW.shape[2] == size:
        return torch.from_numpy(np.ascontiguousarray(images_NCHW))
    images_NHWC = np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1))
    images = [Image.fromarray(image_HWC) for image_HWC in images_NHWC]
    resized = [np.asarray(image) for image in in_threads(partial(fit_square, size=size), images, "resizing")]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()
