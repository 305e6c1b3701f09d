"""Stored images of several cells, each an image of its own when decoded, as IDC stores them.

Source: IDC (Kim et al., ICML 2022, section 4.2), whose published code the functions follow.
"""

import torch

from moe_distill.data.initialization import Initial, mix
from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError
from moe_distill.methods.base import IterationContext, fill_by_class
from moe_distill.synthetic.synthetic_set import SyntheticSet

SMALLEST_CELL = 4  # pixels per side


def check_cells(factor: int, size: int) -> None:
    """Reject a factor that leaves cells of less than 4 pixels per side.

    Args:
        factor: Cells per side of a stored image.
        size: Height and width of an image, in pixels.

    Raises:
        FieldError: The cells are smaller.
    """
    if factor > 1 and size // factor < SMALLEST_CELL:
        most = max(1, size // SMALLEST_CELL)
        allowed = f"1 to {most}, so that cells of {size}-pixel images have 4 pixels per side"
        raise FieldError("factor", factor, allowed)


def fill_cells(context: IterationContext, factor: int, init: Initial) -> None:
    """Fill every cell with another real image of its class, shrunk; the set stores raw pixels.

    Args:
        context: The set, the real images and the random stream.
        factor: Cells per side of a stored image.
        init: What the cells start as.
    """

    def raw(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        # Undoing the normalisation leaves rounding errors outside [0, 1]; noise has values far outside.
        return real.normalisation.raw(init(real, c, n, rng)).clamp(0, 1)

    ipc = context.syn.provenance.ipc
    fill_by_class(context.syn, lambda c: mix(context.real, c, ipc, context.rng, factor, raw))


def some_cells(syn: SyntheticSet, c: int, most: int, rng: torch.Generator) -> torch.Tensor:
    """Return at most ``most`` decoded images of a class, standardised, drawn at random if there are more."""
    return syn.normalisation.standardised(some_of(syn.of_class(c), most, rng))


def some_of(x_NCHW: torch.Tensor, most: int, rng: torch.Generator) -> torch.Tensor:
    """Return images as they are, or ``most`` of them in random order if there are more."""
    if len(x_NCHW) <= most:
        return x_NCHW
    return x_NCHW[torch.randperm(len(x_NCHW), generator=rng)[:most].to(x_NCHW.device)]
