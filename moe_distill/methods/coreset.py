"""Selections of real images: no distilling, the baselines of every table."""

from typing import ClassVar

import torch

from moe_distill.data.initialization import exactly, first_real, random_real
from moe_distill.data.normalization import Space
from moe_distill.data.selection import Selection, herding, k_center, k_means
from moe_distill.methods.base import IterationContext, Method, fill_by_class
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.feature_initializer import FeatureInitializer
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import Few, checked


class Coreset(Method):
    """Keeps real images as they are; takes part in a mixture as a constant that the others move away from.

    What it selects is its ``init``.
    """

    trainable: ClassVar[bool] = False
    space: ClassVar[Space] = "raw"

    def prepare(self, context: IterationContext) -> None:
        """Copy the selected images, class by class, as raw pixels."""
        real, ipc = context.real, context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: real.normalisation.raw(self.init(real, c, ipc, context.rng)))


class Random(Coreset):
    """Draws the images of each class uniformly without replacement."""

    init = staticmethod(random_real)


class First(Coreset):
    """Takes the first images of each class in the order of the data set (sorted file order for folders)."""

    init = staticmethod(first_real)


@checked
class Chosen(Coreset):
    """Takes the images of each class that a function of their features chooses.

    Args:
        pool: Networks trained on all real data, the first of which gives the features.
    """

    choose: Selection

    def __init__(self, pool: PretrainedNetworks) -> None:
        self.init = FeatureInitializer(self.choose, pool)


class Herding(Chosen):
    """Takes the images of each class whose mean feature follows the class's
    (`moe_distill.data.selection.herding`).
    """

    choose = staticmethod(herding)


class KCenter(Chosen):
    """Takes images of each class that cover its features (`moe_distill.data.selection.k_center`)."""

    choose = staticmethod(k_center)


class KMeans(Chosen):
    """Takes the images of each class nearest to centres of its features
    (`moe_distill.data.selection.k_means`).
    """

    choose = staticmethod(k_means)


class Tiled(Coreset):
    """Shrinks selected images and stores ``factor x factor`` of them in the place of one, before any
    distilling.

    The fair opponent of IDM (§3.2) and IDC (§3.1), which store their images so: same bytes, same decode, four
    times the images. Where a class has fewer images than tiles, they are taken again from the first on.

    Args:
        factor: Tiles per side of a stored image, at least 1.
    """

    def __init__(self, factor: Few) -> None:
        self.factor = factor

    @property
    def tiling(self) -> Tiling:
        """As IDC's: row by row, padded with gray."""
        return Tiling(self.factor, fill=0.5)

    def prepare(self, context: IterationContext) -> None:
        """Store the shrunk images, class by class, as raw pixels."""
        real, ipc = context.real, context.syn.provenance.ipc

        def stored(c: int) -> torch.Tensor:
            tiles = exactly(self.init, real, c, ipc * self.tiling.per_image, context.rng)
            return self.tiling.store(list(real.normalisation.raw(tiles).split(ipc)))

        fill_by_class(context.syn, stored)


@checked
class RandomTiled(Tiled):
    """Draws the images of each class uniformly without replacement, and tiles them."""

    init = staticmethod(random_real)


@checked
class ChosenTiled(Tiled):
    """Takes the images that :class:`Chosen` takes, and tiles them.

    Args:
        pool: See :class:`Chosen`.
        factor: See :class:`Tiled`.
    """

    choose: Selection

    def __init__(self, pool: PretrainedNetworks, factor: Few) -> None:
        super().__init__(factor)
        self.init = FeatureInitializer(self.choose, pool)


class HerdingTiled(ChosenTiled):
    """Takes the images that :class:`Herding` takes, and tiles them."""

    choose = staticmethod(herding)


class KCenterTiled(ChosenTiled):
    """Takes the images that :class:`KCenter` takes, and tiles them."""

    choose = staticmethod(k_center)


class KMeansTiled(ChosenTiled):
    """Takes the images that :class:`KMeans` takes, and tiles them."""

    choose = staticmethod(k_means)
