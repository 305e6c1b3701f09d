"""The files of class-folder trees: listed, checked, and identified by their content."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from unicodedata import normalize

from moe_distill.data.pictures import KINDS, class_folders, content, pictures_in, printable_path
from moe_distill.data.sources.threads import in_threads
from moe_distill.errors import InputError

KEY = "data.root"
LAYOUT = "a folder with train/<class>/* and test/<class>/* (val/ is taken for test/)"
# Version of the decoding, part of cache keys. Increase it with every change to the pixels read from a file.
DECODING = 1

Listing = tuple[tuple[Path, int], ...]


@dataclass(frozen=True)
class Tree:
    """The files of a class-folder tree: (file, label) in sorted order within each class.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        train: The training images.
        test: The test images.
        digests: Sha256 of the bytes of each file, in hex.
    """

    classes: tuple[str, ...]
    train: Listing
    test: Listing
    digests: Mapping[Path, str]

    @property
    def variant(self) -> str:
        """``folder-jpeg``, ``folder-png`` and so on, or ``folder-mixed``."""
        kinds = {KINDS[path.suffix.lower()] for path, _ in self.train + self.test}
        return f"folder-{kinds.pop() if len(kinds) == 1 else 'mixed'}"

    def key(self, size: int | None, channels: int | None) -> str:
        """Return a name that changes with any file's bytes, the labels, size and channels."""
        parts = [[(self.digests[path], label) for path, label in part] for part in (self.train, self.test)]
        return hashlib.sha256(repr((DECODING, size, channels, parts)).encode()).hexdigest()


def tree_of(classes: Sequence[str], train: Listing, test: Listing) -> Tree:
    """Return the tree of these files; all of them are read for their digests.

    Raises:
        InputError: If one cannot be read.
    """
    return Tree(tuple(classes), train, test, digests_of(path for path, _ in train + test))


def digests_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the sha256 of each file's bytes, in hex.

    Raises:
        InputError: If one cannot be read.
    """
    files = list(paths)
    return dict(zip(files, in_threads(_digest, files, "reading images"), strict=True))


def digest_of(data: bytes) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _digest(path: Path) -> str:
    return digest_of(content(path, KEY))


def read_tree(root: Path, classes: tuple[str, ...] | None = None, test_share: float | None = None) -> Tree:
    """List a class-folder tree and check it, without decoding a file.

    Args:
        root: Holds train/ and test/ (or val/).
        classes: The expected folder names, in the order of the labels; None takes those of train/, sorted.
        test_share: Share of test images, see :func:`held_out`, for a tree without test/: ``root/<class>/*``
            or ``root/train/<class>/*``.

    Raises:
        InputError: If a folder is missing, empty, cannot be read or holds anything other than images, or the
            class names are wrong.
    """
    folders = class_folders(root, KEY)
    # ImageNet's archives call their held-out part val/.
    train, test = folders.get("train"), folders.get("test", folders.get("val"))
    if test_share is not None and test is not None:
        raise InputError("data.test_share", test_share, f"null: {printable_path(root)} has its {test.name}/")
    if test_share is not None:
        return _split(root, train or root, test_share)
    if train is None or test is None:
        missing = f"no {'test' if train else 'train'}/ in it" if root.is_dir() else "it does not exist"
        flat = train or root
        if classes is None and test is None and len(class_folders(flat, KEY)) > 1:
            missing += f"; data.test_share=0.2 would split {printable_path(flat)}/<class>/* into both"
        raise InputError(KEY, printable_path(root), f"{LAYOUT}; {missing}")
    # Equal classes in both parts, else labels of the test images would be shifted.
    parts = [class_folders(part, KEY) for part in (train, test)]
    names = _enough(classes or tuple(parts[0]), root, "train/")
    # Folder names are composed (NFC); published class names may be in either form of Unicode.
    composed = [normalize("NFC", name) for name in names]
    for part, present in zip((train, test), parts, strict=True):
        if present.keys() != set(composed):
            lacking, unexpected = set(composed) - present.keys(), present.keys() - set(composed)
            mismatch = f"lacking {few(lacking)}; unexpected {few(unexpected)}"
            expected = "the published classes" if classes else "the classes of train/"
            raise InputError(
                KEY, printable_path(root), f"class folders named as {expected} in {part.name}/: {mismatch}"
            )
    train_listing, test_listing = (listed([present[name] for name in composed]) for present in parts)
    return tree_of(names, train_listing, test_listing)


def _split(root: Path, flat: Path, test_share: float) -> Tree:
    if not root.is_dir():
        raise InputError(KEY, printable_path(root), "a folder with <class>/*; it does not exist")
    folders = class_folders(flat, KEY)
    names = _enough(tuple(folders), root, "it" if flat == root else "train/")
    # All classes at once: threads are then busy also with classes of few images.
    images = [images_in(folder) for folder in folders.values()]
    digests = digests_of(chain.from_iterable(images))
    train: list[tuple[Path, int]] = []
    test: list[tuple[Path, int]] = []
    for label, (folder, paths) in enumerate(zip(folders.values(), images, strict=True)):
        test_digests = held_out([digests[path] for path in paths], test_share, folder)
        for path in paths:
            part = test if digests[path] in test_digests else train
            part.append((path, label))
    return Tree(names, tuple(train), tuple(test), digests)


def held_out(digests: Collection[str], share: float, folder: Path) -> set[str]:
    """Return the digests of a class's test images: those that are, as numbers in [0, 1), below the share.

    An image stays in its part when others are renamed, added or removed, and its copies are in the same part.

    Args:
        digests: Sha256 of the bytes of each image, in hex.
        share: Share of test images, between 0 and 1.
        folder: The class folder, for errors.

    Raises:
        InputError: If there are not two different images.

    Example:
        >>> sorted(held_out(["10", "30", "f0"], share=0.25, folder=Path("cats")))
        ['10', '30']
    """
    ordered = sorted(set(digests))
    if len(ordered) < 2:
        allowed = "at least 2 different images in each class folder, one to train on and one to test on"
        raise InputError(KEY, printable_path(folder), allowed)
    # No part may be empty: the highest digest is never a test image, and the lowest is one if no other is.
    below_share = {digest for digest in ordered[:-1] if int(digest, 16) < share * 16 ** len(digest)}
    return below_share or {ordered[0]}


def listed(folders: Sequence[Path]) -> Listing:
    """Return the images of the class folders, each with its label, the position of the folder.

    Raises:
        InputError: If a folder is missing, empty, cannot be read or holds anything other than images.
    """
    return tuple((path, label) for label, folder in enumerate(folders) for path in images_in(folder))


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted.

    Raises:
        InputError: As :func:`listed`.
    """
    paths = pictures_in(folder, KEY)
    if not paths:
        raise InputError(KEY, printable_path(folder), "at least one image in each class folder")
    return paths


def few(names: Collection[str]) -> str:
    """Return the first five of these names and the number of others, for a message.

    Example:
        >>> few("gfedcba"), few([])
        ('a, b, c, d, e and 2 more', 'none')
    """
    if not names:
        return "none"
    first = ", ".join(sorted(names)[:5])
    return f"{first} and {len(names) - 5} more" if len(names) > 5 else first


def _enough(names: tuple[str, ...], root: Path, where: str) -> tuple[str, ...]:
    if len(names) < 2:
        raise InputError(
            KEY, printable_path(root), f"{LAYOUT}, of at least 2 classes; {where} has {len(names)}"
        )
    return names
