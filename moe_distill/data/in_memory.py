"""Real images from what a program holds: arrays, a data set of another library, a folder of classes."""

import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from moe_distill.data.pictures import as_shown, class_folders, printable_path
from moe_distill.data.real_set import RealSet, pixel_statistics
from moe_distill.data.sources.decoding import check_size, decode, fit_square
from moe_distill.data.sources.tree import KEY, listed, tree_of
from moe_distill.errors import InputError, renamed
from moe_distill.progress import with_progress

_BAR_FROM = 5000  # images; fewer are read within seconds


def from_tensors(
    images: Any, labels: Any, classes: Sequence[str] | None, name: str, like: RealSet | None, variant: str
) -> RealSet:
    """Return arrays as a set; see :meth:`RealSet.from_tensors`."""
    if not isinstance(name, str) or not name:
        raise InputError("name", name, "a text that is not empty")
    _require_like(like)
    _require_classes(classes)
    images_NCHW = _as_bytes(_as_NCHW(_as_tensor("images", images)))
    if len(images_NCHW) == 0:
        raise InputError("images", f"shape {tuple(images_NCHW.shape)}", "at least one image")
    labels_N = _checked_labels(_as_tensor("labels", labels), len(images_NCHW))
    if like is None and classes is None and len(labels_N.unique()) <= int(labels_N.max()):
        missing = next(c for c in range(int(labels_N.max())) if not (labels_N == c).any())
        allowed = f"class numbers from 0 without a gap, or named classes; no image is of {missing}"
        raise InputError("labels", int(labels_N.max()), allowed)
    if like is not None:
        names, (mean, std) = like.classes, (like.mean, like.std)
        if images_NCHW.shape[1:] != like.images_NCHW.shape[1:]:
            allowed = f"images of {like.channels} × {like.size} × {like.size}, as those of like={like.name}"
            raise InputError("images", f"shape {tuple(images_NCHW.shape)}", allowed)
    else:
        names = tuple(map(str, range(int(labels_N.max()) + 1) if classes is None else classes))
        mean, std = pixel_statistics(images_NCHW)
    if len(labels_N) and int(labels_N.max()) >= len(names):
        allowed = f"class numbers from 0 to {len(names) - 1}, as there are {len(names)} classes"
        raise InputError("labels", int(labels_N.max()), allowed)
    return RealSet(images_NCHW, labels_N, names, mean, std, name, variant)


def from_dataset(dataset: Any, name: str | None, size: int | None, like: RealSet | None) -> RealSet:
    """Return a data set of torchvision or Hugging Face as a set; see :meth:`RealSet.from_dataset`."""
    _require_like(like, size)
    pairs, classes = _pairs_of(dataset)
    if like is not None:
        size = like.size
        if classes is not None and tuple(classes) != like.classes:
            allowed = f"the classes of like={like.name}, in their order"
            raise InputError("dataset", ", ".join(classes[:5]), allowed)
    if size is not None:
        with renamed("data.size", "size"):
            check_size(size)
    pictures, tensors, labels = _Pictures(size, like.channels if like else None), [], []
    total = len(dataset)
    for image, label in with_progress(pairs, "reading images", total, hidden=total < _BAR_FROM):
        if isinstance(image, Image.Image):
            pictures.add(image)
        else:
            tensors.append(image)
        labels.append(_class_number(label))
    if bool(pictures.pixels) == bool(tensors):  # none, or some of each
        raise InputError("dataset", type(dataset).__name__, "a data set of pictures of PIL, or of tensors")
    pixels = _stacked_tensors(tensors, size) if tensors else pictures.stacked()
    variant = "huggingface" if hasattr(dataset, "column_names") else "torch"
    return from_tensors(pixels, labels, classes, name or _name_of(dataset), like, variant)


def from_folder(root: str | Path, size: int | None, like: RealSet | None) -> RealSet:
    """Return the images of class folders as a set; see :meth:`RealSet.from_folder`."""
    _require_like(like, size)
    with renamed(KEY, "root"), renamed("data.size", "size"):
        if size is not None:
            check_size(size)
        folders = class_folders(Path(root).expanduser(), KEY)
        if not folders:
            raise InputError("root", printable_path(root), "a folder that holds a folder of images a class")
        if like is not None and tuple(folders) != like.classes:
            allowed = f"the class folders of like={like.name}: {', '.join(like.classes[:5])} …"
            raise InputError("root", ", ".join([*folders][:5]), allowed)
        tree = tree_of([*folders], listed([*folders.values()]), ())
        channels = None if like is None else like.channels
        arrays = decode(tree, size if like is None else like.size, channels)
    images_NCHW = arrays["train_images"]
    mean, std = pixel_statistics(images_NCHW) if like is None else (like.mean, like.std)
    name = Path(root).expanduser().name if like is None else like.name
    return RealSet(images_NCHW, arrays["train_labels"], tree.classes, mean, std, name, tree.variant)


def _require_like(like: object, size: int | None = None) -> None:
    """Refuse a model of test images that is no training set, and a size beside it that it does not have."""
    if like is not None and not isinstance(like, RealSet):
        raise InputError("like", type(like).__name__, "a RealSet, the training images")
    if like is not None and size not in (None, like.size):
        raise InputError("size", size, f"leave it out beside like=, whose images are {like.size} pixels")


def _require_classes(classes: object) -> None:
    """Refuse names of classes that are none, or not each its own."""
    if classes is None:
        return
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError("classes", classes, 'a list of the names of all classes, such as ["cat", "dog"]')
    if twice := [name for name in classes if [*classes].count(name) > 1]:
        raise InputError("classes", twice[0], "a name of its own for each class")


def _class_number(label: Any) -> int:
    """Return a label as a whole number; a share of a class is not rounded to one."""
    try:
        return operator.index(label)
    except TypeError as error:
        raise InputError("dataset", f"a label {label!r}", "a class number for each image") from error


def _as_tensor(name: str, values: Any) -> torch.Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, type(values).__name__, "a tensor, or an array of numbers") from error


def _as_NCHW(images: torch.Tensor) -> torch.Tensor:
    """Return images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) in the last of these."""
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
        allowed = "square images of 1 or 3 channels: (N, C, H, W), (N, H, W, C) or (N, H, W)"
        raise InputError("images", f"shape {tuple(images.shape)}", allowed)
    with renamed("data.size", "images"):
        check_size(images.shape[2])
    return images


def _as_bytes(images_NCHW: torch.Tensor) -> torch.Tensor:
    """Return pixels as bytes; fractions from 0 to 1 are rounded to the nearest of 256 levels."""
    if images_NCHW.dtype == torch.uint8:
        return images_NCHW.contiguous()
    low, high = (float(v) for v in images_NCHW.aminmax()) if images_NCHW.numel() else (0.0, 0.0)
    if not images_NCHW.is_floating_point() or not 0 <= low <= high <= 1:
        allowed = "bytes, or fractions from 0 to 1: pixels as they are, not normalised"
        raise InputError("images", f"{images_NCHW.dtype} from {low:g} to {high:g}", allowed)
    return images_NCHW.mul(255).round().to(torch.uint8).contiguous()


def _checked_labels(labels: torch.Tensor, images: int) -> torch.Tensor:
    if labels.ndim != 1 or len(labels) != images or labels.is_floating_point():
        allowed = f"a class number for each of the {images} images"
        raise InputError("labels", f"{labels.dtype} of shape {tuple(labels.shape)}", allowed)
    if len(labels) and int(labels.min()) < 0:
        raise InputError("labels", int(labels.min()), "class numbers from 0")
    return labels.long()


def _pairs_of(dataset: Any) -> tuple[Iterator[tuple[Any, Any]], Sequence[str] | None]:
    """Return the (image, label) pairs of a data set, and the names of its classes if it has any."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InputError(
            "dataset", type(dataset).__name__, "a data set with a length, of (image, label) pairs"
        )
    if not hasattr(dataset, "column_names"):
        classes = getattr(dataset, "classes", None)
        return ((dataset[i][0], dataset[i][1]) for i in range(len(dataset))), classes
    if isinstance(dataset.column_names, dict):
        allowed = f"one split of it, such as dataset[{next(iter(dataset.column_names))!r}]"
        raise InputError("dataset", "of several splits", allowed)
    kinds = {name: type(feature).__name__ for name, feature in dataset.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [
        n for n in kinds if n == "label"
    ]
    if not images or not labels:
        raise InputError("dataset", ", ".join(kinds), "columns of images (Image) and of classes (ClassLabel)")
    names = getattr(dataset.features[labels[0]], "names", None)
    return ((row[images[0]], row[labels[0]]) for row in dataset), names


def _name_of(dataset: Any) -> str:
    """Return what a data set calls itself, in lower case."""
    named = getattr(getattr(dataset, "info", None), "dataset_name", None) or type(dataset).__name__
    return str(named).lower()


class _Pictures:
    """Pictures of PIL, read one after the other so that never more than one is in memory at full size.

    Args:
        size: Height and width that they are fitted to, in pixels; None takes the first one's.
        channels: 1 or 3; None means 1 if all of them are gray.
    """

    def __init__(self, size: int | None, channels: int | None) -> None:
        self.size, self.channels = size, channels
        self.pixels: list[torch.Tensor] = []
        self.are_gray = True

    def add(self, picture: Image.Image) -> None:
        """Read a picture.

        Raises:
            InputError: It has another size than those before, and no size was named.
        """
        self.are_gray &= picture.mode in ("1", "L", "LA")
        shown = as_shown(picture.copy(), "RGB")
        if self.size is None:
            side = self.pixels[0].shape[1] if self.pixels else shown.width
            if shown.size != (side, side):
                one = f"{shown.width}x{shown.height}"
                allowed = f"a size such as 32, as images are not of one square size; one is {one}"
                raise InputError("size", None, allowed)
        else:
            shown = fit_square(shown, self.size)
        self.pixels.append(torch.from_numpy(np.array(shown)).permute(2, 0, 1))

    def stacked(self) -> torch.Tensor:
        """Return all of them, (N, C, H, W)."""
        channels = self.channels or (1 if self.are_gray else 3)
        # Gray pictures have three equal channels as colour ones.
        return torch.stack(self.pixels)[:, :channels]


def _stacked_tensors(images: Sequence[Any], size: int | None) -> torch.Tensor:
    tensors = [torch.as_tensor(image) for image in images]
    shapes = {tuple(image.shape) for image in tensors}
    if len(shapes) > 1:
        raise InputError("dataset", f"images of {len(shapes)} shapes", "tensors of one shape")
    if size not in (None, tensors[0].shape[-1]):
        raise InputError("size", size, "leave it out: tensors are resized by the data set's transform")
    return torch.stack(tensors)
