"""A whole image data set as one uint8 tensor.

Methods read many tiny batches of real images, for which a data loader would be slower than plain indexing.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

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
