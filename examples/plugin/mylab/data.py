"""Shapes: gray images of squares, crosses, bars and rings, which are drawn, not downloaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.data.real_set import RealSet, pixel_statistics, train_and_test
from moe_distill.seeding import stream
from moe_distill.validation.values import Count, Text, checked

# Whether a pixel belongs to a shape, by its distances from the shape's centre, as shares of its radius.
SHAPES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "square": lambda y, x: (y <= 1) & (x <= 1),
    "cross": lambda y, x: ((y <= 0.3) & (x <= 1)) | ((x <= 0.3) & (y <= 1)),
    "bar": lambda y, x: (y <= 0.3) & (x <= 1),
    "ring": lambda y, x: (y.square() + x.square()).sqrt().sub(0.8).abs() <= 0.3,
}


@checked
@dataclass(frozen=True)
class Shapes:
    """Shapes of random size at random places, in noise.

    Args:
        name: The data set's name in records.
        size: Height and width of an image, in pixels.
        per_class: Training images of each class; there are half as many test images.
    """

    name: Text = "shapes"
    size: Count = 16
    per_class: Count = 100

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set; nothing is kept in the cache."""
        arrays = {}
        for part, per_class in (("train", self.per_class), ("test", max(1, self.per_class // 2))):
            rng = stream(0, "shapes", part)
            images = [_drawn(shape, self.size, rng) for shape in SHAPES for _ in range(per_class)]
            arrays[f"{part}_images"] = torch.stack(images)[:, None]
            arrays[f"{part}_labels"] = torch.arange(len(SHAPES)).repeat_interleave(per_class)
        statistics = pixel_statistics(arrays["train_images"])
        return train_and_test(arrays, tuple(SHAPES), statistics, self.name, "drawn")


def _drawn(shape: str, size: int, rng: torch.Generator) -> torch.Tensor:
    """Return an image of a shape, uint8 of size × size."""
    radius, y, x = torch.rand(3, generator=rng)
    radius = size * (0.2 + 0.15 * radius)
    places = torch.arange(size) + 0.5
    far_y, far_x = ((places - radius - at * (size - 2 * radius)).abs() / radius for at in (y, x))
    inside = SHAPES[shape](far_y[:, None], far_x[None, :])
    return (60 * torch.rand(size, size, generator=rng) + 180 * inside).to(torch.uint8)
