"""Selections of real images: no distilling, the baselines of every table."""

from typing import ClassVar

import torch

from moe_distill.data.initial import first_real, random_real
from moe_distill.methods.base import Method, Round, fill_by_class
from moe_distill.synthetic import Space


class Coreset(Method):
    """Keeps real images as they are; takes part in a mixture as a constant that the others move away from."""

    trainable: ClassVar[bool] = False
    space: ClassVar[Space] = "raw"
    select: "ClassVar[staticmethod[..., torch.Tensor]]"

    def prepare(self, round_: Round) -> None:
        """Copy the selected images, class by class, as raw pixels."""
        real, ipc = round_.real, round_.syn.provenance.ipc
        fill_by_class(round_.syn, lambda c: real.normalisation.raw(type(self).select(real, c, ipc, round_.rng)))


class Random(Coreset):
    """Draws the images of each class uniformly without replacement."""

    select = staticmethod(random_real)


class First(Coreset):
    """Takes the first images of each class in the order of the data set (sorted file order for folders)."""

    select = staticmethod(first_real)
