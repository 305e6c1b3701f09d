"""Initial values of synthetic images.

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
    """Draw real images of the class without replacement ("real" initialisation of DC, DM and IDM).

    Args:
        real: The expert's part of the real data.
        c: The class.
        n: Number of images; a class with fewer returns all of its images.
        rng: A CPU generator.
    """
    return real.class_batch(c, n, rng)


@called("first")
def first_real(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Take the first real images of the class in the order of the data set (IDC's plain images).

    Args:
        real: The expert's part of the real data.
        c: The class.
        n: Number of images; a class with fewer returns all of its images.
        rng: Unused.
    """
    return real.at(real.class_indices(c)[:n])[0]


def noise(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw independent standard normal pixels (DC's initialisation).

    Args:
        real: Real data, whose image shape and device are taken.
        c: Unused: noise is alike for every class.
        n: Number of images.
        rng: A CPU generator.
    """
    # Drawn on the CPU and then moved: equal seeds give equal images on every device.
    return torch.randn(n, real.channels, real.size, real.size, generator=rng).to(real.device)


def needs_images(init: Initial) -> bool:
    """Return True if an initialiser takes its images from the real ones, as all do except :func:`noise`.

    Example:
        >>> needs_images(first_real), needs_images(noise)
        (True, False)
    """
    # With settings filled in by the configuration an initialiser is a ``partial`` of its function.
    return getattr(init, "func", init) is not noise


def mix(
    real: RealSet, c: int, n: int, rng: torch.Generator, factor: Count = 2, of: Initial = first_real
) -> torch.Tensor:
    """Stitch each image from ``factor`` × ``factor`` images of its class (IDC's "mix" initialisation).

    Image k·n + m of the n·factor² that ``of`` returns becomes cell k, counted row by row, of stitched image
    m, shrunk by nearest pixels; see :func:`moe_distill.data.patches.stitched`.

    Args:
        real: The expert's part of the real data.
        c: The class.
        n: Number of images.
        rng: A CPU generator.
        factor: Cells per side.
        of: Initialiser of the images in the cells.
    """
    return stitched(exactly(of, real, c, n * factor**2, rng), factor, real.size)


def exactly(initial: Initial, real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
    """Return exactly ``n`` images of an initialiser, repeated from the first on if the class has fewer.

    Args:
        initial: The initialiser.
        real: The expert's part of the real data.
        c: The class.
        n: Number of images.
        rng: A CPU generator.
    """
    images = initial(real, c, n, rng)
    return images[torch.arange(n, device=images.device) % len(images)]
