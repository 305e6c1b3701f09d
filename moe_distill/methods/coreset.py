"""Selections of real images: no distilling, the baselines of every table."""

import functools
from typing import ClassVar

import torch

from moe_distill.data.difficulty import Order, Score, aum, coverage, el2n, forgetting, in_order
from moe_distill.data.initialization import exactly, first_real, random_real
from moe_distill.data.normalization import Space
from moe_distill.data.selection import Selection, herding, k_center, k_means
from moe_distill.methods.base import IterationContext, Method, fill_by_class
from moe_distill.store.identity import called
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.feature_initializer import FeatureInitializer
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.teachers.score_initializer import ScoreInitializer
from moe_distill.validation.values import Count, Few, Share, checked


class Coreset(Method):
    """Selects real images by its ``init`` and keeps them unchanged.

    In a mixture its images are constant, and the other experts are driven away from them.
    """

    trainable: ClassVar[bool] = False
    # Raw, so that the stored pixels are those of the real images under any normalisation.
    space: ClassVar[Space] = "raw"

    def prepare(self, context: IterationContext) -> None:
        """Store the selected images, class by class, as raw pixels."""
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
    """Takes the images of each class that a selection function chooses by their features.

    Args:
        pool: Networks trained on all real data; the first computes the features.
    """

    choose: Selection

    def __init__(self, pool: PretrainedNetworks) -> None:
        self.init = FeatureInitializer(self.choose, pool)


class Herding(Chosen):
    """Takes the images whose mean feature follows the class mean (`moe_distill.data.selection.herding`)."""

    choose = staticmethod(herding)


class KCenter(Chosen):
    """Takes images that cover the features of their class (`moe_distill.data.selection.k_center`)."""

    choose = staticmethod(k_center)


class KMeans(Chosen):
    """Takes the images nearest to their class's cluster centres (`moe_distill.data.selection.k_means`)."""

    choose = staticmethod(k_means)


@checked
class Ranked(Coreset):
    """Takes the images of each class that networks find easiest or hardest.

    Args:
        pool: Networks trained on all real data, whose predictions after each epoch are scored.
        order: Which images are taken; at high pruning rates the hardest are worse than random ones.
    """

    score: Score

    def __init__(self, pool: RecordedNetworks, order: Order = "easiest") -> None:
        self.init = ScoreInitializer(self.score, functools.partial(in_order, order=order), pool)


class EL2N(Ranked):
    """Ranks images by the error of predictions after some epochs (`moe_distill.data.difficulty.el2n`)."""

    score = staticmethod(el2n)


class Forgetting(Ranked):
    """Ranks images by how often they are learned and forgotten (`moe_distill.data.difficulty.forgetting`)."""

    score = staticmethod(forgetting)


class AUM(Ranked):
    """Ranks images by the margin of their predictions over all epochs (`moe_distill.data.difficulty.aum`)."""

    score = staticmethod(aum)


@checked
class CCS(Coreset):
    """Takes images of all but the highest difficulty, by AUM (`moe_distill.data.difficulty.coverage`).

    Args:
        pool: See :class:`Ranked`.
        drop: Share of the hardest images of each class that is left out.
        strata: Number of strata of equal width that the images are taken from evenly.
    """

    def __init__(self, pool: RecordedNetworks, drop: Share = 0.3, strata: Count = 50) -> None:
        self.init = ScoreInitializer(aum, functools.partial(coverage, drop=drop, strata=strata), pool)


class Tiled(Coreset):
    """Shrinks selected real images and stores ``factor x factor`` of them in each stored image.

    This is the fair baseline for IDM (§3.2) and IDC (§3.1), which store images the same way: same bytes, same
    decoding, ``factor``² times the images. A class with fewer images than tiles repeats them from the first.

    Args:
        factor: Tiles per side of a stored image, at least 1.
    """

    def __init__(self, factor: Few) -> None:
        self.factor = factor

    @property
    def tiling(self) -> Tiling:
        """Tiles numbered row by row and padded with grey, as in IDC."""
        return Tiling(self.factor, fill=0.5)

    def prepare(self, context: IterationContext) -> None:
        """Store the shrunk images, class by class, as raw pixels."""
        real, ipc = context.real, context.syn.provenance.ipc

        def stored(c: int) -> torch.Tensor:
            # Tile k of every stored image comes before tile k + 1 of any: hence the split into groups of ipc.
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


@checked
class RankedTiled(Tiled):
    """Takes the images that :class:`Ranked` takes, and tiles them.

    Args:
        pool: See :class:`Ranked`.
        factor: See :class:`Tiled`.
        order: See :class:`Ranked`.
    """

    score: Score

    def __init__(self, pool: RecordedNetworks, factor: Few, order: Order = "easiest") -> None:
        super().__init__(factor)
        self.init = ScoreInitializer(self.score, functools.partial(in_order, order=order), pool)


@called("el2n_tiled")
class EL2NTiled(RankedTiled):
    """Takes the images that :class:`EL2N` takes, and tiles them."""

    score = staticmethod(el2n)


class ForgettingTiled(RankedTiled):
    """Takes the images that :class:`Forgetting` takes, and tiles them."""

    score = staticmethod(forgetting)


@called("aum_tiled")
class AUMTiled(RankedTiled):
    """Takes the images that :class:`AUM` takes, and tiles them."""

    score = staticmethod(aum)


@called("ccs_tiled")
@checked
class CCSTiled(Tiled):
    """Takes the images that :class:`CCS` takes, and tiles them.

    Args:
        pool: See :class:`Ranked`.
        factor: See :class:`Tiled`.
        drop: See :class:`CCS`.
        strata: See :class:`CCS`.
    """

    def __init__(self, pool: RecordedNetworks, factor: Few, drop: Share = 0.3, strata: Count = 50) -> None:
        super().__init__(factor)
        self.init = ScoreInitializer(aum, functools.partial(coverage, drop=drop, strata=strata), pool)
