"""Selections of real images: no distilling, the baselines of every table."""

from typing import ClassVar

from moe_distill.data.initial import first_real, random_real
from moe_distill.data.selection import herding, k_center, k_means
from moe_distill.methods.base import Method, Round, fill_by_class
from moe_distill.synthetic import Space
from moe_distill.teachers.selected import Selected
from moe_distill.teachers.store import TeacherPool
from moe_distill.values import checked


class Coreset(Method):
    """Keeps real images as they are; takes part in a mixture as a constant that the others move away from.

    What it selects is its ``init``.
    """

    trainable: ClassVar[bool] = False
    space: ClassVar[Space] = "raw"

    def prepare(self, round_: Round) -> None:
        """Copy the selected images, class by class, as raw pixels."""
        real, ipc = round_.real, round_.syn.provenance.ipc
        fill_by_class(round_.syn, lambda c: real.normalisation.raw(self.init(real, c, ipc, round_.rng)))


class Random(Coreset):
    """Draws the images of each class uniformly without replacement."""

    init = staticmethod(random_real)


class First(Coreset):
    """Takes the first images of each class in the order of the data set (sorted file order for folders)."""

    init = staticmethod(first_real)


@checked
class Herding(Coreset):
    """Takes the images of each class whose mean feature follows the class's (`moe_distill.data.selection.herding`).

    Args:
        pool: Networks trained on all real data, the first of which gives the features.
    """

    def __init__(self, pool: TeacherPool) -> None:
        self.init = Selected(herding, pool)


@checked
class KCenter(Coreset):
    """Takes images of each class that cover its features (`moe_distill.data.selection.k_center`).

    Args:
        pool: Networks trained on all real data, the first of which gives the features.
    """

    def __init__(self, pool: TeacherPool) -> None:
        self.init = Selected(k_center, pool)


@checked
class KMeans(Coreset):
    """Takes the images of each class nearest to centres of its features (`moe_distill.data.selection.k_means`).

    Args:
        pool: Networks trained on all real data, the first of which gives the features.
    """

    def __init__(self, pool: TeacherPool) -> None:
        self.init = Selected(k_means, pool)
