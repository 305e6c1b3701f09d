"""A set in the files of another program as it was read, and the data that it must fit."""

from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.data.normalization import Space
from moe_distill.data.real_set import Statistics

KEY = "pipeline.path"
ANY: tuple[Space, ...] = ("raw", "standardised", "zca")


@dataclass(frozen=True)
class TargetData:
    """The data that a set must fit, and a limit on its size.

    Args:
        classes: Class names of the data set, in label order.
        shape: Channels, height and width of its images.
        limit: Most bytes of a file, unpacked, and of the tensors read from it.
        synsets: WordNet ids of the classes; empty if they have none.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    limit: int
    synsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignSet:
    """A set as its files hold it.

    Args:
        method: The method that made it, as far as the files show it.
        images_NCHW: Its images, float, or uint8 pixels, of the data's shape.
        labels: Class numbers (N,), or a row of numbers for each image (N, classes); None if the files have
            none.
        files: The files that were read, or a folder if all files in it were.
        learned_rate: Step size learned with the images; None if the files have none.
        spaces: Possible spaces of the values in this layout.
        factor: Tiles per side of a stored image.
        by_column: Whether tiles are numbered column by column.
        order: Class names (or WordNet ids) in the order of the labels; None if the files do not hold them.
        convention: Name in ``formats.conventions`` of the layout's label order and statistics; None if
            unknown.
        statistics: Mean and std of the channels that values are standardised by; None if the files do not
            hold them.
        logits: Whether the files state that label rows are logits.
    """

    method: str
    images_NCHW: torch.Tensor
    labels: torch.Tensor | None
    files: tuple[Path, ...]
    learned_rate: float | None = None
    spaces: tuple[Space, ...] = ANY
    factor: int = 1
    by_column: bool = False
    order: tuple[str, ...] | None = None
    convention: str | None = None
    statistics: tuple[Statistics, Statistics] | None = None
    logits: bool = False
