"""Images in class folders, ``train/<class>/*`` and ``test/<class>/*``: checked, decoded once, cached."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from moe_distill.data.cache import Tensors, cached
from moe_distill.data.realset import RealSet, pixel_statistics, train_and_test
from moe_distill.errors import InputError
from moe_distill.values import Pixels, Positive, Share, Text

LAYOUT = "a folder with train/<class>/* and test/<class>/* (val/ is taken for test/)"
KINDS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp", ".gif": "gif", ".webp": "webp"}
KINDS |= {".tif": "tiff", ".tiff": "tiff", ".ppm": "ppm", ".pgm": "pgm"}
BAR_FROM = 1000
AHEAD = 256


@dataclass(frozen=True)
class Folder:
    """The user's own images.

    Args:
        root: Holds ``train/<class>/*`` and ``test/<class>/*``.
        size: Pixels a side, 8..224; None takes the images as they are, all of one square size.
        channels: 1 or 3; None means 1 if every file is grayscale, else 3.
        mean: Of each channel in [0, 1]; None computes it from the training images.
        std: Likewise.
        name: The data set's name in records.
    """

    root: Text | None
    size: Pixels | None = None
    channels: Literal[1, 3] | None = None
    mean: Sequence[Share] | None = None
    std: Sequence[Positive] | None = None
    name: Text = "folder"

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set.

        Args:
            cache: The folder for decoded images.

        Raises:
            InputError: For anything wrong with the tree, its files or the fields above.
        """
        if self.root is None:
            raise InputError("data.root", None, LAYOUT)
        if self.size is not None:
            check_size(self.size)
        if self.channels not in (None, 1, 3):
            raise InputError("data.channels", self.channels, "1, 3 or null")
        tree = read_tree(Path(self.root).expanduser())
        arrays = decoded(tree, self.size, self.channels, cache)
        mean, std = pixel_statistics(arrays["train_images"])
        statistics = tuple(self.mean or mean), tuple(self.std or std)
        return train_and_test(arrays, tree.classes, statistics, self.name, tree.variant)


@dataclass(frozen=True)
class Tree:
    """The files of a class-folder tree: (file, label) in sorted order within each class."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    test: tuple[tuple[Path, int], ...]

    @property
    def variant(self) -> str:
        """``folder-jpeg``, ``folder-png`` and so on, or ``folder-mixed``."""
        kinds = {KINDS[path.suffix.lower()] for path, _ in self.train + self.test}
        return f"folder-{kinds.pop() if len(kinds) == 1 else 'mixed'}"

    def key(self, size: int | None, channels: int | None) -> str:
        """Return a name for the decoded tree that changes with any file, the classes' order, size and channels."""
        digest = hashlib.sha256(repr((self.classes, size, channels)).encode())
        for path, _ in self.train + self.test:
            stat = path.stat()
            digest.update(repr((path.relative_to(self.root).as_posix(), stat.st_size, stat.st_mtime_ns)).encode())
        return digest.hexdigest()


def read_tree(root: Path, classes: tuple[str, ...] | None = None) -> Tree:
    """List a class-folder tree and check it, without opening a file.

    Args:
        root: Holds train/ and test/ (or val/).
        classes: The folder names expected, in the order of the labels; None takes those of train/, sorted.

    Raises:
        InputError: Where a folder is missing, empty, holds anything but images, or the class names are wrong.
    """
    train, test = root / "train", root / "test"
    test = test if test.is_dir() else root / "val"
    if not (train.is_dir() and test.is_dir()):
        missing = "it does not exist" if not root.is_dir() else f"no {'test' if train.is_dir() else 'train'}/ in it"
        raise InputError("data.root", root, f"{LAYOUT}; {missing}")
    names = classes or tuple(sorted(class_folders(train)))
    if len(names) < 2:
        raise InputError("data.root", root, f"{LAYOUT}, of at least 2 classes; train/ has {len(names)}")
    for part in (train, test):
        found, wanted = class_folders(part), set(names)
        if found != wanted:
            difference = f"lacking {few(wanted - found)}; unexpected {few(found - wanted)}"
            expected = "the published classes" if classes else "the classes of train/"
            raise InputError("data.root", root, f"class folders named as {expected} in {part.name}/: {difference}")
    return Tree(root, names, *(listed([part / name for name in names]) for part in (train, test)))


def listed(folders: Sequence[Path]) -> tuple[tuple[Path, int], ...]:
    """Return the images of one folder a class, with their labels.

    Raises:
        InputError: Where a folder is missing, empty or holds anything but images.
    """
    return tuple((path, label) for label, folder in enumerate(folders) for path in images_in(folder))


def decoded(tree: Tree, size: int | None, channels: int | None, cache: Path) -> Tensors:
    """Return the pixels and labels of a tree, from the cache where it was decoded before.

    Args:
        tree: The files.
        size: Pixels a side; None takes the one square size the images share.
        channels: 1 or 3; None means 1 if every file is grayscale, else 3.
        cache: The folder for decoded images.

    Returns:
        ``{train,test}_images`` uint8 of shape (N, C, H, W) and ``{train,test}_labels`` int64 of shape (N,).

    Raises:
        InputError: For a file that cannot be decoded, or images without one common size.
    """
    return cached(cache / f"tree-{tree.key(size, channels)}.safetensors", lambda: _decode(tree, size, channels))


def check_size(size: int) -> None:
    """Raise InputError unless ``size`` is one the networks take."""
    if not 8 <= size <= 224:
        raise InputError("data.size", size, "a whole number of pixels from 8 to 224")


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """Bring the shorter side to ``size`` (bilinear, antialiased), then cut the centre square.

    The rounding is that of torchvision's ``Resize`` and ``CenterCrop``, so that published 64×64 sets are met exactly.
    """
    width, height = image.size
    short = min(width, height)
    width, height = size * width // short, size * height // short
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[Any]:
    """Yield ``function(item)`` in order, computed by as many threads as there are cores; long work shows a bar."""
    # In parts: results that wait to be taken would otherwise need as much memory as the whole.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = (pool.map(function, items[first : first + AHEAD]) for first in range(0, len(items), AHEAD))
        yield from tqdm(chain.from_iterable(parts), title, total=len(items), disable=len(items) <= BAR_FROM)


def class_folders(part: Path) -> set[str]:
    """Return the names of the folders in ``part``, none where it does not exist."""
    entries = part.iterdir() if part.is_dir() else ()
    return {path.name for path in entries if path.is_dir() and path.name[0] != "."}


def few(names: set[str]) -> str:
    """Return the first of these names, and how many more there are, for a message."""
    return ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted; names that begin with a dot are passed over.

    Raises:
        InputError: Where it is missing, empty or holds anything but images.
    """
    entries = sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    stray = next((path for path in entries if path.suffix.lower() not in KINDS or not path.is_file()), None)
    if stray is not None:
        raise InputError("data.root", stray, f"nothing but images in class folders ({', '.join(KINDS)})")
    if not entries:
        raise InputError("data.root", folder, "at least one image in each class folder")
    return entries


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("data.root", path, f"whole images; this file is broken or truncated ({error})") from error


def _header(path: Path) -> tuple[tuple[int, int], str]:
    with _opened(path) as image:
        return image.size, image.mode


def _pixels(path: Path, size: int, channels: int) -> torch.Tensor:
    with _opened(path) as image:
        pixels_HWC = np.array(fit_square(image.convert("L" if channels == 1 else "RGB"), size))
    return torch.from_numpy(pixels_HWC).view(size, size, channels).permute(2, 0, 1)


def _decode(tree: Tree, size: int | None, channels: int | None) -> Tensors:
    files = [path for path, _ in tree.train + tree.test]
    sizes, modes = zip(*in_threads(_header, files, "checking images"), strict=True)
    for path, mode in zip(files, modes, strict=True):
        if mode.startswith(("I", "F")):
            raise InputError("data.root", path, f"images of 8 bits a channel; this one is of mode {mode}")
    side = _shared_size(set(sizes)) if size is None else size
    depth = channels or (1 if set(modes) <= {"1", "L", "LA"} else 3)
    arrays = {}
    for part, listing in (("train", tree.train), ("test", tree.test)):
        images_NCHW = torch.empty(len(listing), depth, side, side, dtype=torch.uint8)
        pixels = partial(_pixels, size=side, channels=depth)
        for row, image_CHW in enumerate(in_threads(pixels, [path for path, _ in listing], f"decoding {part}")):
            images_NCHW[row] = image_CHW
        arrays[f"{part}_images"] = images_NCHW
        arrays[f"{part}_labels"] = torch.tensor([label for _, label in listing])
    return arrays


def _shared_size(sizes: set[tuple[int, int]]) -> int:
    (width, height), *others = sorted(sizes)
    if others or width != height:
        found = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        raise InputError(
            "data.size", None, f"a size, such as data.size=64: images are not of one square size ({found})"
        )
    check_size(width)
    return width
