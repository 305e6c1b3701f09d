"""Differentiable Siamese augmentation: which image operations act, and what they draw.

A group (`Color`, `Crop`, ...) draws for one operation of `image_ops`; an `Augmentation` decides which groups
act.

Source: Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, section 3;
the composition with groups that always act is that of Kim et al., "Dataset Condensation via Efficient
Synthetic-Data Parameterization", ICML 2022.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Le
from torch import Tensor

from moe_distill.data.augmentation.image_ops import (
    brightness,
    contrast,
    crop,
    cutout,
    flip,
    pixels,
    rotate,
    saturation,
    scale,
)
from moe_distill.errors import FieldError
from moe_distill.validation.values import NotNegative, Share, checked

SIDE = 224  # side of the largest images in pixels; a zoom by more would show less than one pixel


class Op(Protocol):
    """A group of operations that is drawn and applied as one."""

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw for ``n`` images of ``size`` pixels a side: a CPU tensor of ``n`` rows."""
        ...

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Apply the draws to images: one row per image, or one row for all."""
        ...


@checked
@dataclass(frozen=True)
class Color:
    """Brightness, then saturation, then contrast, each with a separate draw."""

    brightness: NotNegative = 1.0
    saturation: NotNegative = 2.0
    contrast: NotNegative = 0.5

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n, 3) uniform values, a column per operation."""
        return torch.rand(n, 3, generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Apply the three operations in order."""
        u_N, v_N, w_N = drawn.unbind(-1)
        x_NCHW = saturation(brightness(x_NCHW, u_N, self.brightness), v_N, self.saturation)
        return contrast(x_NCHW, w_N, self.contrast)


@checked
@dataclass(frozen=True)
class Crop:
    """A translation by up to ``ratio`` of the side, rounded to whole pixels, in rows and in columns."""

    ratio: Annotated[float, Ge(0), Le(0.5)] = 0.125

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n, 2) translations in pixels, rows first."""
        reach = pixels(self.ratio, size)
        return torch.randint(-reach, reach + 1, (n, 2), generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Translate the images."""
        return crop(x_NCHW, drawn)


@checked
@dataclass(frozen=True)
class Cutout:
    """A blank square with ``ratio`` of the image's side, anchored anywhere, so the border may truncate it."""

    ratio: Share = 0.5

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n, 2) anchors in pixels, rows first."""
        # An even square may be anchored behind the last line, as in the published code.
        return torch.randint(0, size + 1 - pixels(self.ratio, size) % 2, (n, 2), generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Blank the squares."""
        return cutout(x_NCHW, drawn, self.ratio)


@checked
@dataclass(frozen=True)
class Flip:
    """A horizontal mirror with probability ``prob``."""

    prob: Share = 0.5

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n,) uniform values."""
        return torch.rand(n, generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Mirror the images whose draw is below the probability."""
        return flip(x_NCHW, drawn, self.prob)


@checked
@dataclass(frozen=True)
class Scale:
    """A zoom in x and in y, each by a factor in [1 / ratio, ratio]."""

    ratio: Annotated[float, Ge(1), Le(SIDE)] = 1.2

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n, 2) uniform values, x first."""
        return torch.rand(n, 2, generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Zoom the images."""
        return scale(x_NCHW, drawn, self.ratio)


@checked
@dataclass(frozen=True)
class Rotate:
    """A rotation by up to ``degrees`` either way."""

    degrees: Annotated[float, Ge(0), Le(360)] = 15.0

    def draw(self, rng: torch.Generator, n: int, size: int) -> Tensor:
        """Draw (n,) uniform values."""
        return torch.rand(n, generator=rng)

    def __call__(self, x_NCHW: Tensor, drawn: Tensor) -> Tensor:
        """Rotate the images."""
        return rotate(x_NCHW, drawn, self.degrees)


@dataclass(frozen=True)
class Plan:
    """The draws of one call: the groups in order, each with its draws; applying it is deterministic."""

    steps: tuple[tuple[Op, Tensor], ...]


@checked
@dataclass(frozen=True)
class Augmentation:
    """Groups that always act, before and after one that is drawn from several.

    DSA draws one of all its groups. IDC matches with color before, crop as the only one to draw, and cutout
    after.

    Args:
        one_of: Exactly one of these acts in a call, drawn uniformly for the whole batch. Empty: none.
        before: These always act, before the drawn one.
        after: These always act, after the drawn one.

    Raises:
        FieldError: If an element is no group. Hydra turns dataclasses in a list back into configurations
            unless the node that holds this class has ``_convert_: all``.

    Example:
        >>> augmentation = Augmentation(one_of=[Flip(prob=1.0)])
        >>> plan = augmentation.draw(torch.Generator(), n=1, size=2, shared=True)
        >>> augmentation.apply(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), plan).tolist()
        [[[[2.0, 1.0], [4.0, 3.0]]]]
    """

    one_of: Sequence[Op]
    before: Sequence[Op] = ()
    after: Sequence[Op] = ()

    def __post_init__(self) -> None:
        # Tuples, as lists of a frozen dataclass could still be changed.
        for name in ("one_of", "before", "after"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            for op in getattr(self, name):
                if not callable(op):
                    allowed = "a list of groups such as Crop (in yaml, add `_convert_: all` beside it)"
                    raise FieldError(name, op, allowed)

    def draw(self, rng: torch.Generator, n: int, size: int, shared: bool) -> Plan:
        """Draw the plan of one call.

        Args:
            rng: A CPU generator.
            n: Number of images.
            size: Their side in pixels.
            shared: True draws once for all images (Siamese), so that the plan fits batches of any length and
                does the same to real and synthetic ones. False draws for each image, except that the group of
                ``one_of`` is always the same for all.
        """
        chosen: list[Op] = []
        if self.one_of:
            chosen.append(self.one_of[int(torch.randint(len(self.one_of), (1,), generator=rng))])
        # One row of draws broadcasts over a batch of any length.
        rows = 1 if shared else n
        return Plan(tuple((op, op.draw(rng, rows, size)) for op in (*self.before, *chosen, *self.after)))

    @staticmethod
    def apply(x_NCHW: Tensor, plan: Plan) -> Tensor:
        """Apply a plan to normalised images of the size it was drawn for."""
        for op, drawn in plan.steps:
            x_NCHW = op(x_NCHW, drawn)
        return x_NCHW
