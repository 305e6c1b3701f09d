"""What a public set must fit, and what a reader found in its files."""

from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.provenance import Space

KEY = "pipeline.path"
ANY: tuple[Space, ...] = ("raw", "standardised", "zca")


@dataclass(frozen=True)
class Wanted:
    """What the images are to be read against.

    Args:
        classes: Class names of the data set, in label order.
        shape: Channels, height and width of its images.
        limit: Bytes a file may have, unpacked, and the tensors read from it.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    limit: int


@dataclass(frozen=True)
class Foreign:
    """A public set as its files hold it.

    Args:
        method: What made it, as far as the files tell.
        images_NCHW: Its images, float, or uint8 pixels, of the shape wanted.
        labels: Class numbers (N,), or a row of numbers for each image (N, classes); None where the files have none.
        files: The files read, or the folder where all in it are.
        learned_rate: Step size learned with the images.
        spaces: What the numbers can be in this layout.
    """

    method: str
    images_NCHW: torch.Tensor
    labels: torch.Tensor | None
    files: tuple[Path, ...]
    learned_rate: float | None = None
    spaces: tuple[Space, ...] = ANY
