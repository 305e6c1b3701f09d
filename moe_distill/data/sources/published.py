"""The base of public data sets: published statistics, and images from their own files or class folders."""

import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from moe_distill.data.normalization import check_statistics
from moe_distill.data.pictures import class_folders, printable_path
from moe_distill.data.real_set import RealSet, train_and_test
from moe_distill.data.sources.decoding import check_size, decoded
from moe_distill.data.sources.tree import KEY, LAYOUT, Tree, read_tree
from moe_distill.errors import InputError
from moe_distill.store.disk import expanded
from moe_distill.store.tensor_cache import Tensors
from moe_distill.validation.values import LocalFolder, Pixels, Positive, Share, Text


@dataclass(frozen=True, kw_only=True)
class PublishedSet(ABC):
    """A public set with its published statistics, from its own files or from a class-folder tree.

    Args:
        name: The data set's name in records.
        classes: Class names, in the published order.
        mean: Published mean of each channel, in [0, 1].
        std: Published standard deviation of each channel, in [0, 1].
        size: Pixels a side; other images are resized and centre-cropped.
        root: Holds the set's own files or a tree with a folder named after each class; None downloads into
            the cache.
    """

    name: Text
    classes: Sequence[Text]
    mean: Sequence[Share]
    std: Sequence[Positive]
    size: Pixels
    root: LocalFolder | None = None
    variant: ClassVar[str] = "torchvision"

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set.

        Args:
            cache: The folder for downloads and decoded images.

        Raises:
            InputError: If neither kind of files is found, they are broken, or the download fails.
        """
        check_size(self.size)
        check_statistics(self.mean, self.std, None)
        root = cache / "downloads" if self.root is None else expanded(self.root, KEY)
        folders = class_folders(root, KEY)
        if self.root is None or self._has_files(root):
            arrays, variant = self._own_files(root, cache), self.variant
        elif "train" not in folders:
            raise InputError(KEY, printable_path(root), f"{self._files()}, or {LAYOUT}")
        else:
            tree = read_tree(root, self._folder_names(root))
            arrays, variant = self.decoded(tree, cache), tree.variant
        # The published statistics, not those of these files: published results depend on them.
        statistics = tuple(self.mean), tuple(self.std)
        return train_and_test(arrays, tuple(self.classes), statistics, self.name, variant)

    def decoded(self, tree: Tree, cache: Path) -> Tensors:
        """Return the arrays of a tree.

        Raises:
            InputError: As for :func:`moe_distill.data.sources.decoding.decoded`.
        """
        accept = partial(check_statistics, self.mean, self.std)
        return decoded(tree, self.size, len(self.mean), cache, accept)

    def _folder_names(self, root: Path) -> tuple[str, ...]:
        return tuple(self.classes)

    @abstractmethod
    def _files(self) -> str:
        """Return a description of the set's own files, for errors."""

    @abstractmethod
    def _has_files(self, root: Path) -> bool:
        """Return True if a folder holds the set's own files, unpacked or not."""

    @abstractmethod
    def _own_files(self, root: Path, cache: Path) -> Tensors:
        """Return the arrays of the set's own files, downloading them first if they are missing."""

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn any failure to download or read files into an error that names the alternatives.

        Raises:
            InputError: If the block fails.
        """
        try:
            yield
        except (
            OSError,
            RuntimeError,
            EOFError,
            HTTPException,
            tarfile.TarError,
            zipfile.BadZipFile,
        ) as error:
            ways = f"set it to {self._files()}, or to {LAYOUT}"
            raise InputError(KEY, self.root, f"{self.name} cannot be loaded ({error}): {ways}") from error
