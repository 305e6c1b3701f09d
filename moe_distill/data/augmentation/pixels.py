"""Augmentation of whole batches of pixels by torchvision, as DC-BENCH trains students with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moe_distill.data.normalization import Normalisation
from moe_distill.errors import FieldError
from moe_distill.seeding import global_seed, stream
from moe_distill.validation.values import Whole, checked


@checked
@dataclass(frozen=True)
class PixelAugmentation:
    """Transforms of 8-bit pixels, drawn once for all images of a batch; no gradient passes.

    What students are trained on is brought back to pixels, clamped and cut down to whole 255ths first.

    Args:
        transforms: Builders of transforms (``torchvision.transforms.v2``) that act one after the other.
        padding: Pixels of black around the images, of which a window of their size is then cut; 0 cuts none.

    Raises:
        FieldError: There is nothing to do.

    Source: Cui et al., "DC-BENCH: Dataset Condensation Benchmark", NeurIPS 2022, and its evaluation code.
    """

    transforms: Sequence[Callable[[], Callable[[torch.Tensor], torch.Tensor]]] = ()
    padding: Whole = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not self.transforms and not self.padding:
            raise FieldError("transforms", [], "at least one, or some padding")

    def check(self) -> None:
        """Refuse transforms that cannot be built or applied, before any work.

        Raises:
            FieldError: There is one.
        """
        pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        for number, build in enumerate(self.transforms):
            try:
                with global_seed(stream(0, "rehearsal")):
                    build()(pixels)
            except (ValueError, TypeError, RuntimeError) as error:
                name = getattr(getattr(build, "func", build), "__name__", "transform")
                raise FieldError(f"transforms.{number}", name, str(error)) from error

    @property
    def names(self) -> list[str]:
        """What results call the transforms, in order."""
        return ["randomcrop"] * bool(self.padding) + [
            type(build()).__name__.lower() for build in self.transforms
        ]

    def __call__(
        self, x_NCHW: torch.Tensor, normalisation: Normalisation, rng: torch.Generator
    ) -> torch.Tensor:
        """Return images as networks see them, changed.

        Args:
            x_NCHW: Images as networks see them.
            normalisation: How they are normalised.
            rng: What decides the change.
        """
        from torchvision.transforms import v2  # slow to import, and only few recipes need it

        crop: list[Any] = [v2.RandomCrop(x_NCHW.shape[-1], padding=self.padding)] if self.padding else []
        pixels = (normalisation.raw(x_NCHW).clamp(0, 1) * 255).to(torch.uint8)
        with global_seed(rng):
            for transform in (*crop, *(build() for build in self.transforms)):
                pixels = transform(pixels)
        return normalisation.standardised(pixels.to(x_NCHW.dtype) / 255)
