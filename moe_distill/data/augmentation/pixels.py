"""Augmentation of whole batches of 8-bit pixels by torchvision, with which DC-BENCH trains students."""

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

    Normalised images are first mapped back to pixels, clamped and rounded down to whole 255ths.

    Args:
        transforms: Builders of transforms (``torchvision.transforms.v2``) that act one after the other.
        padding: Black pixels added on each side, before a window of the image's size is cropped; 0 crops
            none.

    Raises:
        FieldError: If there are neither transforms nor padding.

    Source: Cui et al., "DC-BENCH: Dataset Condensation Benchmark", NeurIPS 2022, and its evaluation code.
    """

    transforms: Sequence[Callable[[], Callable[[torch.Tensor], torch.Tensor]]] = ()
    padding: Whole = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not self.transforms and not self.padding:
            raise FieldError("transforms", [], "at least one, or some padding")

    def check(self) -> None:
        """Check that the transforms can be built and applied, before any work.

        Raises:
            FieldError: If one cannot.
        """
        # Torchvision checks many arguments only when a transform is applied.
        pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        for number, build in enumerate(self.transforms):
            try:
                with global_seed(stream(0, "rehearsal")):
                    build()(pixels)
            except (ValueError, TypeError, RuntimeError) as error:
                # A builder is a ``partial`` when the configuration makes it.
                name = getattr(getattr(build, "func", build), "__name__", "transform")
                raise FieldError(f"transforms.{number}", name, str(error)) from error

    @property
    def names(self) -> list[str]:
        """The transforms' names in results, in order."""
        names = [type(build()).__name__.lower() for build in self.transforms]
        return ["randomcrop", *names] if self.padding else names

    def __call__(
        self, x_NCHW: torch.Tensor, normalisation: Normalisation, rng: torch.Generator
    ) -> torch.Tensor:
        """Return augmented images, normalised like the given ones.

        Args:
            x_NCHW: Normalised images.
            normalisation: How they are normalised.
            rng: A CPU generator that decides all draws.
        """
        from torchvision.transforms import v2  # slow to import, and only few recipes need it

        crop: list[Any] = [v2.RandomCrop(x_NCHW.shape[-1], padding=self.padding)] if self.padding else []
        pixels = (normalisation.raw(x_NCHW).clamp(0, 1) * 255).to(torch.uint8)
        with global_seed(rng):  # torchvision draws from the global generator
            for transform in (*crop, *(build() for build in self.transforms)):
                pixels = transform(pixels)
        return normalisation.standardised(pixels.to(x_NCHW.dtype) / 255)
