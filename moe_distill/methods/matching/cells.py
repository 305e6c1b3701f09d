"""Methods that store several images in one, in cells that are decoded into images of their own.

Source: IDC (Kim et al., ICML 2022, section 4.2), whose published code this follows.
"""

from typing import Any, ClassVar

import torch

from moe_distill.data.initialization import mix
from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.errors import FieldError
from moe_distill.methods.base import IterationContext, Method, fill_by_class
from moe_distill.models.base import Network
from moe_distill.synthetic.tiling import Tiling

SMALLEST_CELL = 4  # pixels per side


class CellMethod(Method):
    """What IDC and the methods built on its storage share: cells of raw pixels, and real batches by epochs.

    Real batches of a class go through shuffled epochs; a class with fewer images than a batch gives all.

    Attributes:
        factor: Cells per side of a stored image.
        real_batch: Real images per class and step.
    """

    space: ClassVar[Space] = "raw"
    moves_by_class: ClassVar[bool] = True

    factor: int
    real_batch: int
    _epochs: list[ShuffledEpochs]

    @property
    def tiling(self) -> Tiling:
        """Cells numbered row by row and padded with grey."""
        return Tiling(self.factor, fill=0.5)

    def check(self, real: RealSet) -> None:
        """Reject a factor that leaves cells of less than 4 pixels per side.

        Raises:
            FieldError: The cells are smaller.
        """
        if self.factor > 1 and real.size // self.factor < SMALLEST_CELL:
            most = max(1, real.size // SMALLEST_CELL)
            allowed = f"1 to {most}, so that cells of {real.size}-pixel images have 4 pixels per side"
            raise FieldError("factor", self.factor, allowed)

    @property
    def class_batches(self) -> int:
        """One for each class."""
        return 1

    def prepare(self, context: IterationContext) -> None:
        """Fill every cell with another real image of its class, shrunk."""
        self._epochs = [ShuffledEpochs() for _ in context.real.classes]

        def raw(real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
            # Undoing the normalisation leaves rounding errors outside [0, 1]; noise has values far outside.
            return real.normalisation.raw(self.init(real, c, n, rng)).clamp(0, 1)

        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: mix(context.real, c, ipc, context.rng, self.factor, raw))

    def real_images(self, context: IterationContext, network: Network, c: int) -> torch.Tensor:
        """Return the next real batch of a class, standardised, to be matched under a network."""
        return context.class_batch(c, self.real_batch, network, self._epochs[c])

    def state_dict(self) -> dict[str, Any]:
        """Return the position in each class's epoch."""
        return {"epochs": [epochs.state_dict() for epochs in self._epochs]}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Continue each class's epoch."""
        self._epochs = [ShuffledEpochs() for _ in state["epochs"]]
        for epochs, position in zip(self._epochs, state["epochs"], strict=True):
            epochs.load_state_dict(position)


def some_of(x_NCHW: torch.Tensor, most: int, rng: torch.Generator) -> torch.Tensor:
    """Return images as they are, or ``most`` of them in random order if there are more."""
    if len(x_NCHW) <= most:
        return x_NCHW
    return x_NCHW[torch.randperm(len(x_NCHW), generator=rng)[:most].to(x_NCHW.device)]
