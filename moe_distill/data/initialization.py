"""What a synthetic image starts as.

Each initialiser returns ``n`` standardised images (n, C, H, W) of class ``c`` from an expert's part of the
real data.
"""

from collections.abc import Callable

import torch

from moe_distill.data.patches import stitched
from moe_distill.data.real_set import RealSet
from moe_distill.store.identity import called
from moe_distill.validation.values import Count

Initial = Callable[[RealSet, int, int, torch.Generator], torch.Tensor]


@called("random")
def random_real(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw ``n`` real images of the class without replacement ("real" initialisation of DC, DM and IDM)."""
    return real.class_batch(c, n, rng)


@called("first")
def first_real(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Take the first ``n`` real images of the class in the order of the data set (IDC's plain images)."""
    return real.at(real.class_indices(c)[:n])[0]


def noise(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw independent standard normal pixels (DC's initialisation)."""
    return torch.randn(n, real.channels, real.size, real.size, generator=rng).to(real.device)


def needs_images(init: Initial) -> bool:
    """Whether an initialiser takes its images from the real ones: all do but :func:`noise`."""
    return getattr(init, "func", init) is not noise


def mix(
    real: RealSet, c: int, n: int, rng: torch.Generator, factor: Count = 2, of: Initial = first_real
) -> torch.Tensor:
    """Compose each image of ``factor x factor`` images, shrunk by taking nearest pixels (IDC's "mix"
    initialisation).

    Image k·n + m of the n·factor² that ``of`` gives becomes cell k, counted row by row, of composed image m.
    Where the class has fewer, they are taken again from the first on. Of a side that ``factor`` does not
    divide, the first cells are a pixel longer.
    """
    return stitched(exactly(of, real, c, n * factor**2, rng), factor, real.size)


def exactly(of: Initial, real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Return ``n`` images that ``of`` gives; where the class has fewer, they are taken again from the first
    on.
    """
    images = of(real, c, n, rng)
    return images[torch.arange(n, device=images.device) % len(images)]
