"""A whole image data set as one uint8 tensor.

Methods read many tiny batches of real images, for which a data loader would be slower than plain indexing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from moe_distill.data.normalization import Normalisation, Space, Whitening, check_statistics
from moe_distill.errors import InputError
from moe_distill.validation.values import LEAST_STD

Statistics = tuple[float, ...]


@dataclass(frozen=True, eq=False, repr=False)
class RealSet:
    """Real images with labels, class names and the statistics that normalise them.

    Args:
        images_NCHW: uint8 pixels (0..255), square, of any device.
        labels_N: int64 class numbers, on the same device.
        classes: Class names; label c belongs to ``classes[c]``.
        mean: Mean of each channel, in units of [0, 1].
        std: Standard deviation of each channel, in units of [0, 1].
        name: The data set, such as ``cifar10``.
        variant: Where the pixels came from, such as ``torchvision`` or ``folder-jpeg``.
        whitening: Replaces mean and std as the normalisation that networks see; None for none.

    Raises:
        InputError: If mean or std do not have one number per channel, or have one that pixels in [0, 1]
            cannot have.

    Example:
        >>> images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1, 0])
        >>> real = RealSet(images, labels, ("cat", "dog"), (0.5,), (0.25,), "demo", "none")
        >>> real.class_indices(1).tolist(), real.at(torch.tensor([0]))[0].flatten().tolist()
        ([1, 2], [-2.0, -2.0, -2.0, -2.0])
    """

    images_NCHW: torch.Tensor
    labels_N: torch.Tensor
    classes: tuple[str, ...]
    mean: Statistics
    std: Statistics
    name: str
    variant: str
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        check_statistics(self.mean, self.std, self.channels)

    @classmethod
    def from_tensors(
        cls,
        images: Any,
        labels: Any,
        classes: Sequence[str] | None = None,
        name: str = "mine",
        like: "RealSet | None" = None,
    ) -> "RealSet":
        """Return arrays or tensors as a set.

        Args:
            images: (N, C, H, W), (N, H, W, C) or (N, H, W), square: bytes, or fractions from 0 to 1.
            labels: Class numbers from 0, one an image.
            classes: Class names; None calls them by their numbers.
            name: The data set's name in records.
            like: The training set of these test images, whose classes and statistics they get.

        Raises:
            InputError: Shapes, values or labels are others.

        Example:
            >>> RealSet.from_tensors(torch.rand(4, 8, 8), [0, 1, 1, 0], ["cat", "dog"])
            RealSet mine (memory): 4 images of 1 × 8 × 8 in 2 classes
        """
        from moe_distill.data.in_memory import from_tensors  # it imports this module

        return from_tensors(images, labels, classes, name, like, "memory")

    @classmethod
    def from_dataset(
        cls, dataset: Any, name: str | None = None, size: int | None = None, like: "RealSet | None" = None
    ) -> "RealSet":
        """Return a data set of torchvision, or one split of Hugging Face's ``datasets``, as a set.

        Args:
            dataset: Of (image, label) pairs, the images of PIL or tensors that are not normalised; or with a
                column of images and one of classes.
            name: The data set's name in records; None takes its own.
            size: Height and width, in pixels, that pictures are resized and cropped to; None takes them as
                they are, all of one square size.
            like: The training set of these test images, whose classes, size and statistics they get.

        Raises:
            InputError: It is no such data set, or its images do not fit.
        """
        from moe_distill.data.in_memory import from_dataset  # it imports this module

        return from_dataset(dataset, name, size, like)

    @classmethod
    def from_folder(
        cls, root: str | Path, size: int | None = None, like: "RealSet | None" = None
    ) -> "RealSet":
        """Return the images of a folder that holds a folder a class.

        They are read as a viewer shows them: rotated as EXIF says, on a white background.

        Args:
            root: Holds ``<class>/*``.
            size: Height and width, in pixels; None takes images that share one square size as they are.
            like: The training set of these test images, whose classes, size and statistics they get.

        Raises:
            InputError: The folder, or an image in it, is not as it should be.
        """
        from moe_distill.data.in_memory import from_folder  # it imports this module

        return from_folder(root, size, like)

    def __len__(self) -> int:
        return len(self.labels_N)

    def __repr__(self) -> str:
        images = f"{len(self)} images of {self.channels} × {self.size} × {self.size}"
        return f"RealSet {self.name} ({self.variant}): {images} in {len(self.classes)} classes"

    @property
    def channels(self) -> int:
        """Number of colour channels C."""
        return self.images_NCHW.shape[1]

    @property
    def size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.images_NCHW.shape[2]

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.images_NCHW.device

    @property
    def normalisation(self) -> Normalisation:
        """The map from raw pixels to what networks see, and back."""
        return Normalisation(self.mean, self.std, self.whitening)

    @property
    def space(self) -> Space:
        """What networks see: standardised pixels, or whitened ones."""
        return "standardised" if self.whitening is None else "zca"

    @property
    def statistics(self) -> tuple[Statistics | str, ...]:
        """Everything that decides the normalisation: mean, std and, if any, the whitening's source."""
        if self.whitening is None:
            return self.mean, self.std
        return self.mean, self.std, self.whitening.source

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of images, labels and class names."""
        # The shape, too: equal bytes can be images of another shape.
        digest = hashlib.sha256(repr((tuple(self.images_NCHW.shape), self.classes)).encode())
        digest.update(self.images_NCHW.cpu().contiguous().numpy().data)
        digest.update(self.labels_N.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "RealSet":
        """Return the same set on another device."""
        return replace(self, images_NCHW=self.images_NCHW.to(device), labels_N=self.labels_N.to(device))

    def subset(self, indices_M: torch.Tensor) -> "RealSet":
        """Return the images of these indices, in their order, with the whole set's classes and statistics."""
        rows_M = indices_M.to(self.device)
        return replace(self, images_NCHW=self.images_NCHW[rows_M], labels_N=self.labels_N[rows_M])

    def counts(self) -> torch.Tensor:
        """Return the number of images of each class, int64 of shape (C,), on the CPU."""
        return torch.bincount(self.labels_N.cpu(), minlength=len(self.classes))

    def class_indices(self, c: int) -> torch.Tensor:
        """Return the ascending indices of the images of class ``c``, on the CPU."""
        return self._by_class[c]

    def normalised(self, images_uint8: torch.Tensor) -> torch.Tensor:
        """Return (x / 255 - mean) / std, or x / 255 whitened, as float32 of the shape given, (n, C, H, W)."""
        if self.whitening is not None:
            return self.whitening.white(images_uint8.float() / 255)
        mean_C11, std_C11 = (values.to(images_uint8.device) for values in self._statistics)
        return (images_uint8.float() / 255 - mean_C11) / std_C11

    def at(self, rows_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images of these indices and their labels."""
        rows_B = rows_B.to(self.device)
        return self.normalised(self.images_NCHW[rows_B]), self.labels_N[rows_B]

    def class_batch(self, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return min(n, images of class c) normalised images, drawn uniformly without replacement.

        Source: the real batch of a class in DC, DSA, DM and IDM.
        """
        rows = self.class_indices(c)
        return self.at(rows[torch.randperm(len(rows), generator=rng)[:n]])[0]

    def batch(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return min(n, N) normalised images and labels, drawn from the whole set without replacement."""
        return self.at(torch.randperm(len(self), generator=rng)[:n])

    @cached_property
    def _by_class(self) -> tuple[torch.Tensor, ...]:
        # A stable sort by class keeps the indices of a class ascending.
        return self.labels_N.cpu().argsort(stable=True).split(self.counts().tolist())

    @cached_property
    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean_C11, std_C11 = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return mean_C11, std_C11


def check_labels(real: RealSet) -> None:
    """Refuse images whose labels are no numbers of classes.

    Raises:
        InputError: There are such labels.
    """
    if len(real) and not 0 <= int(real.labels_N.min()) <= int(real.labels_N.max()) < len(real.classes):
        labels = f"labels {int(real.labels_N.min())} to {int(real.labels_N.max())}"
        allowed = f"0 to {len(real.classes) - 1}, the numbers of the {len(real.classes)} classes"
        raise InputError("data", f"{real.name}, {labels}", allowed)


class DataSource(Protocol):
    """Where real data comes from."""

    @property
    def name(self) -> str:
        """The data set's name in records."""

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set; downloads and decoded images are kept in ``cache``."""


def pixel_statistics(images_NCHW: torch.Tensor) -> tuple[Statistics, Statistics]:
    """Return mean and population standard deviation of each channel of uint8 images, in units of [0, 1].

    A deviation below one grey level, 1/255, is returned as 1/255.

    Example:
        >>> pixel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
        ((0.5,), (0.5,))
    """
    # From the histogram of the 256 values, in float64: exact up to one rounding, in any order of the images.
    values_V = torch.arange(256, dtype=torch.float64) / 255
    counts_CV = torch.stack(
        [torch.bincount(plane.flatten(), minlength=256) for plane in images_NCHW.unbind(1)]
    )
    share_CV = counts_CV.double() / counts_CV.sum(1, keepdim=True)
    mean_C = share_CV @ values_V
    std_C = (share_CV * (values_V - mean_C[:, None]).square()).sum(1).sqrt()
    # Dividing by less than the smallest step of a pixel would blow up noise.
    return tuple(mean_C.tolist()), tuple(std_C.clamp_min(LEAST_STD).tolist())


def train_and_test(
    arrays: dict[str, torch.Tensor],
    classes: tuple[str, ...],
    statistics: tuple[Statistics, Statistics],
    name: str,
    variant: str,
) -> tuple[RealSet, RealSet]:
    """Return the training and the test set, which share everything but images and labels.

    Args:
        arrays: ``{train,test}_images`` uint8 of shape (N, C, H, W) and ``{train,test}_labels`` int64 of shape
            (N,).
        classes: Class names.
        statistics: Mean and std of each channel of the training images, in units of [0, 1].
        name: The data set.
        variant: Where the pixels came from.
    """
    train, test = (
        RealSet(arrays[f"{part}_images"], arrays[f"{part}_labels"], classes, *statistics, name, variant)
        for part in ("train", "test")
    )
    return train, test
