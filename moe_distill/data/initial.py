"""What a synthetic image starts as.

Each function returns ``n`` standardised images (n, C, H, W) of class ``c`` from an expert's part of the real data.
"""

from collections.abc import Callable

import torch

from moe_distill.data.realset import RealSet

Initial = Callable[[RealSet, int, int, torch.Generator], torch.Tensor]


def random_real(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw ``n`` real images of the class without replacement ("real" initialisation of DC, DM and IDM)."""
    return real.class_batch(c, n, rng)


def first_real(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Take the first ``n`` real images of the class in the order of the data set (IDC's initialisation)."""
    return real.normalised(real.images_NCHW[real.class_indices(c)[:n]])


def noise(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw independent standard normal pixels (DC's initialisation)."""
    return torch.randn(n, real.channels, real.size, real.size, generator=rng).to(real.device)
