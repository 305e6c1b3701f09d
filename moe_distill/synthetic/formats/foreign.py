"""What a public set must fit, and what a reader found in its files."""

from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.data.normalization import Space

KEY = "pipeline.path"
Statistics = tuple[float, ...]
ANY: tuple[Space, ...] = ("raw", "standardised", "zca")


@dataclass(frozen=True)
class Wanted:
    """What the images are to be read against.

    Args:
        classes: Class names of the data set, in label order.
        shape: Channels, height and width of its images.
        limit: Bytes a file may have, unpacked, and the tensors read from it.
        synsets: WordNet ids of the classes, where they have them.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    limit: int
    synsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Foreign:
    """A public set as its files hold it.

    Args:
        method: What made it, as far as the files tell.
        images_NCHW: Its images, float, or uint8 pixels, of the shape wanted.
        labels: Class numbers (N,), or a row of numbers for each image (N, classes); None where the files have
            none.
        files: The files read, or the folder where all in it are.
        learned_rate: Step size learned with the images.
        spaces: What the numbers can be in this layout.
        factor: Tiles a side of a stored image, numbered column by column where ``by_column``.
        by_column: See ``factor``.
        order: Class names (or WordNet ids) in the order of the labels, where files say them.
        convention: Whose label order and statistics the layout goes by (a name in ``formats.conventions``),
            where that is known.
        statistics: Mean and std of the channels that standardised numbers go by, where files say them.
        logits: Whether the files say that a row of numbers as a label is logits.
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
